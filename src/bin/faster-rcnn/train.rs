//! `faster-rcnn train`

use std::path::PathBuf;

use anyhow::Result;
use faster_rcnn::data::DeepPcb;
use faster_rcnn::train::{RunConfig, Start, fit};
use faster_rcnn::weights::{LoadOptions, load_torchvision_with};

use crate::{DeviceName, output};

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
  faster-rcnn train --config runs/coco/config.toml --data PCBData --output runs/coco --resume --set train.epochs=40";

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
    /// Where to compute.
    #[arg(long, value_enum, default_value = "cpu")]
    device: DeviceName,
    /// Another value for a setting, such as train.epochs=3; may be given again.
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<String>,
}

fn setting(text: &str) -> Result<String, &'static str> {
    match text.split_once('=') {
        Some((key, _)) if !key.trim().is_empty() => Ok(text.to_string()),
        _ => Err("expected key=value"),
    }
}

pub fn run(arguments: Arguments) -> Result<()> {
    let Arguments { config, data, output, weights, allow, resume, device, set } = arguments;
    let config = RunConfig::load(&config, &set)?;
    let device = device.device();
    let (train, validation) = DeepPcb::open(&data, config.train.seed)?;
    let (training, held_out) = (train.records.len(), validation.records.len());
    output::print(format!("{training} images to train on, {held_out} held out\n"))?;

    let start = match weights {
        _ if resume => Start::Resume,
        None => Start::Random,
        Some(path) => {
            let mut model = config.model.init(&device);
            let options = allow.iter().fold(LoadOptions::default(), LoadOptions::allow);
            let report = load_torchvision_with(&mut model, &path, &options)?;
            output::print(format!("{}\n{report}\n", path.display()))?;
            Start::Weights(Box::new(model))
        }
    };
    let outcome = fit(&config, start, &train, &validation, &output, &device)?;
    let best = output.join("checkpoints/best.safetensors");
    output::print(format!("{}\nbest weights: {}\n", outcome.evaluation, best.display()))
}
