//! Whole training runs, small: what they leave behind, that they repeat and resume bit for bit, how they
//! stop, and that they write over nothing.

mod classes;
mod folders;
mod results;
mod resuming;
mod settings;
mod stopping;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::tensor::Device;
use faster_rcnn::NormKind;
use faster_rcnn::ResNetDepth;
use faster_rcnn::data::{self, Split, SyntheticConfig, write_synthetic};
use faster_rcnn::train::{RunConfig, Schedule, TrainConfig};
use faster_rcnn::{FasterRcnnConfig, weights};
use serde_json::Value;

/// Seven boards to train on, one to validate on.
fn boards(folder: &Path) -> Split {
    write_synthetic(folder, 8, &SyntheticConfig { size: 128, seed: 3 }).unwrap();
    data::open(folder).unwrap().sides(0)
}

/// A thin ResNet-18 at 128 pixels, so that an epoch takes seconds. Its classes are those of the data.
fn config() -> RunConfig {
    let mut model = FasterRcnnConfig::new(ResNetDepth::ResNet18, 7)
        .with_norm(NormKind::Batch)
        .with_trainable_layers(5)
        .with_image_size(128, 128);
    model.fpn_channels = 16;
    model.roi_heads.representation_size = 32;
    model.roi_heads.batch_size_per_image = 32;
    model.rpn.batch_size_per_image = 32;
    let mut config = RunConfig::new(model);
    config.train = TrainConfig {
        epochs: 3,
        batch_size: 2,
        accumulation: 2,
        learning_rate: 0.005,
        // Other than the cosine, it does not depend on the number of epochs, which may change when a run is
        // resumed.
        schedule: Schedule::MultiStep { milestones: vec![1], gamma: 0.1 },
        warmup_steps: 2,
        clip_norm: Some(5.0),
        norm_weight_decay: Some(0.0),
        bias_weight_decay: Some(0.0),
        ..TrainConfig::default()
    };
    config
}

fn with_epochs(epochs: usize) -> RunConfig {
    let mut config = config();
    config.train.epochs = epochs;
    config
}

/// The lines of `metrics.jsonl`.
fn lines(output: &Path) -> Vec<BTreeMap<String, Value>> {
    let text = fs::read_to_string(output.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The same without the times, which no two runs share.
fn metrics(output: &Path) -> Vec<BTreeMap<String, Value>> {
    let mut lines = lines(output);
    for line in &mut lines {
        line.retain(|name, _| name != "step time" && name != "images/s");
    }
    lines
}

/// The lines of `metrics.jsonl` that end an epoch on the validation images.
fn validations(output: &Path) -> Vec<BTreeMap<String, Value>> {
    lines(output).into_iter().filter(|line| line["split"] == "valid").collect()
}

fn tensors(output: &Path, file: &str) -> Vec<weights::NamedTensor> {
    let path = output.join("checkpoints").join(file);
    weights::collect(&weights::load(&path, &Device::flex()).unwrap())
}
