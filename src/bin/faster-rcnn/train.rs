//! `faster-rcnn train`

use std::path::PathBuf;

use anyhow::{Result, bail};
use burn::tensor::Device;
use faster_rcnn::train::{Compute, Logger, Run, RunConfig, Start, Team};
use faster_rcnn::weights::LoadOptions;
#[cfg(feature = "workers")]
use faster_rcnn::workers::LocalWorkers;
use faster_rcnn::{DeviceName, Error};

use crate::data::DataArguments;
use crate::output;
use crate::registry::RegistryArguments;
#[cfg(feature = "workers")]
use crate::restarts;
use crate::sides::SideArguments;
#[cfg(feature = "workers")]
use crate::workers::WorkersArguments;

const EXAMPLES: &str = "\
The output folder holds config.toml (all settings), metrics.jsonl, curves.png, checkpoints/last.safetensors
and checkpoints/best.safetensors. In the end it also holds evaluation.json, precision_recall.png,
confusion_matrix.png and samples/. A run may be killed at any moment: --resume continues after its last
checkpoint and gives the same numbers. There is one after each epoch, and with train.checkpoint_steps=N also
after every N steps. Files that no run wrote are never overwritten: a folder that has some under these names
is refused.

Training can start from torchvision's weights (.pth) of a detector or of a ResNet classifier, or from this
program's. If a detector has another number of classes, the last layers start random.
`faster-rcnn weights --help` says more.

The classes are those of the data set. If the settings name others, that is an error.

Examples:

  faster-rcnn train --data boards --output runs/first --weights fasterrcnn_resnet50_fpn_coco-258fb6c6.pth
  faster-rcnn train --config configs/deep_pcb.toml --data PCBData --output runs/coco \\
      --weights fasterrcnn_resnet50_fpn_coco-258fb6c6.pth --set train.learning_rate=0.005
  faster-rcnn train --data PCBData --output runs/coco --resume --set train.epochs=40
  faster-rcnn train --data PCBData --output runs/told --tensorboard --mlflow http://mlflow:5000
  faster-rcnn train --config configs/gpu_nv_s.toml --data PCBData --output runs/four --token-file token \\
      --workers ws://10.0.0.5:3000,ws://10.0.0.6:3000,ws://10.0.0.7:3000,ws://10.0.0.8:3000 \\
      --set train.checkpoint_steps=200 --restarts 10 --spare ws://10.0.0.9:3000";

/// Train a detector on a data set and say how good it is on the images held out.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Settings of the run, TOML [default: ResNet-50-FPN at the images' size, with frozen norms from weights
    /// and group norm without; with --resume, those of the run].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    data: DataArguments,
    #[command(flatten)]
    sides: SideArguments,
    /// Folder of the run.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Weights to start from: a file, or a registered version, models:/NAME/N or models:/NAME@ALIAS [default:
    /// random weights].
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    weights: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArguments,
    /// Ignore missing, unused or reshaped tensors whose names begin with this prefix; may be given again.
    #[arg(long, value_name = "PREFIX", requires = "weights")]
    allow: Vec<String>,
    /// Go on with the run in the output folder.
    #[arg(long)]
    resume: bool,
    /// Where to compute; several devices, such as cuda:0,cuda:1, train together.
    #[arg(long, value_delimiter = ',', default_value = "cpu")]
    device: Vec<DeviceName>,
    #[cfg(feature = "workers")]
    #[command(flatten)]
    workers: WorkersArguments,
    #[cfg(not(feature = "workers"))]
    #[command(flatten)]
    _workers: crate::not_built::WorkersOptions,
    /// Also write TensorBoard's event files into the folder of the run.
    #[arg(long)]
    tensorboard: bool,
    /// Also tell MLflow's server at this URL, while it trains: settings, numbers by epoch, pictures, the best
    /// weights. A server that is gone costs warnings, never the run.
    #[cfg(feature = "mlflow")]
    #[arg(long, value_name = "URL")]
    mlflow: Option<String>,
    /// The experiment on MLflow's server; it is made where it is missing.
    #[cfg(feature = "mlflow")]
    #[arg(long, value_name = "NAME", default_value = "faster-rcnn", requires = "mlflow")]
    mlflow_experiment: String,
    #[cfg(not(feature = "mlflow"))]
    #[command(flatten)]
    _mlflow: crate::not_built::MlflowOptions,
    /// Another value for a setting, such as train.epochs=3; may be given again.
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<String>,
}

/// The setting that a weight file has, too: what is given by name holds, whatever the file says.
const FROZEN_EPSILON: &str = "model.frozen_epsilon";

