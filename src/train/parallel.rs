//! Data-parallel training: each member of a team has a replica of the model and a part of each batch; the
//! gradients are summed over the team, and each replica takes the same step.
//!
//! burn-train has strategies of its own for several devices. This one differs in four points: gradients are
//! summed in a fixed order, so that a run repeats bit for bit; they travel while others are computed; a
//! member's part of a batch may be empty; a member that fails ends the run instead of leaving the others
//! waiting.

use std::sync::Arc;

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn::train::{
    EventProcessorTraining, InferenceStep, Interrupter, Learner, LearnerEvent, SupervisedLearningStrategy,
    SupervisedTrainingEventProcessor, TrainLoader, TrainingComponents, TrainingItem, ValidLoader,
};
use crc32fast::Hasher;

use super::config::GradientType;
use super::each::each;
use super::exchange::Exchange;
use super::replica::Replica;
use super::step::{Step, Trainee};
use super::team::Member;
use crate::data::{Batch, Loader};

type Events = SupervisedTrainingEventProcessor<Trainee>;

/// The members, and each one's part of the training images.
pub(super) struct DataParallel {
    pub members: Vec<Member>,
    pub shards: Vec<Loader>,
    pub exchange: Arc<dyn Exchange>,
    pub gradient_dtype: GradientType,
}

impl SupervisedLearningStrategy<Trainee> for DataParallel {
    fn fit(
        &self,
        components: TrainingComponents<Trainee>,
        learner: Learner<Trainee>,
        _training: TrainLoader<Trainee>,
        validation: ValidLoader<Trainee>,
        starting_epoch: usize,
    ) -> (Trainee, Events) {
        let TrainingComponents { num_epochs, mut checkpointer, grad_accumulation, interrupter, .. } =
            components;
        let (mut events, mut early_stopping) = (components.event_processor, components.early_stopping);
        let accumulation = grad_accumulation.unwrap_or(1);
        let mut replicas = each(&self.members, |index, member| {
            let mut learner = learner.clone();
            learner.fork(&member.device.clone().autodiff());
            Replica::new(learner, index, self.exchange.clone(), self.gradient_dtype)
        });
        for epoch in starting_epoch..=num_epochs {
            self.train(&mut replicas, epoch, accumulation, &mut events, &interrupter);
            if interrupter.should_stop() {
                break;
            }
            check_equal(&replicas);
            validate(&replicas[0], &*validation, epoch, &mut events, &interrupter);
            if interrupter.should_stop() {
                break;
            }
            interrupter.fail_on_error(events.process_train(LearnerEvent::EndEpoch(epoch)));
            interrupter.fail_on_error(events.flush());
            if interrupter.should_stop() {
                break;
            }
            if let Some(checkpointer) = &mut checkpointer {
                checkpointer.checkpoint(replicas[0].learner(), epoch, &components.event_store);
            }
            if let Some(early_stopping) = &mut early_stopping
                && early_stopping.should_stop(epoch, &components.event_store)
            {
                break;
            }
        }
        (replicas[0].learner().model(), events)
    }
}

impl DataParallel {
    fn train(
        &self,
        replicas: &mut [Replica],
        epoch: usize,
        accumulation: usize,
        events: &mut Events,
        interrupter: &Interrupter,
    ) {
        let mut loaders: Vec<_> = self.shards.iter().map(|shard| shard.iter()).collect();
        let progress = |loaders: &[Box<dyn DataLoaderIterator<Batch> + '_>]| {
            Progress::aggregate(loaders.iter().map(|l| l.progress()))
        };
        let start = LearnerEvent::StartSplit { epoch_number: epoch, progress: progress(&loaders) };
        interrupter.fail_on_error(events.process_train(start));
        let (mut iteration, mut accumulated) = (0, 0);
        while !interrupter.should_stop() {
            let batches: Result<Vec<Batch>, _> = match loaders.iter_mut().map(Iterator::next).collect() {
                Some(batches) => Vec::into_iter(batches).collect(),
                None => break,
            };
            let batches = match batches {
                Ok(batches) => batches,
                Err(error) => {
                    interrupter.fail(error);
                    break;
                }
            };
            iteration += 1;
            accumulated += 1;
            let is_last = accumulated == accumulation;
            let step = forward_and_backward(replicas, batches, is_last);
            if is_last {
                accumulated = 0;
                self.exchange.all_have_begun();
            }
            match step.is_finite() {
                true if is_last => replicas.iter_mut().for_each(Replica::next_learning_rate),
                true => {}
                // The event of this step ends the run. The weights stay as they are.
                false => replicas.iter_mut().for_each(Replica::forget),
            }
            let rate = Some(replicas[0].learner().lr_current());
            let item = TrainingItem::new(step, progress(&loaders), Some(iteration), rate);
            interrupter.fail_on_error(events.process_train(LearnerEvent::ProcessedItem(item)));
        }
        interrupter.fail_on_error(events.flush());
        if accumulated > 0 && !interrupter.should_stop() {
            each(replicas.iter_mut(), |_, replica| replica.begin_all());
            self.exchange.all_have_begun();
            replicas.iter_mut().for_each(Replica::next_learning_rate);
        }
        each(replicas, |_, replica| replica.update_all());
        let end = LearnerEvent::EndSplit { epoch, progress: progress(&loaders) };
        interrupter.fail_on_error(events.process_train(end));
        interrupter.fail_on_error(events.flush());
    }
}

