//! A run from its settings and data to the best weights.

use std::path::Path;
use std::time::Instant;

use burn::tensor::Device;

use super::average::WeightAverage;
use super::best::BestEpoch;
use super::checkpoint::{Checkpoints, average_path, best_path, last_path};
use super::compute::Compute;
use super::config::RunConfig;
use super::folder::RunFolder;
use super::launch::launch;
use super::logger::Logger;
use super::position::Position;
use super::report;
use super::run_info::RunInfo;
use super::start::Start;
use super::step::Trainee;
use crate::data::{Dataset, Record, Split};
use crate::error::{Error, Result};
use crate::eval::Evaluation;
use crate::model::layers::FrozenBatchNorm;
use crate::model::{FasterRcnn, FasterRcnnConfig, NormKind, Tiles};
use crate::structures::ReferenceInput;
use crate::weights::{self, LoadOptions, LoadReport, WeightFile};

/// A training run: settings, data, what it starts from and where it computes.
///
/// ```no_run
/// use faster_rcnn::train::{Run, RunConfig, Start};
///
/// # fn main() -> faster_rcnn::Result<()> {
/// let config = RunConfig::load("configs/deep_pcb.toml", &[])?;
/// let data = faster_rcnn::data::open("PCBData")?.sides(config.train.seed);
/// let outcome = Run::new(config, data).start(Start::weights("coco.pth")).fit("runs/deep_pcb")?;
/// println!("{}\n{}", outcome.best, outcome.evaluation);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Run {
    config: RunConfig,
    data: Split,
    start: Start,
    compute: Compute,
    loggers: Vec<Logger>,
}

/// A run that is ready to begin: its settings are complete and fit the data, and its weights are loaded.
/// Nothing is written yet.
#[derive(Debug)]
pub struct PreparedRun {
    /// The settings as the caller gave them.
    given: RunConfig,
    /// The run's settings, its progress and its images.
    info: RunInfo,
    data: Split,
    compute: Compute,
    folder: RunFolder,
    model: FasterRcnn,
    report: Option<LoadReport>,
    loggers: Vec<Logger>,
}

/// What a run gave.
#[derive(Debug)]
pub struct Outcome {
    /// The detector with the weights of the best epoch.
    pub model: FasterRcnn,
    /// Which epoch that is.
    pub best: BestEpoch,
    /// How good it is on the validation images.
    pub evaluation: Evaluation,
    /// Seconds of training, validation included; of a resumed run those since it was resumed.
    pub seconds: f64,
    /// What went wrong where the run was told elsewhere, in words: a server that was gone, for example.
    pub warnings: Vec<String>,
}

impl Run {
    /// A run that starts from random weights and computes on the CPU.
    pub fn new(config: RunConfig, data: Split) -> Self {
        let (start, compute) = (Start::Random, Device::flex().into());
        Self { config, data, start, compute, loggers: Vec::new() }
    }

    /// Starts from something else.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Computes elsewhere: on another [`Device`], or on all devices of a [`Team`](super::Team).
    ///
    /// On a team each step takes [`batch_size`](super::TrainConfig::batch_size) images on each device. The
    /// sum of the gradients equals what one device would compute for all of these images together, with one
    /// exception: the mean of a loss over candidates, if images have different numbers of them. All members
    /// validate, each a part of the images. Batch norm that learns is refused: its statistics would be others
    /// on each member.
    #[must_use]
    pub fn on(mut self, compute: impl Into<Compute>) -> Self {
        self.compute = compute.into();
        self
    }

    /// Tells the run elsewhere, too, while it goes on.
    #[must_use]
    pub fn log_to(mut self, logger: Logger) -> Self {
        self.loggers.push(logger);
        self
    }

