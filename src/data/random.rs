//! Random numbers that depend on a seed, an epoch and an image alone.
//!
//! So a run can be repeated, or continued in the middle, with any number of threads.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What a random choice for an image depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RandomKey {
    /// That of the run.
    pub seed: u64,
    /// Counted from 1 in a run.
    pub epoch: u64,
    /// Position of the image in its data set, counted from 0.
    pub image: u64,
}

/// What else is chosen for an image, besides its variation. No image has an index with one of these bits, so
/// the choices do not depend on each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The choices of the training step.
    Step = 63,
    /// Whether its reference takes its place.
    Clean = 62,
    /// What is pasted into it.
    Paste = 61,
}

impl RandomKey {
    /// The key of another choice for the same image.
    pub(super) fn apart(self, purpose: Purpose) -> Self {
        Self { image: self.image | 1 << purpose as u32, ..self }
    }

    /// The random numbers of this key; keys that differ give independent ones.
    pub(super) fn generator(self) -> ChaCha8Rng {
        let mut key = [0; 32];
        for (part, bytes) in [self.seed, self.epoch, self.image].iter().zip(key.chunks_exact_mut(8)) {
            bytes.copy_from_slice(&part.to_le_bytes());
        }
        ChaCha8Rng::from_seed(key)
    }
}