/// Its last override, without `model.`. All other overrides are in the run's settings already.
fn frozen_epsilon(overrides: &[String]) -> Option<String> {
    overrides.iter().rev().find_map(|setting| {
        let (key, value) = setting.split_once('=')?;
        (key.trim() == FROZEN_EPSILON).then(|| format!("frozen_epsilon={value}"))
    })
}

fn setting(text: &str) -> Result<String, &'static str> {
    match text.split_once('=') {
        Some((key, _)) if !key.trim().is_empty() => Ok(text.to_string()),
        _ => Err("expected key=value"),
    }
}

pub fn run(mut arguments: Arguments) -> Result<()> {
    let mut began = false;
    let result = train(&mut arguments, &mut began);
    #[cfg(feature = "workers")]
    let result = result.map_err(|error| restarts::after(error, began, &arguments.workers, &arguments.output));
    result
}

/// Sets `began` when the devices are there.
fn train(arguments: &mut Arguments, began: &mut bool) -> Result<()> {
    #[cfg(feature = "workers")]
    let goes_on = arguments.resume || restarts::goes_on(&arguments.workers, &arguments.output);
    #[cfg(not(feature = "workers"))]
    let goes_on = arguments.resume;
    if !goes_on && let Some(weights) = arguments.weights.take() {
        arguments.weights = Some(arguments.registry.file(weights)?);
    }
    let own = arguments.resume.then(|| arguments.output.join("config.toml"));
    let given = arguments.config.clone().or(own);
    let given = given.map(|path| RunConfig::load(path, &arguments.set)).transpose()?;
    let data = arguments.sides.apply_to_divide(arguments.data.open()?)?;
    let config = match given {
        Some(config) => config,
        None => RunConfig::for_data(&data, arguments.weights.is_some()).with_overrides(&arguments.set)?,
    };
    let data = data.sides(config.train.seed);
    let (training, held_out) = (data.train.records.len(), data.validation.records.len());
    output::print(format!("{training} images to train on, {held_out} held out\n"))?;

    let epsilon = frozen_epsilon(&arguments.set);
    let given = config.model.frozen_epsilon;
    let start = match &arguments.weights {
        _ if goes_on => Start::Resume,
        None => Start::Random,
        Some(path) => {
            let options = arguments.allow.iter().fold(LoadOptions::default(), LoadOptions::allow);
            let options = epsilon.iter().fold(options, LoadOptions::set);
            Start::Weights { path: path.clone(), options }
        }
    };
    let devices = Devices::of(arguments)?;
    *began = true;
    let run = Run::new(config, data).start(start).on(devices.compute);
    let run = loggers(arguments).into_iter().fold(run, Run::log_to).prepare(&arguments.output)?;
    // A resumed run takes the default of the settings for unsaid, which it is not where it was given by name.
    if epsilon.is_some() && run.config().model.frozen_epsilon != given {
        let output = arguments.output.display();
        bail!("{output}: the run began with other settings: {FROZEN_EPSILON}");
    }
    if let (Some(path), Some(report)) = (&arguments.weights, run.load_report()) {
        output::print(format!("{}\n{report}\n", path.display()))?;
    }
    let outcome = run.fit()?;
    for warning in &outcome.warnings {
        eprintln!("warning: {warning}");
    }
    let weights = arguments.output.join("checkpoints/best.safetensors");
    let (evaluation, best) = (&outcome.evaluation, &outcome.best);
    output::print(format!("{evaluation}\nbest weights: {} ({best})\n", weights.display()))
}

/// Where the run is told, besides its folder.
fn loggers(arguments: &Arguments) -> Vec<Logger> {
    let mut loggers = Vec::new();
    if arguments.tensorboard {
        loggers.push(Logger::TensorBoard);
    }
    #[cfg(feature = "mlflow")]
    if let Some(url) = arguments.mlflow.clone() {
        loggers.push(Logger::Mlflow { url, experiment: arguments.mlflow_experiment.clone() });
    }
    loggers
}

/// Where to compute.
struct Devices {
    compute: Compute,
    /// They end when this value is dropped, whatever happens.
    #[cfg(feature = "workers")]
    _local: Option<LocalWorkers>,
}

impl Devices {
    fn of(arguments: &Arguments) -> Result<Self> {
        #[cfg(feature = "workers")]
        if let Some((team, local)) = arguments.workers.team()? {
            return Ok(Self { compute: team.into(), _local: local });
        }
        let devices = arguments.device.iter().map(|device| device.open());
        let mut devices = devices.collect::<Result<Vec<Device>, Error>>()?;
        let compute = match devices.len() {
            1 => devices.remove(0).into(),
            _ => {
                output::log_panics();
                Team::new(devices).into()
            }
        };
        Ok(Self {
            compute,
            #[cfg(feature = "workers")]
            _local: None,
        })
    }
}
