//! Draws the candidates a loss is computed on: a fixed number, up to a fixed part of them objects.
//!
//! Source: torchvision `_utils.BalancedPositiveNegativeSampler`.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::matcher::Match;

/// How many are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BalancedSampler {
    /// Candidates an image.
    pub batch_size: usize,
    /// The most of them that may be objects, as a part of `batch_size`.
    pub positive_fraction: f64,
}

/// Which of the eligible ones are drawn.
#[derive(Debug, Clone)]
pub enum Draw {
    /// Any, each as likely; each image of a batch has a sequence of its own, so that its candidates do not depend
    /// on the images it is with.
    Random(Vec<ChaCha8Rng>),
    /// Those with the lowest indices: for comparison with a reference.
    First,
}

impl Draw {
    /// A random draw with a seed for each image.
    pub fn seeded(seeds: impl IntoIterator<Item = u64>) -> Self {
        Self::Random(seeds.into_iter().map(ChaCha8Rng::seed_from_u64).collect())
    }
}

/// Indices of the drawn candidates, rising.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Those trained as objects.
    pub positive: Vec<usize>,
    /// Those trained as background.
    pub negative: Vec<usize>,
}

impl Sample {
    /// All drawn ones, rising.
    pub fn all(&self) -> Vec<usize> {
        let mut all = [self.positive.as_slice(), &self.negative].concat();
        all.sort_unstable();
        all
    }
}

impl BalancedSampler {
    /// Draws from the candidates of the batch's image `image`.
    pub fn sample(&self, matches: &[Match], image: usize, draw: &mut Draw) -> Sample {
        let eligible = |wanted: fn(&Match) -> bool| -> Vec<usize> {
            matches.iter().enumerate().filter(|(_, m)| wanted(m)).map(|(index, _)| index).collect()
        };
        let positive = eligible(|m| matches!(m, Match::Object(_)));
        let negative = eligible(|m| matches!(m, Match::Background));
        let positive_count = ((self.batch_size as f64 * self.positive_fraction) as usize).min(positive.len());
        let negative_count = (self.batch_size - positive_count).min(negative.len());
        Sample {
            positive: choose(positive, positive_count, image, draw),
            negative: choose(negative, negative_count, image, draw),
        }
    }
}

fn choose(mut eligible: Vec<usize>, count: usize, image: usize, draw: &mut Draw) -> Vec<usize> {
    let mut chosen = match draw {
        Draw::Random(sequences) => eligible.partial_shuffle(&mut sequences[image], count).0.to_vec(),
        Draw::First => eligible[..count].to_vec(),
    };
    chosen.sort_unstable();
    chosen
}
