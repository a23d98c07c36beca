//! How the learning rate falls.

use serde::{Deserialize, Serialize};

use crate::bounds::{self, MAX_COUNT};
use crate::error::Result;

/// How the learning rate falls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// Multiplied by `gamma` after each of the epochs `milestones`.
    MultiStep {
        /// Epochs, counted from 1.
        milestones: Vec<usize>,
        /// The factor.
        gamma: f64,
    },
    /// Half a cosine, from the whole rate to 0 at the end of the last epoch; it changes with every step.
    Cosine,
}

impl Schedule {
    /// Finds settings that cannot work.
    pub(super) fn validate(&self) -> Result<()> {
        match self {
            Self::MultiStep { milestones, gamma } => {
                let milestone =
                    |epoch: &usize| bounds::within("train.schedule.milestones", *epoch, 0..=MAX_COUNT);
                milestones.iter().try_for_each(milestone)?;
                bounds::within("train.schedule.gamma", *gamma, 0.0..=1.0)
            }
            Self::Cosine => Ok(()),
        }
    }
}
