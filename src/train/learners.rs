//! What an epoch asks of the devices that a run trains on: one, or a team.

use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::train::Learner;

use super::step::{Step, Trainee};
use crate::data::Batch;

/// The devices of a run. Each has the model; after each step of the optimiser all have the same weights.
pub(super) trait Learners {
    /// Adds the gradients of a batch to those since the last step of the optimiser, and takes a step with
    /// them if the batch is the last one of a step. If a loss is not finite, the weights stay as they are.
    ///
    /// `parts` has each device's part of the batch. Gives the losses of the whole batch.
    fn step(&mut self, parts: Vec<Batch>, is_last: bool) -> Step;

    /// Takes a step with the gradients so far: those of fewer batches, at the end of an epoch.
    fn take_step(&mut self);

    /// The learning rate of the last step.
    fn learning_rate(&self) -> ModuleLearningRate;

    /// The first device's side, whose weights are kept, with all steps taken.
    fn first(&mut self) -> &Learner<Trainee>;

    /// Checks that all devices have the same weights, with all steps taken.
    ///
    /// # Panics
    ///
    /// If one has others; the panic names it.
    fn check_equal(&mut self);

    /// What detects on each device, with all steps taken.
    fn detectors(&mut self) -> Vec<Trainee>;
}
