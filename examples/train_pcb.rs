//! Trains a detector of defects on printed circuit boards, says how good it is and draws what it finds.
//!
//! ```text
//! cargo run --release --example train_pcb                    # boards of its own: minutes on two cores
//! cargo run --release --example train_pcb -- --data PCBData  # DeepPCB, with configs/deep_pcb.toml
//! ```

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Parser;
use faster_rcnn::data::deep_pcb::CLASS_NAMES;
use faster_rcnn::data::{self, SyntheticConfig, write_synthetic};
use faster_rcnn::train::{Run, RunConfig, Schedule, Start, TrainConfig};
use faster_rcnn::{AnchorConfig, FasterRcnnConfig, NormKind, ReferenceInput, ResNetDepth};

/// Boards that the quickstart makes, and their side in pixels.
const BOARDS: usize = 1000;
const SIZE: usize = 160;

/// Train Faster R-CNN on printed circuit boards.
#[derive(Parser)]
struct Arguments {
    /// Folder with DeepPCB's PCBData; without it, boards are made.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Settings of the run; with --data, configs/deep_pcb.toml unless told otherwise.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Weights to start from, such as torchvision's; random ones without.
    #[arg(long, conflicts_with = "resume")]
    weights: Option<PathBuf>,
    /// Folder for checkpoints, numbers and pictures.
    #[arg(long, default_value = "runs/train_pcb")]
    output: PathBuf,
    /// Go on with the run in the output folder.
    #[arg(long)]
    resume: bool,
    /// Single settings, such as train.epochs=3.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Small enough for two cores and a few minutes. The detector sees each board beside one without defects, and
/// has anchors for defects of 16 pixels and more.
fn quickstart() -> RunConfig {
    let anchors = AnchorConfig { sizes: [16.0, 32.0, 64.0, 128.0, 256.0], ..AnchorConfig::default() };
    let mut model = FasterRcnnConfig::new(ResNetDepth::ResNet18, 7)
        .with_class_names(&CLASS_NAMES)
        .with_reference(ReferenceInput::Difference)
        .with_anchors(anchors)
        .with_image_size(SIZE, SIZE);
    model.fpn_channels = 96;
    model.roi_heads.representation_size = 256;
    model.roi_heads.batch_size_per_image = 64;
    let train = TrainConfig {
        epochs: 7,
        batch_size: 8,
        learning_rate: 0.02,
        schedule: Schedule::Cosine,
        warmup_steps: 50,
        clip_norm: Some(10.0),
        ema_decay: Some(0.99),
        ..TrainConfig::default()
    };
    RunConfig { train, ..RunConfig::new(model) }
}

fn main() -> anyhow::Result<()> {
    faster_rcnn::keep_heap();
    let arguments = Arguments::parse();
    let mut config = match (&arguments.config, &arguments.data) {
        (Some(path), _) => RunConfig::load(path, &arguments.set)?,
        _ if arguments.resume => RunConfig::load(arguments.output.join("config.toml"), &arguments.set)?,
        (None, Some(_)) => RunConfig::load("configs/deep_pcb.toml", &arguments.set)?,
        (None, None) if arguments.set.is_empty() => quickstart(),
        (None, None) => bail!("--set goes with --config or --data"),
    };
    if arguments.weights.is_none() && config.model.norm == NormKind::FrozenBatch && !arguments.resume {
        // A frozen norm is for weights that were trained with it; group norm suits small batches.
        config.model = config.model.with_norm(NormKind::Group).with_trainable_layers(5);
    }
    let seed = config.train.seed;
    let data = match &arguments.data {
        Some(folder) => data::open(folder)?.sides(seed),
        None => {
            let folder = arguments.output.join("boards");
            if !folder.join("trainval.txt").exists() {
                println!("making {BOARDS} boards in {}", folder.display());
                write_synthetic(&folder, BOARDS, &SyntheticConfig { size: SIZE, seed })?;
            }
            data::open(&folder)?.sides(seed)
        }
    };
    let (training, held_out) = (data.train.records.len(), data.validation.records.len());
    println!("{training} images to train on, {held_out} held out");

    let start = match &arguments.weights {
        _ if arguments.resume => Start::Resume,
        None => Start::Random,
        Some(path) => Start::weights(path),
    };
    let run = Run::new(config, data).start(start).prepare(&arguments.output)?;
    if let Some(report) = run.load_report() {
        println!("{report}");
    }
    let outcome = run.fit()?;

    println!("{}\nbest weights: {}", outcome.evaluation, outcome.best);
    println!("pictures and weights are in {}", arguments.output.display());
    let ap50 = outcome.evaluation.coco.overall.ap50.context("the images held out have no defects")?;
    let map33 = outcome.evaluation.deep_pcb.map.context("the images held out have no defects")?;
    println!("ap50={ap50:.4} map33={map33:.4} seconds={:.1}", outcome.seconds);
    Ok(())
}
