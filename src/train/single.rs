//! Training on one device.

use burn::module::Module;
use burn::optim::GradientsAccumulator;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::tensor::Device;
use burn::train::Learner;

use super::learners::Learners;
use super::step::{Step, Trainee};
use crate::data::Batch;

/// The model on one device.
pub(super) struct Single {
    learner: Learner<Trainee>,
    gradients: GradientsAccumulator<Trainee>,
}

impl Single {
    pub fn new(mut learner: Learner<Trainee>, device: &Device) -> Self {
        learner.fork(&device.clone().autodiff());
        Self { learner, gradients: GradientsAccumulator::new() }
    }
}

impl Learners for Single {
    fn step(&mut self, mut parts: Vec<Batch>, is_last: bool) -> Step {
        let output = self.learner.train_step(parts.remove(0));
        self.gradients.accumulate(&self.learner.model(), output.grads);
        if is_last && output.item.is_finite() {
            self.take_step();
        }
        output.item
    }

    fn take_step(&mut self) {
        let gradients = self.gradients.grads();
        self.learner.lr_step();
        self.learner.optimizer_step(gradients);
    }

    fn learning_rate(&self) -> ModuleLearningRate {
        self.learner.lr_current()
    }

    fn first(&mut self) -> &Learner<Trainee> {
        &self.learner
    }

    fn check_equal(&mut self) {}

    fn detectors(&mut self) -> Vec<Trainee> {
        vec![self.learner.model().valid()]
    }
}