    /// Checks everything that can be checked before the first step, and reads the weights.
    ///
    /// If the settings do not give the number and names of the classes, they come from the data set.
    /// [`frozen_epsilon`](FasterRcnnConfig::frozen_epsilon) comes from the weights that the run starts from,
    /// unless the settings or the options of [`Start::Weights`] give another value.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for settings that do not work or do not fit the data. [`Error::File`] if `folder`
    /// holds a run that is not to be resumed or files that a run would overwrite, or if a checkpoint cannot
    /// be used. Any error of loading weights.
    pub fn prepare(self, folder: impl AsRef<Path>) -> Result<PreparedRun> {
        let Self { config: given, data, start, compute, loggers } = self;
        let folder = RunFolder::new(folder.as_ref())?;
        let mut config = given.clone();
        config.model = for_data(&config.model, &data)?;
        config.validate()?;
        let like = |crop| Tiles::like_crops(crop, &config.model.transform);
        config.model.tiles = config.model.tiles.or(config.augment.crop.map(like));
        for (side, data) in [("training", &data.train), ("validation", &data.validation)] {
            if data.records.is_empty() {
                return Err(Error::Config(format!("there are no {side} images")));
            }
            data.validate()?;
            check_references(&config, data)?;
        }
        if config.data.clean_fraction > 0.0 && data.train.records.iter().all(|r| r.reference.is_none()) {
            let message = "data.clean_fraction needs training images with references, and none has one";
            return Err(Error::Config(message.to_string()));
        }
        let devices = compute.devices().count();
        if devices > 1 && config.model.norm == NormKind::Batch {
            let message = "several devices cannot train model.norm=batch, whose statistics would be others \
                           on each: set model.norm=group";
            return Err(Error::Config(message.to_string()));
        }
        let random = config.model.init(&compute.origin().autodiff());
        let (model, report, info) = match start {
            Start::Resume => {
                let (model, info) = resume(&folder, &mut config, &data, devices, random)?;
                (model, None, info)
            }
            Start::Weights { path, options } => {
                folder.check_unused(&given, &config)?;
                let mut model = random;
                let report = WeightFile::open(&path)?.load_into(&mut model, &options)?;
                config.model.frozen_epsilon = model.config().frozen_epsilon;
                tracing::info!(path = %path.display(), applied = report.applied.len(), "read the weights");
                (model, Some(report), RunInfo::new(config, &data, devices))
            }
            Start::Random => {
                check_random(&config.model)?;
                folder.check_unused(&given, &config)?;
                (random, None, RunInfo::new(config, &data, devices))
            }
        };
        Ok(PreparedRun { given, info, data, compute, folder, model, report, loggers })
    }

    /// Trains in `folder`, and says how good the best weights are on the validation images.
    ///
    /// Shows burn-train's dashboard if standard output is a terminal and there is one device, else prints
    /// plain lines.
    ///
    /// # Errors
    ///
    /// As [`prepare`](Self::prepare) and [`PreparedRun::fit`].
    pub fn fit(self, folder: impl AsRef<Path>) -> Result<Outcome> {
        self.prepare(folder)?.fit()
    }
}

/// Finds images without the reference that the detector takes.
fn check_references(config: &RunConfig, data: &Dataset) -> Result<()> {
    let missing = |record: &&Record| record.reference.is_none();
    if config.model.reference != ReferenceInput::None
        && let Some(record) = data.records.iter().find(missing)
    {
        return Err(Error::Reference(format!(
            "{}: has no reference image, with which the detector compares (model.reference)",
            record.image
        )));
    }
    Ok(())
}

impl PreparedRun {
    /// The complete settings.
    pub fn config(&self) -> &RunConfig {
        &self.info.config
    }

    /// What became of each tensor of the file that the run starts from; `None` without such a file.
    pub fn load_report(&self) -> Option<&LoadReport> {
        self.report.as_ref()
    }

    /// As [`Run::fit`].
    ///
    /// # Errors
    ///
    /// [`Error::NonFinite`] if a loss or a detection is NaN or infinite; it names the value and the images.
    /// [`Error::Worker`] if a member of a team is lost; it names the member. [`Error::Training`] for anything
    /// else that stops a run. Checkpoints written before an error stay usable. Threads that wait for a lost
    /// worker are left behind until the process ends.
    pub fn fit(mut self) -> Result<Outcome> {
        match self.compute {
            Compute::Device(_) => self.train(),
            Compute::Team(team) => {
                self.compute = Compute::Team(team.members_only());
                team.work(move || self.train())
            }
        }
    }

