//! The epochs of a run: batches, steps, validation, checkpoints.
//!
//! burn-train has strategies of its own. This one differs in four points: it writes checkpoints within an
//! epoch and goes on from there; a team's gradients are summed in a fixed order, so that a run repeats bit
//! for bit, and travel while others are computed; a member's part of a batch may be empty, and all members
//! validate; a member that fails ends the run instead of leaving the others waiting.

use std::sync::Arc;

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::train::metric::store::EventStoreClient;
use burn::train::{
    EventProcessorTraining, InferenceStep, Interrupter, Learner, LearnerEvent, LearningCheckpointer,
    SupervisedLearningStrategy, SupervisedTrainingEventProcessor, TrainLoader, TrainingComponents,
    TrainingItem, ValidLoader,
};

use super::compute::Devices;
use super::config::{GradientType, TrainConfig};
use super::each::each;
use super::learners::Learners;
use super::parallel::Replicas;
use super::position::Position;
use super::single::Single;
use super::step::{Step, Trainee, Validated};
use crate::data::{Batch, Loader};

type Events = SupervisedTrainingEventProcessor<Trainee>;

/// How a run goes through its images.
pub(super) struct Epochs {
    devices: Devices,
    /// Each device's part of the training images; the first epoch begins where the run goes on.
    training: Vec<Loader>,
    /// Each device's part of the validation images.
    validation: Vec<Loader>,
    /// Batches of the first epoch that are done already.
    done: usize,
    /// Steps of the optimiser from one checkpoint to the next within an epoch.
    checkpoint_steps: Option<usize>,
    gradient_dtype: GradientType,
}

impl Epochs {
    /// The first epoch goes on after `done` batches.
    pub fn new(
        devices: Devices,
        training: &Loader,
        validation: &Loader,
        done: usize,
        settings: &TrainConfig,
    ) -> Self {
        let count = devices.count();
        let training = (0..count).map(|index| training.shard(index, count).after(done)).collect();
        let validation = (0..count).map(|index| validation.shard(index, count)).collect();
        let &TrainConfig { checkpoint_steps, gradient_dtype, .. } = settings;
        Self { devices, training, validation, done, checkpoint_steps, gradient_dtype }
    }

    /// Batches of an epoch.
    pub fn batches(&self) -> usize {
        self.training[0].batches()
    }

    fn learners(&self, learner: Learner<Trainee>) -> Box<dyn Learners> {
        match &self.devices {
            Devices::One(device) => Box::new(Single::new(learner, device)),
            Devices::Team(members, exchange) => {
                Box::new(Replicas::new(&learner, members, exchange, self.gradient_dtype))
            }
        }
    }
}

impl SupervisedLearningStrategy<Trainee> for Epochs {
    fn fit(
        &self,
        components: TrainingComponents<Trainee>,
        learner: Learner<Trainee>,
        _training: TrainLoader<Trainee>,
        _validation: ValidLoader<Trainee>,
        starting_epoch: usize,
    ) -> (Trainee, Events) {
        let mut early_stopping = components.early_stopping;
        let mut fitting = Fitting {
            epochs: self,
            learners: self.learners(learner),
            accumulation: components.grad_accumulation.unwrap_or(1),
            events: components.event_processor,
            interrupter: components.interrupter,
            checkpointer: components.checkpointer,
            store: components.event_store,
        };
        for epoch in starting_epoch..=components.num_epochs {
            let done = if epoch == starting_epoch { self.done } else { 0 };
            if fitting.epoch(epoch, done).is_none() {
                break;
            }
            if let Some(early_stopping) = &mut early_stopping
                && early_stopping.should_stop(epoch, &fitting.store)
            {
                break;
            }
        }
        (fitting.learners.first().model(), fitting.events)
    }
}

/// A run that goes on.
struct Fitting<'a> {
    epochs: &'a Epochs,
    learners: Box<dyn Learners>,
    /// Batches for a step of the optimiser.
    accumulation: usize,
    events: Events,
    interrupter: Interrupter,
    checkpointer: Option<LearningCheckpointer<Trainee>>,
    store: Arc<EventStoreClient>,
}