/// Computes the gradients of each member's part of a batch; gives the losses of the whole batch.
fn forward_and_backward(replicas: &mut [Replica], batches: Vec<Batch>, is_last: bool) -> Step {
    let steps = each(replicas.iter_mut().zip(batches), |_, (replica, batch)| replica.step(batch, is_last));
    let mut whole = Step::empty();
    for step in steps {
        for (sum, loss) in whole.losses.iter_mut().zip(step.losses) {
            *sum += loss;
        }
        whole.names.extend(step.names);
    }
    whole
}

/// Checks that all replicas have the same weights, bit for bit, because they took the same steps. This finds
/// a member that computes wrongly.
///
/// # Panics
///
/// If a member's weights differ from those of the first one; the panic names the member.
fn check_equal(replicas: &[Replica]) {
    let models = replicas.iter().map(|replica| replica.learner().model());
    let checksums = each(models, |_, model| {
        let mut checksum = Checksum(Hasher::new());
        model.visit(&mut checksum);
        checksum.0.finalize()
    });
    each(&checksums, |_, checksum| {
        assert!(*checksum == checksums[0], "its weights are not those of the first member any more");
    });
}

/// A checksum of all weights that are trained.
struct Checksum(Hasher);

impl ModuleVisitor for Checksum {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad() {
            self.0.update(param.val().inner().into_data().as_bytes());
        }
    }
}

fn validate(
    replica: &Replica,
    validation: &dyn DataLoader<Batch>,
    epoch: usize,
    events: &mut Events,
    interrupter: &Interrupter,
) {
    let model = replica.learner().model().valid();
    let mut batches = validation.iter();
    let start = LearnerEvent::StartSplit { epoch_number: epoch, progress: batches.progress() };
    interrupter.fail_on_error(events.process_valid(start));
    let mut iteration = 0;
    while !interrupter.should_stop() {
        let batch = match batches.next() {
            Some(Ok(batch)) => batch,
            Some(Err(error)) => {
                interrupter.fail(error);
                break;
            }
            None => break,
        };
        iteration += 1;
        let results = each([batch], |_, batch| InferenceStep::step(&model, batch)).remove(0);
        let item = TrainingItem::new(results, batches.progress(), Some(iteration), None);
        interrupter.fail_on_error(events.process_valid(LearnerEvent::ProcessedItem(item)));
    }
    interrupter.fail_on_error(events.flush());
    let end = LearnerEvent::EndSplit { epoch, progress: batches.progress() };
    interrupter.fail_on_error(events.process_valid(end));
    interrupter.fail_on_error(events.flush());
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::super::config::RunConfig;
    use super::super::exchange::Alone;
    use super::super::learning_rates::LearningRates;
    use super::super::optimizer::optimizer;
    use super::super::team::Team;
    use super::*;
    use crate::model::FasterRcnnConfig;
    use crate::model::NormKind;
    use crate::model::ResNetDepth;

    fn replica(seed: u64) -> Replica {
        let mut config = FasterRcnnConfig::new(ResNetDepth::ResNet18, 7)
            .with_norm(NormKind::Group)
            .with_trainable_layers(5)
            .with_image_size(64, 64);
        config.fpn_channels = 8;
        config.roi_heads.representation_size = 8;
        config.seed = seed;
        let model = config.init(&Device::flex().autodiff());
        let settings = RunConfig::new(config).train;
        let rates = LearningRates::new(&settings, 2);
        let learner = Learner::new(Trainee::new(model, None, &settings), optimizer(&settings), rates);
        Replica::new(learner, 0, Arc::new(Alone), GradientType::F32)
    }

    #[test]
    fn a_member_whose_weights_are_others_is_named() {
        let team = Team::new([Device::flex(), Device::flex(), Device::flex()]);
        let check = |seeds: [u64; 3]| {
            team.work(move || {
                check_equal(&seeds.map(replica));
                Ok(())
            })
        };
        check([1, 1, 1]).unwrap();
        let error = check([1, 1, 2]).unwrap_err();
        let expected = format!("worker {}: its weights", team.members()[2].name);
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}
