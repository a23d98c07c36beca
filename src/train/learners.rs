//! What an epoch asks of the devices that a run trains on: one, or a team.

use burn::train::Learner;

use super::step::{Step, Trainee};
use crate::data::Batch;

/// The devices of a run. Each has the model; after each step of the optimiser all have the same weights.
pub(super) trait Learners {
    /// Adds the gradients of a batch to those since the last step of the optimiser. `parts` has each device's
    /// part of the batch. Gives the losses of the whole batch.
    fn backward(&mut self, parts: Vec<Batch>) -> Step;

    /// Takes a step with the gradients.
    fn optimize(&mut self);

    /// The first device's side, whose weights are kept.
    fn first(&self) -> &Learner<Trainee>;

    /// Checks that all devices have the same weights.
    ///
    /// # Panics
    ///
    /// If one has others; the panic names it.
    fn check_equal(&self);

    /// What detects on each device: all with the weights and the statistics of the first one.
    fn detectors(&self) -> Vec<Trainee>;
}
