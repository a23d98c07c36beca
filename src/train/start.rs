//! What a run starts from.

use std::path::PathBuf;

use crate::weights::LoadOptions;

/// What a run starts from.
#[derive(Debug, Clone)]
pub enum Start {
    /// Random weights, for a detector whose norms and layers are all trained.
    Random,
    /// The weights of a file.
    Weights {
        /// torchvision's or this crate's; a detector's, or those of a ResNet classifier.
        path: PathBuf,
        /// Settings that the file does not have, and which differences between the file and the detector are
        /// accepted.
        options: LoadOptions,
    },
    /// The last checkpoint in the run's folder.
    Resume,
}

impl Start {
    /// The weights of a file, all of which must fit the detector. Layers whose shapes depend on the number of
    /// classes start from random values if the file has another number of classes.
    pub fn weights(path: impl Into<PathBuf>) -> Self {
        Self::Weights { path: path.into(), options: LoadOptions::default() }
    }
}