    fn train(self) -> Result<Outcome> {
        let Self { given, info, data, compute, folder, model, loggers, .. } = self;
        let train = &info.config.train;
        let (position, resumes) = (info.position(), info.position() != Position::default());
        let average = |decay| match resumes {
            false => Ok(WeightAverage::of(&model, decay)),
            true => weights::load(average_path(&folder.checkpoints(), position), &model.device())
                .map(|average| WeightAverage::new(average, decay, info.step)),
        };
        let average = train.ema_decay.map(average).transpose()?;
        let model = Trainee::new(model, average, train);
        let read = || Checkpoints::read(&folder.checkpoints(), model.clone(), &info);
        let resumed = resumes.then(read).transpose()?;
        folder.create(&given, &info.config)?;
        let observers = Logger::open(loggers, folder.path(), &info)?;
        let started = Instant::now();
        let launched = launch(&info, model, resumed, &data, &folder, &compute, &observers);
        let seconds = started.elapsed().as_secs_f64();
        let result = launched.and_then(|()| results(&info, &data, &folder, &compute));
        if result.is_ok() {
            folder.results().iter().for_each(|name| observers.file(name));
        }
        let warnings = observers.end(result.is_ok());
        let (model, best, evaluation) = result?;
        Ok(Outcome { model, best, evaluation, seconds, warnings })
    }
}

/// What the best weights of a run do on the validation images, written into its folder.
fn results(
    info: &RunInfo,
    data: &Split,
    folder: &RunFolder,
    compute: &Compute,
) -> Result<(FasterRcnn, BestEpoch, Evaluation)> {
    let best_weights = best_path(&folder.checkpoints());
    let best = read_info(&best_weights)?.best;
    if best.ap.is_none() {
        tracing::warn!("{best}");
    }
    let model = weights::load(&best_weights, compute.main_device())?;
    let evaluation = report::write(&model, &data.validation, &info.config, folder.path())?;
    Ok((model, best, evaluation))
}

/// The weights and the progress of the run in `folder`, which must have begun with these settings and this
/// data.
fn resume(
    folder: &RunFolder,
    config: &mut RunConfig,
    data: &Split,
    devices: usize,
    mut model: FasterRcnn,
) -> Result<(FasterRcnn, RunInfo)> {
    let path = last_path(&folder.checkpoints());
    if !path.exists() {
        return Err(Error::file(&path, "is not there: the run has no checkpoint yet, start it anew"));
    }
    let mut info = read_info(&path)?;
    info.check_complete(&path)?;
    if config.model.frozen_epsilon == FrozenBatchNorm::EPSILON {
        // The settings have the default, so use the value of the weights that the run started from.
        config.model.frozen_epsilon = info.config.model.frozen_epsilon;
    }
    if info.config.augment.crop.is_some() {
        // Checkpoints from before there were windows have none.
        info.config.model.tiles = info.config.model.tiles.or(config.model.tiles);
    }
    let differences = info.config.differences(config);
    if !differences.is_empty() {
        let message = format!("the run began with other settings: {}", differences.join(", "));
        return Err(Error::file(path, message));
    }
    info.check_data(data, &path)?;
    info.check_devices(devices, &path)?;
    info.devices = devices;
    WeightFile::open(&path)?.load_into(&mut model, &LoadOptions::default())?;
    info.config = config.clone();
    Ok((model, info))
}

/// The run info in a checkpoint.
fn read_info(path: &Path) -> Result<RunInfo> {
    RunInfo::read(path)?.ok_or_else(|| Error::file(path, "is not a checkpoint of a run"))
}

/// The detector's settings, with the classes and corners of the data where they say none.
fn for_data(model: &FasterRcnnConfig, data: &Split) -> Result<FasterRcnnConfig> {
    let names = &data.train.class_names;
    if *names != data.validation.class_names {
        return Err(Error::Config(format!(
            "the training images have the classes {}, the validation images {}",
            names.join(", "),
            data.validation.class_names.join(", ")
        )));
    }
    if names.is_empty() {
        return Err(Error::Config("the data set names no classes".to_string()));
    }
    let corners = data.train.corners;
    if corners != data.validation.corners {
        return Err(Error::Config(
            "corners are edges in one of training and validation images, and pixels in the other".to_string(),
        ));
    }
    let model = model.for_classes(names)?;
    Ok(FasterRcnnConfig { corners: model.corners.or(Some(corners)), ..model })
}

/// Random weights are only useful if all of them can learn.
fn check_random(model: &FasterRcnnConfig) -> Result<()> {
    if model.norm != NormKind::FrozenBatch && model.trainable_layers == 5 {
        return Ok(());
    }
    Err(Error::Config(
        "random weights need a norm that learns and all layers trained: set model.norm=group and \
         model.trainable_layers=5, or start from weights"
            .to_string(),
    ))
}
