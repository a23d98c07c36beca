//! Training on burn-train: [`fit`] runs a [`RunConfig`] in a folder that afterwards holds
//!
//! - `config.toml`, the complete settings;
//! - `metrics.jsonl`, a line a step and a line an epoch's end, and `curves.png`, drawn from it;
//! - `checkpoints/best.safetensors` and `last.safetensors`, and the optimiser's state beside them;
//! - `evaluation.json`, `precision_recall.png`, `confusion_matrix.png` and `samples/`: what the best
//!   weights do on the validation images.
//!
//! Every random choice comes from the seed, the epoch and the image, none from what happened before. So a
//! run that was killed and resumed gives the same losses, bit for bit, as one that was not (with the same
//! number of threads).

mod all_reduce;
mod checkpoint;
mod config;
mod gradients;
mod history;
mod metrics;
mod optimizer;
mod parallel;
mod progress;
mod report;
mod schedule;
mod step;
mod team;

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use burn::module::Module;
use burn::tensor::Device;
use burn::train::renderer::MetricsRenderer;
use burn::train::renderer::tui::TuiMetricsRendererWrapper;
use burn::train::{
    EventProcessorFailure, ExecutionStrategy, Interrupter, Learner, SupervisedTraining, TrainingError,
    TrainingStrategy,
};

pub use all_reduce::all_reduce;
pub use config::{RunConfig, TrainConfig};
pub use schedule::Schedule;
pub use team::{Member, Team};

use checkpoint::{BEST_METRIC, Checkpoints, EarlyStopping, Part};
use history::History;
use metrics::EvaluationMetric;
use parallel::DataParallel;
use progress::PlainLines;
use schedule::LearningRates;
use step::Trainee;

use crate::data::{Dataset, Loader};
use crate::error::{Error, Result};
use crate::eval::Evaluation;
use crate::files::write_bytes;
use crate::model::NormKind;
use crate::model::{FasterRcnn, Losses};
use crate::weights;

/// What a run starts from.
#[derive(Debug, Clone)]
pub enum Start {
    /// Random weights, for a detector whose norms and stages are all trained.
    Random,
    /// The weights of a detector of the same architecture.
    Weights(Box<FasterRcnn>),
    /// The last checkpoint in the run's folder.
    Resume,
}

/// What a run gave.
#[derive(Debug)]
pub struct Outcome {
    /// The detector with the weights of the best epoch.
    pub model: FasterRcnn,
    /// How good it is on the validation images.
    pub evaluation: Evaluation,
    /// Seconds that this session trained, validation included.
    pub seconds: f64,
}

/// Trains a detector in the folder `output` on `train`, and tells how good it is on `validation`.
///
/// The run takes [`frozen_epsilon`](crate::model::FasterRcnnConfig::frozen_epsilon) from the weights it starts from.
///
/// Shows burn-train's dashboard where standard output is a terminal, else prints plain lines.
///
/// # Errors
///
/// [`Error::Config`] for settings that do not work or do not fit the data, [`Error::File`] where `output`
/// already holds a run (and it is not to be resumed), or a checkpoint cannot be used;
/// [`Error::NonFinite`] where a loss is not a number, naming it; [`Error::Training`] for what else stops a
/// run. Checkpoints written before an error stay usable.
pub fn fit(
    config: &RunConfig,
    start: Start,
    train: &Dataset,
    validation: &Dataset,
    output: &Path,
    device: &Device,
) -> Result<Outcome> {
    train_on(Place::Device(device), config, start, [train, validation], output)
}

/// [`fit`] on all devices of a team: each step takes a batch of [`TrainConfig::batch_size`] images on each of them, and
/// the sum of their gradients is what one device would have for all of these images together. (But for a loss's mean
/// over candidates, where images have different numbers of them, and for the statistics of batch norm: each member's
/// are its own, and those of the first one are kept.) The first member also validates and gives the checkpoints.
///
/// Prints plain lines.
///
/// # Errors
///
/// As [`fit`], and [`Error::Worker`] where a member is lost, which it names. The threads that may still wait for it are
/// left behind until the process ends.
pub fn fit_team(
    config: &RunConfig,
    start: Start,
    train: &Dataset,
    validation: &Dataset,
    output: &Path,
    team: &Team,
) -> Result<Outcome> {
    let (config, data, output) = (config.clone(), [train.clone(), validation.clone()], output.to_path_buf());
    let members = team.members().to_vec();
    team.work(move || {
        let [train, validation] = &data;
        train_on(Place::Team(&members), &config, start, [train, validation], &output)
    })
}

