//! Weight files that PyTorch and torchvision wrote (`tests/reference/weight_files.py`), and those written
//! here.

#[path = "../common/mod.rs"]
mod common;
mod finding;
mod loading;
mod precision;
mod program;
mod refusing;
mod saved;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use burn::tensor::Device;
use common::unit;
use faster_rcnn::ResNetDepth;
use faster_rcnn::weights::{
    self, EpsilonSource, Layout, LoadOptions, LoadReport, NamedTensor, Precision, WeightFile, WeightFileKind,
};
use faster_rcnn::{Error, FasterRcnn, FasterRcnnConfig, Result};
use saved::*;
use serde_json::{Value, json};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights").join(name)
}

/// `uniform` of `tests/reference/weights.py`.
fn uniform(name: &str, count: usize) -> Vec<f32> {
    unit(name).take(count).map(|u| (2.0 * u - 1.0) as f32).collect()
}

/// The value that all elements of a tensor have in the fixtures of whole models.
fn constant(name: &str) -> f32 {
    uniform(name, 1)[0]
}

/// The name of a tensor in the v1 file that torchvision publishes.
fn published_name(name: &str) -> String {
    let pyramid = name.contains("inner_blocks") || name.contains("layer_blocks");
    let name =
        if pyramid { name.replace(".0.weight", ".weight").replace(".0.bias", ".bias") } else { name.into() };
    name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
}

/// A detector of 11.2 million weights, most of them the smallest backbone's.
fn tiny(v2: bool) -> FasterRcnnConfig {
    let mut config =
        if v2 { FasterRcnnConfig::resnet50_fpn_v2(4) } else { FasterRcnnConfig::resnet50_fpn(4) };
    config.backbone = ResNetDepth::ResNet18;
    (config.fpn_channels, config.roi_heads.representation_size) = (16, 32);
    config
}

fn load_into(model: &mut FasterRcnn, path: impl AsRef<Path>) -> Result<LoadReport> {
    WeightFile::open(path)?.load_into(model, &LoadOptions::default())
}

fn names(tensors: &[NamedTensor]) -> Vec<&str> {
    tensors.iter().map(|tensor| tensor.name.as_str()).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
