//! The Rust side of `benches/compare_torchvision.py`, which says what work this is:
//!
//! ```text
//! measure inference|train --batch N --size S --iterations K
//! ```
//!
//! The last line of standard output is `{"seconds": [one an iteration], "peak_rss_bytes": N,
//! "outcome": [...]}`, where the outcome is, for the other side to agree with, the four losses of the
//! first iteration, or the number of detections and the sum of their scores.

#[path = "../tests/common/mod.rs"]
mod common;

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::Device;
use clap::{Parser, ValueEnum};
use faster_rcnn::model::sampler::Draw;
use faster_rcnn::structures::{Annotation, Image};
use faster_rcnn::{FasterRcnn, FasterRcnnConfig};
use serde_json::json;

const SEED: u64 = 10;
const LEARNING_RATE: f64 = 1e-6;

#[derive(Parser)]
struct Arguments {
    mode: Mode,
    #[arg(long)]
    batch: usize,
    #[arg(long)]
    size: usize,
    #[arg(long)]
    iterations: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    Inference,
    Train,
}

fn main() -> Result<()> {
    let Arguments { mode, batch, size, iterations } = Arguments::parse();
    let device = match mode {
        Mode::Inference => Device::flex(),
        Mode::Train => Device::flex().autodiff(),
    };
    let config = FasterRcnnConfig::resnet50_fpn(7).with_trainable_layers(5).with_image_size(size, size);
    let model = common::fill(config.init(&device), SEED);
    let images: Vec<Image> =
        (0..batch).map(|index| common::image(&format!("bench{index}"), size, size)).collect();
    let mut work: Box<dyn FnMut() -> Vec<f64>> = match mode {
        Mode::Inference => Box::new(move || detect(&model, &images)),
        Mode::Train => {
            let targets: Vec<_> = (0..batch).map(|index| targets(index, size)).collect();
            let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
            let mut optimizer = SgdConfig::new().with_momentum(Some(momentum)).init();
            let mut model = Some(model);
            Box::new(move || {
                let (stepped, losses) = train(model.take().unwrap(), &images, &targets, &mut optimizer);
                model = Some(stepped);
                losses
            })
        }
    };

    let outcome = work(); // and the warm-up
    let seconds: Vec<f64> = (0..iterations)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    let peak = peak_rss_bytes()?;
    println!("{}", json!({ "seconds": seconds, "peak_rss_bytes": peak, "outcome": outcome }));
    Ok(())
}

/// The number of detections and the sum of their scores.
fn detect(model: &FasterRcnn, images: &[Image]) -> Vec<f64> {
    let detections = model.forward(images).concat();
    let scores = detections.iter().map(|detection| f64::from(detection.score)).sum();
    vec![detections.len() as f64, scores]
}

/// One step; the model after it and the losses before it.
fn train(
    model: FasterRcnn,
    images: &[Image],
    targets: &[Vec<Annotation>],
    optimizer: &mut ModuleOptimizer,
) -> (FasterRcnn, Vec<f64>) {
    let images = model.config().transform.batch(images, &model.device());
    let losses = model.losses(&images, targets, &mut Draw::First);
    let terms: Vec<f64> = losses.terms().map(|term| term.into_scalar::<f64>()).to_vec();
    assert!(terms.iter().all(|term| term.is_finite()), "losses are not finite: {terms:?}");
    let gradients = GradientsParams::from_grads(losses.sum().backward(), &model);
    (optimizer.step(LEARNING_RATE, model, gradients), terms)
}

/// Eight boxes with sides of 5 to 30 % of the image's, anywhere inside it.
fn targets(image: usize, size: usize) -> Vec<Annotation> {
    let numbers: Vec<f64> = common::unit(&format!("bench{image}/boxes")).take(32).collect();
    let (boxes, _) = numbers.as_chunks::<4>();
    let target = |(index, [x, y, width, height]): (usize, &[f64; 4])| {
        let [width, height] = [width, height].map(|u| (0.05 + 0.25 * u) * size as f64);
        let (x, y) = (x * (size as f64 - width), y * (size as f64 - height));
        Annotation::new([x, y, x + width, y + height].map(|side| side as f32), index % 6 + 1)
    };
    boxes.iter().enumerate().map(target).collect()
}

/// The most memory this process ever had resident, as Linux counts it.
fn peak_rss_bytes() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes * 1024)
}
