//! The two kinds of weight files.

use std::fmt;

use serde::Deserialize;

/// What a weight file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightFileKind {
    /// A ResNet that classifies images: a backbone to start training from.
    Classifier,
    /// A whole Faster R-CNN.
    Detector,
}

impl fmt::Display for WeightFileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Classifier => "classifier",
            Self::Detector => "detector",
        })
    }
}
