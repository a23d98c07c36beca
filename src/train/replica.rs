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

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};
    use image::{Rgb, RgbImage};

    use super::super::config::TrainConfig;
    use super::super::exchange::Alone;
    use super::super::learning_rates::LearningRates;
    use super::super::optimizer::optimizer;
    use super::*;
    use crate::model::{FasterRcnnConfig, NormKind, ResNetDepth};
    use crate::structures::{Annotation, Image};
    use crate::weights::collect;

    fn learner(trained_layers: usize, settings: &TrainConfig) -> Learner<Trainee> {
        let mut config = FasterRcnnConfig::new(ResNetDepth::ResNet18, 3)
            .with_norm(NormKind::Group)
            .with_trainable_layers(trained_layers)
            .with_image_size(64, 96);
        config.fpn_channels = 8;
        config.roi_heads.representation_size = 8;
        let model = config.init(&Device::flex().autodiff());
        let rates = LearningRates::new(settings, 2);
        Learner::new(Trainee::new(model, None, settings), optimizer(settings), rates)
    }

    fn batch(number: u32) -> Batch {
        let pixel = |x: u32, y: u32| Rgb([(7 * x + number) as u8, (5 * y) as u8, (x * y) as u8]);
        let image = Image::from(&RgbImage::from_fn(96, 64, pixel));
        let annotation = Annotation::new([10.0, 10.0, 50.0, 40.0], 1);
        Batch {
            names: vec![format!("{number}.png")],
            images: vec![image],
            annotations: vec![vec![annotation]],
            seeds: vec![number.into()],
            share: 1.0,
        }
    }

    fn replica(learner: Learner<Trainee>) -> Replica {
        Replica::new(learner, 0, Arc::new(Alone), GradientType::F32)
    }

    fn values(tensor: Tensor<1>) -> Vec<f32> {
        let data: TensorData = tensor.into_data();
        data.try_into_vec().unwrap()
    }

    /// The cuts change nothing: the gradients are those of one backward pass, whatever is frozen.
    #[test]
    fn a_backward_pass_in_parts_gives_the_gradients_of_a_whole_one() {
        for trained_layers in [5, 3, 2, 0] {
            let learner = learner(trained_layers, &TrainConfig::default());
            let detector = learner.model().detector;
            let Batch { images, annotations, seeds, .. } = batch(1);
            let losses = detector.losses(&images, &annotations, &mut Sampling::seeded(seeds));
            let mut gradients = losses.sum().backward();
            let mut replica = replica(learner);
            replica.step(batch(1), false);
            let network = replica.network();
            for stage in Stage::ALL {
                let whole = flatten(&network, stage, Some(&mut gradients), &Device::flex()).map(values);
                let parts = replica.gathered[stage as usize].take().map(values);
                assert_eq!(whole.is_some(), parts.is_some(), "{trained_layers} {stage:?}");
                let (Some(whole), Some(parts)) = (whole, parts) else { continue };
                let largest = whole.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
                assert!(largest > 0.0, "{trained_layers} {stage:?}");
                let near = |(whole, part): (&f32, &f32)| (whole - part).abs() <= 1e-6 * largest;
                assert!(whole.iter().zip(&parts).all(near), "{trained_layers} {stage:?}");
            }
        }
    }

    /// Weights that change only when a pass has come to them end as those that change at once.
    #[test]
    fn steps_that_are_taken_late_are_the_same_steps() {
        let settings = TrainConfig::default();
        let (mut at_once, mut late) = (learner(5, &settings), replica(learner(5, &settings)));
        for number in 1..=3 {
            let output = at_once.train_step(batch(number));
            at_once.lr_step();
            at_once.optimizer_step(output.grads);
            late.step(batch(number), true);
            late.next_learning_rate();
        }
        let before = collect(&late.learner().model().detector);
        late.update_all();
        let (after, expected) = (collect(&late.learner().model().detector), at_once.model().detector);
        assert!(before.iter().zip(&after).any(|(before, after)| before.values != after.values));
        for (found, expected) in after.iter().zip(collect(&expected)) {
            let near = |(found, expected): (&f32, &f32)| (found - expected).abs() <= 1e-6;
            assert!(found.values.iter().zip(&expected.values).all(near), "{}", expected.name);
        }
    }

    #[test]
    fn gradients_come_back_as_they_were() {
        let network = replica(learner(5, &TrainConfig::default())).network();
        for stage in Stage::ALL {
            let count = flatten(&network, stage, None, &Device::flex()).unwrap().dims()[0];
            let numbers = Tensor::<1, burn::tensor::Int>::arange(0..count as i64, &Device::flex()).float();
            let mut gradients = GradientsParams::new();
            unflatten(&network, stage, numbers.clone(), &mut gradients);
            let mut found = Found { gradients, values: Vec::new() };
            stage.visit(&network, &mut found);
            assert_eq!(found.values, values(numbers));
        }
    }

    struct Found {
        gradients: GradientsParams,
        values: Vec<f32>,
    }

    impl burn::module::ModuleVisitor for Found {
        fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.remove::<D>(param.id) {
                self.values.extend(values(gradient.flatten(0, D - 1)));
            }
        }
    }
}
