//! Runs the epochs of a run on burn-train.

use std::error::Error as StdError;
use std::fmt;
use std::io::IsTerminal;
use std::sync::Arc;

use burn::module::Module;
use burn::train::renderer::MetricsRenderer;
use burn::train::renderer::tui::TuiMetricsRendererWrapper;
use burn::train::{
    EventProcessorFailure, ExecutionStrategy, Interrupter, Learner, SupervisedTraining, TrainingError,
    TrainingStrategy,
};

use super::best::{BestEpoch, EarlyStopping};
use super::checkpoint::{Checkpoints, Records};
use super::checkpoint_handle::CheckpointHandle;
use super::compute::Compute;
use super::config::GradientType;
use super::evaluation_metrics::evaluation_metrics;
use super::folder::RunFolder;
use super::history::History;
use super::learning_rates::LearningRates;
use super::metrics;
use super::observer::Observers;
use super::optimizer::optimizer;
use super::parallel::DataParallel;
use super::progress::PlainLines;
use super::run_info::RunInfo;
use super::step::Trainee;
use crate::data::{Dataset, Loader, Split};
use crate::error::{Error, Result};
use crate::model::Losses;

/// Trains the epochs after `info.epoch`. `resumed` is the state of the last checkpoint.
pub(super) fn launch(
    info: &RunInfo,
    model: Trainee,
    resumed: Option<Records>,
    data: &Split,
    folder: &RunFolder,
    compute: &Compute,
    observers: &Observers,
) -> Result<()> {
    let (done, settings) = (info.epoch, &info.config.train);
    let interrupter = Interrupter::new();
    let history = History::open(folder, done, interrupter.clone(), observers.clone())?;
    let early_stopping = settings.early_stopping.map(|patience| EarlyStopping { patience });
    let best = BestEpoch::of(done, |epoch| history.ap(epoch));
    if done >= settings.epochs || done > 0 && early_stopping.as_ref().is_some_and(|e| e.ends(done, best)) {
        return Ok(());
    }

    let detector = &info.config.model;
    let loader = |data: &Dataset| {
        Loader::in_order(&data.records, settings.batch_size, settings.loader_threads)
            .with_reference(detector.reference, detector.reference_align)
    };
    let training = loader(&data.train)
        .shuffled(&info.config.augment, settings.seed, done + 1)
        .with_clean(info.config.data.clean_fraction);
    let (strategy, batches) = strategy(compute, &training, settings.gradient_dtype);
    let rates = LearningRates::new(settings, batches);
    let checkpoints = Checkpoints::new(&folder.checkpoints(), model.valid(), info.clone(), observers.clone());
    let handle = CheckpointHandle::new(checkpoints, resumed, interrupter.clone());
    let learner = Learner::new(model, optimizer(settings), rates.clone());

    let mut training =
        SupervisedTraining::new(folder.path(), Arc::new(training), Arc::new(loader(&data.validation)))
            .with_training_strategy(strategy)
            .with_interrupter(interrupter.clone())
            .with_application_logger(None)
            .with_metric_logger(history)
            .renderer(renderer(compute, interrupter, done))
            .with_custom_checkpointers(handle.clone(), handle.clone(), handle.clone())
            .with_checkpointing_strategy(handle)
            .grads_accumulation(settings.accumulation)
            .num_epochs(settings.epochs)
            .metric_train_numeric(metrics::loss("loss", None));
    for metric in evaluation_metrics(&info.config.model.class_names) {
        training = training.metric_valid_numeric(metric);
    }
    for (term, name) in Losses::NAMES.iter().enumerate() {
        training = training.metric_train_numeric(metrics::loss(name, Some(term)));
    }
    training = training
        .metric_train_numeric(metrics::learning_rate(rates, done))
        .metric_train_numeric(metrics::step_seconds())
        .metric_train_numeric(metrics::images_per_second());
    if let Some(early_stopping) = early_stopping {
        training = training.early_stopping(early_stopping);
    }
    if done > 0 {
        training = training.checkpoint(done);
    }
    let result = training.launch(learner);
    match (result.error, result.interrupted) {
        (Some(error), _) => Err(training_error(error)),
        (None, Some(interruption)) => {
            let reason = interruption.reason.unwrap_or_else(|| "interrupted".to_string());
            Err(Error::training(format!("{reason}; resume the run to go on after the last whole epoch")))
        }
        (None, None) => Ok(()),
    }
}

/// How burn-train computes, and the number of batches of an epoch.
fn strategy(
    compute: &Compute,
    training: &Loader,
    gradient_dtype: GradientType,
) -> (TrainingStrategy<Trainee>, usize) {
    match compute {
        Compute::Device(device) => {
            (ExecutionStrategy::single(device.clone().autodiff()).into(), training.batches())
        }
        Compute::Team(team) => {
            let members = team.members().to_vec();
            let count = members.len();
            let shards: Vec<Loader> = (0..count).map(|index| training.shard(index, count)).collect();
            let batches = shards[0].batches();
            let exchange = team.exchange();
            let parallel = DataParallel { members, shards, exchange, gradient_dtype };
            (TrainingStrategy::Custom(Arc::new(parallel)), batches)
        }
    }
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
