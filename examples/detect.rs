//! Weights and an image in, detections out:
//!
//! ```text
//! cargo run --release --example detect -- runs/train_pcb/checkpoints/best.safetensors board.jpg
//! ```

use std::path::PathBuf;

use burn::tensor::Device;
use clap::Parser;
use faster_rcnn::{Predictor, data::load_image};

/// Find objects in an image.
#[derive(Parser)]
struct Arguments {
    /// Weights of a detector, with its settings.
    weights: PathBuf,
    /// JPEG, PNG, BMP, TIFF or WebP.
    image: PathBuf,
}

fn main() -> anyhow::Result<()> {
    faster_rcnn::keep_heap();
    let Arguments { weights, image } = Arguments::parse();
    let predictor = Predictor::load(weights, &Device::flex())?;
    for found in predictor.detect(&load_image(&image)?)? {
        let name = predictor.class_name(found.label).map_or(found.label.to_string(), str::to_string);
        let [x1, y1, x2, y2] = found.xyxy;
        println!("{name} {:.2} at [{x1:.1}, {y1:.1}, {x2:.1}, {y2:.1}]", found.score);
    }
    Ok(())
}
