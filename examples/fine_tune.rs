//! Start from torchvision's weights, train on DeepPCB, and give the result back to Python:
//!
//! ```text
//! cargo run --release --example fine_tune -- fasterrcnn_resnet50_fpn_coco-258fb6c6.pth PCBData
//! ```

use std::path::PathBuf;

use clap::Parser;
use faster_rcnn::data;
use faster_rcnn::train::{Run, RunConfig, Start};
use faster_rcnn::{FasterRcnnConfig, weights};

/// Fine-tune torchvision's detector on printed circuit boards.
#[derive(Parser)]
struct Arguments {
    /// torchvision's `fasterrcnn_resnet50_fpn`, or one of its ResNet-50 classifiers.
    weights: PathBuf,
    /// Folder with DeepPCB's PCBData.
    data: PathBuf,
    /// Folder for checkpoints, numbers and pictures.
    #[arg(long, default_value = "runs/fine_tune")]
    output: PathBuf,
}

fn main() -> anyhow::Result<()> {
    faster_rcnn::keep_heap();
    let Arguments { weights, data, output } = Arguments::parse();
    // The classes are those of the data set. The last layers start from random values if the file has others.
    let config = RunConfig::new(FasterRcnnConfig::resnet50_fpn(0));
    let split = data::open(data)?.sides(config.train.seed);
    let run = Run::new(config, split).start(Start::weights(weights)).prepare(&output)?;
    if let Some(report) = run.load_report() {
        println!("{report}"); // what became of each tensor of the file
    }
    let outcome = run.fit()?;
    println!("{}", outcome.evaluation);

    // model.load_state_dict(safetensors.torch.load_file("for_python.safetensors"))
    let path = output.join("for_python.safetensors");
    weights::save(&outcome.model, &path)?;
    println!("for Python: {}", path.display());
    Ok(())
}
