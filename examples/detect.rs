//! A board and a good one in, defects out:
//!
//! ```text
//! cargo run --release --example detect -- --reference good.png board.png
//! cargo run --release --example detect -- --weights runs/train_pcb/checkpoints/best.safetensors board.jpg
//! ```

use std::path::PathBuf;

use burn::tensor::Device;
use clap::Parser;
use faster_rcnn::Predictor;
use faster_rcnn::data::load_image;
use faster_rcnn::weights::{self, DEEP_PCB_SMALL, DEEP_PCB_SMALL_REFERENCE};

/// Find objects in an image.
#[derive(Parser)]
struct Arguments {
    /// Weights of a detector, with its settings [default: deep_pcb_small, with a reference
    /// deep_pcb_small_reference].
    #[arg(long)]
    weights: Option<PathBuf>,
    /// A picture of the same board without defects.
    #[arg(long)]
    reference: Option<PathBuf>,
    /// JPEG, PNG, BMP, TIFF or WebP.
    image: PathBuf,
}

fn main() -> anyhow::Result<()> {
    faster_rcnn::keep_heap();
    let Arguments { weights, reference, image } = Arguments::parse();
    let weights = match weights {
        Some(weights) => weights,
        None => {
            let name = if reference.is_some() { DEEP_PCB_SMALL_REFERENCE } else { DEEP_PCB_SMALL };
            weights::find(name, |_, _| ())?
        }
    };
    println!("weights: {}", weights.display());
    let (predictor, image) = (Predictor::load(weights, &Device::flex())?, load_image(&image)?);
    let detections = match reference {
        Some(reference) => predictor.detect_against(&image, &load_image(&reference)?)?,
        None => predictor.detect(&image)?,
    };
    for found in detections {
        let name = predictor.class_name(found.label).map_or(found.label.to_string(), str::to_string);
        let [x1, y1, x2, y2] = found.xyxy;
        println!("{name} {:.2} at [{x1:.1}, {y1:.1}, {x2:.1}, {y2:.1}]", found.score);
    }
    Ok(())
}
