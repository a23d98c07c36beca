//! Chooses the candidates that a loss is computed on: a fixed number, of which at most a fixed fraction are
//! objects.
//!
//! Source: torchvision `_utils.BalancedPositiveNegativeSampler`.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::matcher::Match;

/// How many candidates are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BalancedSampler {
    batch_size_per_image: usize,
    positive_fraction: f64,
}

/// How the candidates are chosen among those of a kind.
#[derive(Debug, Clone)]
pub enum Sampling {
    /// Each with the same chance. Each image of a batch has its own generator, so that the choice for an
    /// image does not depend on the other images.
    Random(Vec<ChaCha8Rng>),
    /// Those with the lowest indices: for comparison with a reference.
    First,
}

impl Sampling {
    /// Random choices, with a seed for each image of the batch.
    pub fn seeded(seeds: impl IntoIterator<Item = u64>) -> Self {
        Self::Random(seeds.into_iter().map(ChaCha8Rng::seed_from_u64).collect())
    }
}

/// Indices of the chosen candidates, rising.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Those trained as objects.
    pub positive: Vec<usize>,
    /// Those trained as background.
    pub negative: Vec<usize>,
}

impl Sample {
    /// All chosen ones, rising.
    pub fn all(&self) -> Vec<usize> {
        let mut all = [self.positive.as_slice(), &self.negative].concat();
        all.sort_unstable();
        all
    }
}

impl BalancedSampler {
    /// `batch_size_per_image` candidates, of which at most the fraction `positive_fraction` are objects.
    ///
    /// # Panics
    ///
    /// If the fraction is not in `0..=1`.
    pub fn new(batch_size_per_image: usize, positive_fraction: f64) -> Self {
        assert!(
            (0.0..=1.0).contains(&positive_fraction),
            "positive_fraction must be in 0..=1, is {positive_fraction}"
        );
        Self { batch_size_per_image, positive_fraction }
    }

    /// Chooses from the candidates of image number `image` of the batch.
    pub fn sample(&self, matches: &[Match], image: usize, sampling: &mut Sampling) -> Sample {
        let eligible = |wanted: fn(&Match) -> bool| -> Vec<usize> {
            matches.iter().enumerate().filter(|(_, m)| wanted(m)).map(|(index, _)| index).collect()
        };
        let positive = eligible(|m| matches!(m, Match::Object(_)));
        let negative = eligible(|m| matches!(m, Match::Background));
        let most_positive = (self.batch_size_per_image as f64 * self.positive_fraction) as usize;
        let positive_count = most_positive.min(positive.len());
        let negative_count = (self.batch_size_per_image - positive_count).min(negative.len());
        Sample {
            positive: choose(positive, positive_count, image, sampling),
            negative: choose(negative, negative_count, image, sampling),
        }
    }
}

fn choose(mut eligible: Vec<usize>, count: usize, image: usize, sampling: &mut Sampling) -> Vec<usize> {
    let mut chosen = match sampling {
        Sampling::Random(generators) => eligible.partial_shuffle(&mut generators[image], count).0.to_vec(),
        Sampling::First => eligible[..count].to_vec(),
    };
    chosen.sort_unstable();
    chosen
}
