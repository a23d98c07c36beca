//! Runs the epochs of a run on burn-train.

use std::error::Error as StdError;
use std::fmt;
use std::io::IsTerminal;
use std::sync::Arc;

use burn::module::Module;
use burn::train::renderer::MetricsRenderer;
use burn::train::renderer::tui::TuiMetricsRendererWrapper;
use burn::train::{
    EventProcessorFailure, Interrupter, Learner, SupervisedTraining, TrainingError, TrainingStrategy,
};

use super::best::{BestEpoch, EarlyStopping};
use super::checkpoint::{Checkpoints, Records};
use super::checkpoint_handle::CheckpointHandle;
use super::compute::Compute;
use super::epochs::Epochs;
use super::evaluation_metrics::evaluation_metrics;
use super::folder::RunFolder;
use super::history::History;
use super::learning_rates::LearningRates;
use super::metrics;
use super::observer::Observers;
use super::optimizer::optimizer;
use super::progress::PlainLines;
use super::rows::Row;
use super::run_info::RunInfo;
use super::step::Trainee;
use crate::data::{Dataset, Loader, Split};
use crate::error::{Error, Result};
use crate::model::Losses;

/// Trains from where `info` says that the run is. `resumed` is the state of the last checkpoint.
pub(super) fn launch(
    info: &RunInfo,
    model: Trainee,
    resumed: Option<Records>,
    data: &Split,
    folder: &RunFolder,
    compute: &Compute,
    observers: &Observers,
) -> Result<()> {
    let (position, settings) = (info.position(), &info.config.train);
    let done = position.epoch;
    let interrupter = Interrupter::new();
    let (history, begun) = History::open(folder, position, interrupter.clone(), observers.clone())?;
    let early_stopping = settings.early_stopping.map(|patience| EarlyStopping { patience });
    let best = BestEpoch::of(done, |epoch| history.ap(epoch));
    if done >= settings.epochs || done > 0 && early_stopping.as_ref().is_some_and(|e| e.ends(done, best)) {
        return Ok(());
    }

    let detector = &info.config.model;
    let loader = |data: &Dataset| {
        Loader::in_order(&data.records, settings.batch_size, settings.loader_threads)
            .with_reference(detector.reference, detector.reference_align)
            .with_corners(detector.corners.unwrap_or_default())
    };
    let training = loader(&data.train)
        .shuffled(&info.config.augment, settings.seed, done + 1)
        .with_clean(info.config.data.clean_fraction)
        .with_copy_paste(info.config.data.copy_paste);
    let validation = loader(&data.validation);
    let begun = with_images(begun, training.images(), info.devices * settings.batch_size);
    let epochs = Epochs::new(compute.devices(), &training, &validation, position.batches, settings);
    let rates = LearningRates::new(settings, epochs.batches());
    let (batches, resumes) = (epochs.batches(), resumed.is_some());
    let (checkpoints, metrics) = (folder.checkpoints(), folder.metrics());
    let checkpoints = Checkpoints::new(checkpoints, metrics, model.valid(), info.clone(), observers.clone());
    let handle = CheckpointHandle::new(checkpoints, batches, resumed, interrupter.clone());
    let learner = Learner::new(model, optimizer(settings), rates.clone());

    let mut training = SupervisedTraining::new(folder.path(), Arc::new(training), Arc::new(validation))
        .with_training_strategy(TrainingStrategy::Custom(Arc::new(epochs)))
        .with_interrupter(interrupter.clone())
        .with_application_logger(None)
        .with_metric_logger(history)
        .renderer(renderer(compute, interrupter, done))
        .with_custom_checkpointers(handle.clone(), handle.clone(), handle.clone())
        .with_checkpointing_strategy(handle)
        .grads_accumulation(settings.accumulation)
        .num_epochs(settings.epochs)
        .metric_train_numeric(metrics::loss("loss", None).after(&begun));
    for metric in evaluation_metrics(&info.config.model.class_names) {
        training = training.metric_valid_numeric(metric);
    }
    for (term, name) in Losses::NAMES.iter().enumerate() {
        training = training.metric_train_numeric(metrics::loss(name, Some(term)).after(&begun));
    }
    training = training
        .metric_train_numeric(metrics::learning_rate(rates, position.in_batches(batches)).after(&begun))
        .metric_train_numeric(metrics::step_seconds().after(&begun))
        .metric_train_numeric(metrics::images_per_second().after(&begun));
    if let Some(early_stopping) = early_stopping {
        training = training.early_stopping(early_stopping);
    }
    if resumes {
        training = training.checkpoint(done);
    }
    let result = training.launch(learner);
    match (result.error, result.interrupted) {
        (Some(error), _) => Err(training_error(error)),
        (None, Some(interruption)) => {
            let reason = interruption.reason.unwrap_or_else(|| "interrupted".to_string());
            Err(Error::training(format!("{reason}; resume the run to go on after the last checkpoint")))
        }
        (None, None) => Ok(()),
    }
}

/// The lines of an epoch's first steps, each with its number of images: `batch`, or what is left of `all`.
fn with_images(steps: Vec<Row>, all: usize, batch: usize) -> Vec<(Row, usize)> {
    let images = |(index, row)| (row, batch.min(all.saturating_sub(index * batch)));
    steps.into_iter().enumerate().map(images).collect()
}

/// burn-train's dashboard on a terminal, else plain lines. A team always gets plain lines: if a member is
/// lost, nothing would restore the terminal.
fn renderer(compute: &Compute, interrupter: Interrupter, done: usize) -> Box<dyn MetricsRenderer> {
    if matches!(compute, Compute::Device(_)) && std::io::stdout().is_terminal() {
        Box::new(TuiMetricsRendererWrapper::new(interrupter, (done > 0).then_some(done)))
    } else {
        Box::new(PlainLines::new())
    }
}

/// The error that stopped training, as one of this crate's.
fn training_error(error: Arc<TrainingError>) -> Error {
    match &*error {
        // A step fails to sync if a loss or a detection is not finite.
        TrainingError::EventProcessor(failed) => {
            let mut failures = failed.failures().iter();
            let reason = failures.find_map(|failure| match failure {
                EventProcessorFailure::Sync { source, .. } => Some(source.to_string()),
                EventProcessorFailure::Metric(_) => None,
            });
            match reason {
                Some(reason) => {
                    Error::NonFinite(reason.lines().last().unwrap_or_default().trim().to_string())
                }
                None => Error::training(failed),
            }
        }
        TrainingError::Dataset(_) => Error::Training {
            message: "stopped by an error".to_string(),
            source: Some(Box::new(Held(error))),
        },
        TrainingError::Checkpoint(failed) => Error::training(failed),
        other => Error::training(other),
    }
}

/// An error of this crate inside burn-train's shared error, from which it cannot be moved out.
#[derive(Debug)]
struct Held(Arc<TrainingError>);

impl Held {
    fn error(&self) -> Option<&(dyn StdError + 'static)> {
        match &*self.0 {
            TrainingError::Dataset(wrapped) => wrapped.source(),
            _ => None,
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error().map_or(Ok(()), |error| fmt::Display::fmt(error, f))
    }
}

impl StdError for Held {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error()?.source()
    }
}