/// Methods give `None` where the run has to stop.
impl Fitting<'_> {
    /// Trains, after the first `done` batches, and validates.
    fn epoch(&mut self, epoch: usize, done: usize) -> Option<()> {
        self.train(epoch, done)?;
        self.learners.check_equal();
        self.validate(epoch)?;
        self.tell_training(LearnerEvent::EndEpoch(epoch));
        self.flush()?;
        self.checkpoint(Position { epoch, batches: 0 });
        Some(())
    }

    fn train(&mut self, epoch: usize, done: usize) -> Option<()> {
        let mut batches = Parts::of(&self.epochs.training);
        self.tell_training(LearnerEvent::StartSplit { epoch_number: epoch, progress: batches.progress() });
        let (mut iteration, mut accumulated) = (done, 0);
        while let Some(parts) = self.next(&mut batches)? {
            iteration += 1;
            accumulated = (accumulated + 1) % self.accumulation;
            let step = self.learners.step(parts, accumulated == 0);
            let rate = Some(self.learners.learning_rate());
            let item = TrainingItem::new(step, batches.progress(), Some(iteration), rate);
            self.tell_training(LearnerEvent::ProcessedItem(item));
            if accumulated == 0 && self.is_due(iteration) {
                // A loss that is not finite stops the run here, before the checkpoint.
                self.flush()?;
                self.checkpoint(Position { epoch: epoch - 1, batches: iteration });
            }
        }
        self.flush()?;
        if accumulated > 0 {
            self.learners.take_step();
        }
        self.tell_training(LearnerEvent::EndSplit { epoch, progress: batches.progress() });
        self.flush()
    }

    /// Whether a checkpoint follows this batch, with which a step ends. The last one of an epoch has its own.
    fn is_due(&self, iteration: usize) -> bool {
        let steps = iteration / self.accumulation;
        iteration < self.epochs.batches()
            && self.epochs.checkpoint_steps.is_some_and(|every| steps.is_multiple_of(every))
    }

    fn validate(&mut self, epoch: usize) -> Option<()> {
        let detectors = self.learners.detectors();
        let mut batches = Parts::of(&self.epochs.validation);
        self.tell_validation(LearnerEvent::StartSplit { epoch_number: epoch, progress: batches.progress() });
        let mut iteration = 0;
        while let Some(parts) = self.next(&mut batches)? {
            iteration += 1;
            let item =
                TrainingItem::new(detect(&detectors, parts), batches.progress(), Some(iteration), None);
            self.tell_validation(LearnerEvent::ProcessedItem(item));
        }
        self.flush()?;
        self.tell_validation(LearnerEvent::EndSplit { epoch, progress: batches.progress() });
        self.flush()
    }

    /// The next batch, a part for each device; `Some(None)` at the end.
    fn next(&self, batches: &mut Parts) -> Option<Option<Vec<Batch>>> {
        self.go_on()?;
        batches.next().transpose().map_err(|error| self.interrupter.fail(error)).ok()
    }

    /// What has happened so far must have been noted.
    fn checkpoint(&mut self, position: Position) {
        if let Some(checkpointer) = &mut self.checkpointer {
            let key = position.in_batches(self.epochs.batches());
            checkpointer.checkpoint(self.learners.first(), key, &self.store);
        }
    }

    fn tell_training(&mut self, event: LearnerEvent<Step>) {
        self.interrupter.fail_on_error(self.events.process_train(event));
    }

    fn tell_validation(&mut self, event: LearnerEvent<Validated>) {
        self.interrupter.fail_on_error(self.events.process_valid(event));
    }

    /// Waits until all that was told is dealt with.
    fn flush(&mut self) -> Option<()> {
        self.interrupter.fail_on_error(self.events.flush());
        self.go_on()
    }

    fn go_on(&self) -> Option<()> {
        (!self.interrupter.should_stop()).then_some(())
    }
}

/// The batches of an epoch, a part for each device.
struct Parts<'a>(Vec<Box<dyn DataLoaderIterator<Batch> + 'a>>);

impl<'a> Parts<'a> {
    fn of(loaders: &'a [Loader]) -> Self {
        Self(loaders.iter().map(|loader| loader.iter()).collect())
    }

    fn progress(&self) -> Progress {
        Progress::aggregate(self.0.iter().map(|batches| batches.progress()))
    }
}

impl Iterator for Parts<'_> {
    type Item = Result<Vec<Batch>, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.iter_mut().map(Iterator::next).collect()
    }
}

/// Detects on each device in its part of a batch. Gives the results of the whole batch, in its order.
fn detect(detectors: &[Trainee], mut parts: Vec<Batch>) -> Validated {
    if let [detector] = detectors {
        return InferenceStep::step(detector, parts.remove(0));
    }
    let work = |_, (detector, part)| InferenceStep::step(detector, part);
    Validated::joined(each(detectors.iter().zip(parts), work))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::super::compute::Compute;
    use super::super::config::RunConfig;
    use super::super::learning_rates::LearningRates;
    use super::super::optimizer::optimizer;
    use super::super::team::Team;
    use super::*;
    use crate::data::Record;
    use crate::model::FasterRcnnConfig;

    #[test]
    fn a_team_finds_in_the_images_what_one_device_finds_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let record = |index: u32| {
            let path = folder.path().join(format!("{index}.png"));
            let pixel = |x: u32, y: u32| [(x * (7 + index)) as u8, (y * 5) as u8, (x * y + 31 * index) as u8];
            image::RgbImage::from_fn(64, 64, |x, y| pixel(x, y).into()).save(&path).unwrap();
            Record::from_image(path, vec![]).unwrap()
        };
        let records: Vec<Record> = (0..5).map(record).collect();
        let mut config = FasterRcnnConfig::tiny(3);
        config.roi_heads.score_thresh = 0.0;
        let model = config.init(&Device::flex().autodiff());
        let settings = RunConfig::new(config).train;
        let rates = LearningRates::new(&settings, 2);
        let learner = Learner::new(Trainee::new(model, None, &settings), optimizer(&settings), rates);
        let results = |compute: Compute| {
            let loader = Loader::in_order(&records, 1, 1);
            let epochs = Epochs::new(compute.devices(), &loader, &loader, 0, &settings);
            let detectors = epochs.learners(learner.clone()).detectors();
            let parts = Parts::of(&epochs.validation);
            parts.flat_map(|parts| detect(&detectors, parts.unwrap()).images().to_vec()).collect::<Vec<_>>()
        };
        let expected = results(Device::flex().into());
        assert!(expected.len() == 5 && expected.iter().all(|image| !image.result.detections.is_empty()));
        assert_ne!(expected[0].result, expected[1].result);
        assert_eq!(results(Team::new([(); 3].map(|()| Device::flex())).into()), expected);
    }
}
