//! `faster-rcnn train`

use std::panic;
use std::path::PathBuf;
#[cfg(feature = "workers")]
use std::str::FromStr;

use anyhow::Result;
use burn::tensor::Device;
use faster_rcnn::data::{Split, deep_pcb};
#[cfg(feature = "workers")]
use faster_rcnn::train::Outcome;
use faster_rcnn::train::{RunConfig, Start, Team, fit, fit_team};
use faster_rcnn::weights::{LoadOptions, WeightFile};
#[cfg(feature = "workers")]
use faster_rcnn::workers::{Address, LocalWorkers, connect};
use faster_rcnn::{DeviceName, Error};

use crate::output;

const EXAMPLES: &str = "\
The output folder holds config.toml (all settings), metrics.jsonl and curves.png, checkpoints/last.safetensors and
best.safetensors, and in the end evaluation.json, precision_recall.png, confusion_matrix.png and samples/. A run may
be killed at any moment: --resume goes on after its last whole epoch and gives the same numbers.

Weights to start from are torchvision's (.pth), of a detector or of a ResNet classifier, or this program's. Where a
detector's classes differ in number, the last layers start random. `faster-rcnn weights --help` says more.

Examples:

  faster-rcnn train --config configs/deep_pcb.toml --data PCBData --output runs/random \\
      --set model.norm=group --set model.trainable_layers=5
  faster-rcnn train --config configs/deep_pcb.toml --data PCBData --output runs/coco \\
      --weights fasterrcnn_resnet50_fpn_coco-258fb6c6.pth --set train.learning_rate=0.005
  faster-rcnn train --config runs/coco/config.toml --data PCBData --output runs/coco --resume --set train.epochs=40
  faster-rcnn train --config configs/gpu_nv_s.toml --data PCBData --output runs/four --token-file token \\
      --workers ws://10.0.0.5:3000,ws://10.0.0.6:3000,ws://10.0.0.7:3000,ws://10.0.0.8:3000";

/// Train a detector on a data set and say how good it is on the images held out.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Settings of the run, TOML.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// DeepPCB's PCBData, or a folder of its layout. Without trainval.txt and test.txt, a tenth of the images,
    /// chosen by train.seed, is held out.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Folder of the run.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Weights to start from; random ones without.
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    weights: Option<PathBuf>,
    /// Accept tensors of the weights whose names begin so, although the detector has no place for them, or lacks
    /// them, or has them in another shape; may be given again.
    #[arg(long, value_name = "PREFIX", requires = "weights")]
    allow: Vec<String>,
    /// Go on with the run in the output folder.
    #[arg(long)]
    resume: bool,
    /// Where to compute; several devices, such as cuda:0,cuda:1, train together.
    #[arg(long, value_delimiter = ',', default_value = "cpu")]
    device: Vec<DeviceName>,
    /// Workers to train on together: ws://HOST:PORT or iroh://ID@ADDRESS:PORT of each, or local:N for N processes
    /// on this machine, which are started and ended.
    #[cfg(feature = "workers")]
    #[arg(long, value_name = "ADDRESSES", conflicts_with = "device")]
    workers: Option<Workers>,
    /// File with the token that the workers ask for.
    #[cfg(feature = "workers")]
    #[arg(long, value_name = "FILE", requires = "workers")]
    token_file: Option<PathBuf>,
    #[cfg(not(feature = "workers"))]
    #[command(flatten)]
    _workers: crate::not_built::WorkersOptions,
    /// Another value for a setting, such as train.epochs=3; may be given again.
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<String>,
}

/// What `--workers` names.
#[cfg(feature = "workers")]
#[derive(Clone)]
enum Workers {
    Local(usize),
    At(Vec<Address>),
}

#[cfg(feature = "workers")]
impl FromStr for Workers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("local:").map(str::parse) {
            Some(Ok(count)) if count > 0 => Ok(Self::Local(count)),
            Some(_) => Err("local:N takes a number of processes".to_string()),
            None => text.split(',').map(str::parse).collect::<Result<_, _>>().map(Self::At),
        }
    }
}

fn setting(text: &str) -> Result<String, &'static str> {
    match text.split_once('=') {
        Some((key, _)) if !key.trim().is_empty() => Ok(text.to_string()),
        _ => Err("expected key=value"),
    }
}

pub fn run(arguments: Arguments) -> Result<()> {
    let Arguments { config, data, output, weights, allow, resume, device, set, .. } = &arguments;
    let config = RunConfig::load(config, set)?;
    let Split { train, validation } = deep_pcb::open(data, config.train.seed)?;
    let (training, held_out) = (train.records.len(), validation.records.len());
    output::print(format!("{training} images to train on, {held_out} held out\n"))?;
    print_left_out(&deep_pcb::left_out(data)?)?;

    let start = match weights {
        _ if *resume => Start::Resume,
        None => Start::Random,
        Some(path) => {
            let mut model = config.model.init(&Device::flex());
            let options = allow.iter().fold(LoadOptions::default(), LoadOptions::allow);
            let options =
                set.iter().filter_map(|set| set.strip_prefix("model.")).fold(options, LoadOptions::set);
            let report = WeightFile::open(path)?.load_into(&mut model, &options)?;
            output::print(format!("{}\n{report}\n", path.display()))?;
            Start::Weights(Box::new(model))
        }
    };
    let devices: Vec<Device> = device.iter().map(|device| device.open()).collect::<Result<_, _>>()?;
    let outcome = match devices.as_slice() {
        #[cfg(feature = "workers")]
        _ if arguments.workers.is_some() => {
            train_on_workers(&arguments, |team| fit_team(&config, start, &train, &validation, output, team))?
        }
        [device] => fit(&config, start, &train, &validation, output, device)?,
        devices => {
            log_panics();
            let team = Team::new(devices.iter().cloned());
            fit_team(&config, start, &train, &validation, output, &team)?
        }
    };
    let best = output.join("checkpoints/best.safetensors");
    output::print(format!("{}\nbest weights: {}\n", outcome.evaluation, best.display()))
}

/// Names what the run does not see of the data set, as far as that is readable.
fn print_left_out(files: &[Error]) -> Result<()> {
    const SHOWN: usize = 10;
    for file in files.iter().take(SHOWN) {
        output::print(format!("{file:#}\n"))?;
    }
    match files.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => output::print(format!("and {more} more files, which `faster-rcnn check` names\n")),
    }
}

/// A team's member that is lost is told of by an error; the panics of threads that waited for it are details.
fn log_panics() {
    panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
}

/// Trains with the workers of the command line; those of this machine end afterwards, whatever happens.
#[cfg(feature = "workers")]
fn train_on_workers<E: Into<anyhow::Error>>(
    arguments: &Arguments,
    train: impl FnOnce(&Team) -> Result<Outcome, E>,
) -> Result<Outcome> {
    log_panics();
    let token = arguments.token_file.as_deref().map(crate::worker::token).transpose()?;
    let (local, team);
    match arguments.workers.as_ref().expect("there are workers") {
        Workers::Local(count) => {
            local = LocalWorkers::start(&std::env::current_exe()?, *count)?;
            team = connect(local.addresses(), Some(local.token()))?;
        }
        Workers::At(addresses) => team = connect(addresses, token.as_deref())?,
    }
    train(&team).map_err(Into::into)
}
