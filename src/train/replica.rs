//! One member's side of data-parallel training.

use std::borrow::Cow;
use std::sync::Arc;

use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::train::Learner;

use super::config::GradientType;
use super::cuts::Cuts;
use super::exchange::{Exchange, Sum};
use super::gradients::{flatten, unflatten};
use super::step::{Step, Trainee};
use crate::data::Batch;
use crate::model::network::Network;
use crate::model::stages::{Stage, Stages};
use crate::model::{Losses, Sampling};

/// A member's model and gradients.
///
/// The gradients of a stage are sent while those of the stages before it are computed. The summed ones change
/// the weights of a stage only when the next forward pass has come to it. So the gradients of the RoI heads,
/// the first that are there, have the time of a whole step to travel.
pub(super) struct Replica {
    learner: Learner<Trainee>,
    member: usize,
    exchange: Arc<dyn Exchange>,
    on_the_way: GradientType,
    /// The gradients of the batches since the last exchange, by stage.
    gathered: [Option<Tensor<1>>; Stage::ALL.len()],
    /// The exchanges whose sums have not changed the weights yet, by stage.
    under_way: [Option<Sum>; Stage::ALL.len()],
}

impl Replica {
    pub fn new(
        learner: Learner<Trainee>,
        member: usize,
        exchange: Arc<dyn Exchange>,
        on_the_way: GradientType,
    ) -> Self {
        let (gathered, under_way) = (Default::default(), Default::default());
        Self { learner, member, exchange, on_the_way, gathered, under_way }
    }

    pub fn learner(&self) -> &Learner<Trainee> {
        &self.learner
    }

    fn network(&self) -> Network {
        self.learner.model().detector.network().clone()
    }

    /// Computes the losses of a batch and its gradients. With the last batch of a step, the gradients are
    /// exchanged.
    pub fn step(&mut self, batch: Batch, is_last: bool) -> Step {
        let mut cuts = Cuts::default();
        let (step, losses) = if batch.images.is_empty() {
            // Without a forward pass the weights are changed here.
            self.update_all();
            (Step::empty(), None)
        } else {
            let detector = self.learner.model().detector;
            let sampling = &mut Sampling::seeded(batch.seeds);
            let mut pass = Pass { replica: self, cuts: &mut cuts };
            let losses = detector.losses_in_stages(&batch.images, &batch.annotations, sampling, &mut pass);
            let step = Step::read(&losses, batch.share, batch.names);
            // Losses that are no numbers end the run. The others still wait for this member's gradients.
            let losses = step.is_finite().then_some(losses);
            (step, losses)
        };
        let weight = self.learner.model().weight(batch.share);
        let network = self.network();
        for stage in Stage::ALL.into_iter().rev() {
            let loss = losses.as_ref().and_then(|losses| loss_of(losses, stage)).map(|loss| loss * weight);
            let mut gradients = losses.is_some().then(|| cuts.backward(stage, loss)).flatten();
            let device = self.learner.model().detector.device().inner();
            let gathered = &mut self.gathered[stage as usize];
            *gathered = match (gathered.take(), flatten(&network, stage, gradients.as_mut(), &device)) {
                (Some(sum), Some(gradients)) => Some(sum + gradients),
                (_, gradients) => gradients,
            };
            if is_last {
                self.begin(stage);
            }
        }
        if is_last {
            // No member may wait for gradients that lie in this process.
            let flushed = self.learner.model().detector.device().inner().flush();
            flushed.unwrap_or_else(|error| panic!("{error}"));
        }
        step
    }

    /// Starts to exchange what has been gathered.
    pub fn begin_all(&mut self) {
        Stage::ALL.into_iter().rev().for_each(|stage| self.begin(stage));
    }

    fn begin(&mut self, stage: Stage) {
        if let Some(gradients) = self.gathered[stage as usize].take() {
            let sum = self.exchange.begin(self.member, stage, gradients, self.on_the_way);
            self.under_way[stage as usize] = Some(sum);
        }
    }

    /// Makes the sums under way those of this learning rate.
    pub fn next_learning_rate(&mut self) {
        self.learner.lr_step();
    }

    /// Forgets the sums under way.
    pub fn forget(&mut self) {
        self.under_way = Default::default();
    }

    /// Changes all weights by the sums under way.
    pub fn update_all(&mut self) {
        if self.learner.model().updates_whole() {
            self.update(&Stage::ALL);
        } else {
            Stage::ALL.into_iter().for_each(|stage| self.update(&[stage]));
        }
    }

    /// Changes the weights of `stages` by their sums, if these are under way.
    fn update(&mut self, stages: &[Stage]) {
        let mut gradients = GradientsParams::new();
        for &stage in stages {
            if let Some(sum) = self.under_way[stage as usize].take() {
                unflatten(&self.network(), stage, sum(), &mut gradients);
            }
        }
        if !gradients.is_empty() {
            self.learner.optimizer_step(gradients);
        }
    }
}

/// The losses that a stage computes.
fn loss_of(losses: &Losses, stage: Stage) -> Option<Tensor<1>> {
    let [objectness, rpn_box_reg, classifier, box_reg] = losses.terms();
    match stage {
        Stage::Rpn => Some(objectness + rpn_box_reg),
        Stage::Heads => Some(classifier + box_reg),
        _ => None,
    }
}

/// A forward pass that is cut between the stages.
struct Pass<'a> {
    replica: &'a mut Replica,
    cuts: &'a mut Cuts,
}

impl Stages for Pass<'_> {
    fn network(&mut self, stage: Stage) -> Cow<'_, Network> {
        if self.replica.learner.model().updates_whole() {
            self.replica.update_all();
        } else {
            self.replica.update(&[stage]);
        }
        Cow::Owned(self.replica.network())
    }

    fn hand_on(&mut self, stage: Stage, map: Tensor<4>) -> Tensor<4> {
        self.cuts.cut(stage, map)
    }
}
