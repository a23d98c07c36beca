//! Training on several workers: processes on this machine, also in network namespaces of their own, against
//! the same training in one process; and every way in which a worker can fail.
#![cfg(feature = "workers")]

mod bench;
#[path = "../common/mod.rs"]
mod common;
#[cfg(unix)]
mod failures;
mod gpu;
mod images;
#[cfg(target_os = "linux")]
mod local;
#[cfg(target_os = "linux")]
mod namespaces;
mod refusals;
#[cfg(target_os = "linux")]
mod restarts;
mod training;
mod validation;

use std::fs;
use std::path::Path;

use faster_rcnn::FasterRcnnConfig;
use faster_rcnn::NormKind;
use faster_rcnn::ResNetDepth;
use faster_rcnn::data::{self, Split, SyntheticConfig, deep_pcb, write_synthetic};
use faster_rcnn::train::{RunConfig, Schedule, TrainConfig};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_faster-rcnn");

/// A thin ResNet-18 at 128 pixels whose images all have as many candidates, so that a mean over the batch is
/// the mean of its images' means.
fn model() -> FasterRcnnConfig {
    let mut model = FasterRcnnConfig::new(ResNetDepth::ResNet18, 7)
        .with_class_names(&deep_pcb::CLASS_NAMES)
        .with_norm(NormKind::Group)
        .with_trainable_layers(5)
        .with_image_size(128, 128);
    model.fpn_channels = 16;
    model.roi_heads.representation_size = 32;
    model.roi_heads.batch_size_per_image = 16;
    model.rpn.batch_size_per_image = 32;
    model.rpn.pre_nms_top_n_train = 20;
    model
}

fn config(batch_size: usize, epochs: usize) -> RunConfig {
    let mut config = RunConfig::new(model());
    config.train = TrainConfig {
        epochs,
        batch_size,
        learning_rate: 0.005,
        schedule: Schedule::MultiStep { milestones: vec![2], gamma: 0.1 },
        warmup_steps: 2,
        clip_norm: Some(5.0),
        sample_pictures: 0,
        ..TrainConfig::default()
    };
    config
}

/// Settings for a comparison of losses. The scores of random weights are nearly equal, and which of two
/// proposals goes first soon depends on a last digit, which two orders of one sum do not share: so the steps
/// are small, and the seed is one with which no two proposals change places.
fn alike(batch_size: usize, epochs: usize) -> RunConfig {
    let mut config = config(batch_size, epochs);
    config.train.learning_rate = 2e-5;
    config.train.seed = 1;
    config
}

fn boards(folder: &Path, count: usize) -> Split {
    write_synthetic(folder, count, &SyntheticConfig { size: 128, seed: 3 }).unwrap();
    data::open(folder).unwrap().sides(0)
}

/// The losses of all training steps.
fn losses(output: &Path) -> Vec<f64> {
    let text = fs::read_to_string(output.join("metrics.jsonl")).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.filter(|row| row["split"] == "train" && row["step"].is_u64())
        .map(|row| row["loss"].as_f64().unwrap())
        .collect()
}

fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let difference = |(found, expected): (&f64, &f64)| ((found - expected) / expected).abs();
    let differences: Vec<f64> = found.iter().zip(expected).map(difference).collect();
    assert!(differences.iter().all(|difference| *difference <= 1e-4), "{differences:?}");
}