/// Where a run computes.
#[derive(Clone, Copy)]
enum Place<'a> {
    Device(&'a Device),
    Team(&'a [Member]),
}

impl Place<'_> {
    /// Where the best model is evaluated.
    fn device(&self) -> &Device {
        match self {
            Self::Device(device) => device,
            Self::Team(members) => &members[0].device,
        }
    }

    /// Where the model is made that training starts from; a team's members get copies.
    fn origin(&self) -> Device {
        match self {
            Self::Device(device) => (*device).clone(),
            Self::Team(_) => Device::flex(),
        }
    }
}

fn train_on(
    place: Place,
    config: &RunConfig,
    start: Start,
    [train, validation]: [&Dataset; 2],
    output: &Path,
) -> Result<Outcome> {
    let origin = place.origin();
    config.validate()?;
    for (name, data) in [("training", train), ("validation", validation)] {
        check(config, name, data)?;
    }
    let folder = output.join("checkpoints");
    let mut config = config.clone();
    let (weights, state) = match start {
        Start::Resume => {
            let (model, state) = Checkpoints::last(&folder, &origin)?;
            config.model.frozen_epsilon = state.config.model.frozen_epsilon;
            let differences = state.config.differences(&config);
            if !differences.is_empty() {
                let message = format!("the run began with other settings: {}", differences.join(", "));
                return Err(Error::file(folder.join("last.safetensors"), message));
            }
            (Some(model), Some(state))
        }
        _ if folder.join("last.safetensors").exists() => {
            return Err(Error::file(output, "holds a run already: resume it, or take another folder"));
        }
        Start::Weights(model) => {
            config.model.frozen_epsilon = model.config().frozen_epsilon;
            (Some(*model), None)
        }
        Start::Random if config.model.norm == NormKind::FrozenBatch || config.model.trainable_layers < 5 => {
            return Err(Error::Config(
                "random weights need a norm that learns and all stages trained: set model.norm=group and \
                 model.trainable_layers=5, or start from weights"
                    .to_string(),
            ));
        }
        Start::Random => (None, None),
    };
    let fresh = config.model.init(&origin.autodiff());
    let model = match &weights {
        Some(weights) => with_weights_of(fresh, weights)?,
        None => fresh,
    };
    let config = &config;
    let model = Trainee::new(model, &config.train);
    let checkpoints = Arc::new(Checkpoints::new(&folder, model.valid(), config)?);
    let config_path = output.join("config.toml");
    write_bytes(&config_path, config.to_toml().as_bytes())?;
    if let Some(state) = &state {
        checkpoints.resume(model.clone(), state)?;
    }

    let done = state.map_or(0, |state| state.epoch);
    let started = Instant::now();
    if done < config.train.epochs {
        run(config, model, checkpoints, done, [train, validation], output, place)?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let model = weights::load(&folder.join("best.safetensors"), place.device())?;
    let evaluation = report::write(&model, validation, config, output)?;
    Ok(Outcome { model, evaluation, seconds })
}

/// Trains the epochs after `done`.
fn run(
    config: &RunConfig,
    model: Trainee,
    checkpoints: Arc<Checkpoints>,
    done: usize,
    [train, validation]: [&Dataset; 2],
    output: &Path,
    place: Place,
) -> Result<()> {
    let RunConfig { train: settings, augment, .. } = config;
    let loader =
        |data: &Dataset| Loader::in_order(&data.records, settings.batch_size, settings.loader_threads);
    let training = loader(train).shuffled(augment, settings.seed, done + 1);
    let (strategy, batches) = match place {
        Place::Device(device) => {
            (ExecutionStrategy::single(device.clone().autodiff()).into(), training.batches())
        }
        Place::Team(members) => {
            let count = members.len();
            let shards: Vec<Loader> = (0..count).map(|index| training.shard(index, count)).collect();
            let batches = shards[0].batches();
            let strategy = DataParallel { members: members.to_vec(), shards };
            (TrainingStrategy::Custom(Arc::new(strategy)), batches)
        }
    };
    let rates = LearningRates::new(settings, batches);
    let learner = Learner::new(model, optimizer::sgd(settings), rates.clone());

    let interrupter = Interrupter::new();
    let history = History::open(output, done, interrupter.clone())?;
    // Where a member is lost, nobody would put the terminal back as it was.
    let dashboard = matches!(place, Place::Device(_)) && std::io::stdout().is_terminal();
    let renderer: Box<dyn MetricsRenderer> = if dashboard {
        Box::new(TuiMetricsRendererWrapper::new(interrupter.clone(), (done > 0).then_some(done)))
    } else {
        Box::new(PlainLines::new())
    };
    let names = &config.model.class_names;
    let part = Part(checkpoints);
    let mut training = SupervisedTraining::new(output, Arc::new(training), Arc::new(loader(validation)))
        .with_training_strategy(strategy)
        .with_interrupter(interrupter)
        .with_application_logger(None)
        .with_metric_logger(history)
        .renderer(renderer)
        .with_custom_checkpointers(part.clone(), part.clone(), part.clone())
        .with_checkpointing_strategy(part)
        .grads_accumulation(settings.accumulation)
        .num_epochs(settings.epochs)
        .metric_train_numeric(metrics::loss("loss", None))
        .metric_valid_numeric(EvaluationMetric::new(BEST_METRIC, names, |all| all.coco.overall.ap))
        .metric_valid_numeric(EvaluationMetric::new("ap50", names, |all| all.coco.overall.ap50))
        .metric_valid_numeric(EvaluationMetric::new("map33", names, |all| all.deep_pcb.map));
    for (term, name) in Losses::NAMES.iter().enumerate() {
        training = training.metric_train_numeric(metrics::loss(name, Some(term)));
    }
    training = training
        .metric_train_numeric(metrics::learning_rate(rates, done))
        .metric_train_numeric(metrics::step_seconds())
        .metric_train_numeric(metrics::images_per_second());
    if let Some(patience) = settings.early_stopping {
        training = training.early_stopping(EarlyStopping { patience });
    }
    if done > 0 {
        training = training.checkpoint(done);
    }
    let result = training.launch(learner);
    match (result.error.as_deref(), result.interrupted) {
        (Some(error), _) => Err(training_error(error)),
        (None, Some(interruption)) => {
            let reason = interruption.reason.unwrap_or_else(|| "interrupted".to_string());
            Err(Error::training(format!("{reason}; resume the run to go on after the last whole epoch")))
        }
        (None, None) => Ok(()),
    }
}

/// What burn-train reports, in our words. A step that cannot be synced is [`step::Step`] with a faulty loss.
fn training_error(error: &TrainingError) -> Error {
    if let TrainingError::EventProcessor(error) = error {
        for failure in error.failures() {
            if let EventProcessorFailure::Sync { source, .. } = failure {
                let message = source.to_string();
                return Error::NonFinite(message.lines().last().unwrap_or_default().trim().to_string());
            }
        }
    }
    match error {
        TrainingError::Dataset(error) => Error::training(error),
        TrainingError::Checkpoint(error) => Error::training(error),
        _ => Error::training(error),
    }
}

/// A fresh model, which knows what is to be trained, with the weights of another.
fn with_weights_of(fresh: FasterRcnn, model: &FasterRcnn) -> Result<FasterRcnn> {
    weights::apply(fresh, weights::collect(model))
        .map_err(|mismatch| Error::Config(format!("weights: {mismatch}")))
}

/// Data and detector must fit before the first step.
fn check(config: &RunConfig, name: &str, data: &Dataset) -> Result<()> {
    if data.records.is_empty() {
        return Err(Error::Config(format!("there are no {name} images")));
    }
    if config.model.class_names.is_empty() {
        return Err(Error::Config("model.class_names must name the classes".to_string()));
    }
    let labels = data.records.iter().flat_map(|record| &record.annotations).map(|object| object.label);
    match labels.max() {
        Some(label) if label >= config.model.num_classes => Err(Error::Config(format!(
            "the {name} images have label {label}, but model.num_classes is {}",
            config.model.num_classes
        ))),
        _ => Ok(()),
    }
}
