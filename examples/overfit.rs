//! Can the whole detector learn? ResNet-50-FPN from random weights on a few windows of real images, until it
//! knows them by heart.
//!
//! ```text
//! cargo run --release --example overfit -- --data PCBData
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Parser;
use faster_rcnn::FasterRcnnConfig;
use faster_rcnn::NormKind;
use faster_rcnn::data::deep_pcb::CLASS_NAMES;
use faster_rcnn::data::{self, AugmentConfig, Dataset, Record, Split};
use faster_rcnn::structures::{Annotation, Xyxy};
use faster_rcnn::train::{Run, RunConfig, Schedule, Start, TrainConfig};
use image::imageops::crop_imm;

/// Learn a few windows of real images by heart.
#[derive(Parser)]
struct Arguments {
    /// Folder with DeepPCB's PCBData.
    #[arg(long)]
    data: PathBuf,
    /// Images, spread over the data set.
    #[arg(long, default_value_t = 16)]
    images: usize,
    /// Side of the window of each image, in pixels.
    #[arg(long, default_value_t = 320)]
    size: usize,
    /// Passes over the windows.
    #[arg(long, default_value_t = 60)]
    epochs: usize,
    /// Folder for checkpoints, numbers and pictures.
    #[arg(long, default_value = "runs/overfit")]
    output: PathBuf,
    /// Go on with the run in the output folder.
    #[arg(long)]
    resume: bool,
}

/// The window of `size` pixels with the most whole objects and no part of another, as a new image.
fn window(record: &Record, size: usize, folder: &Path) -> anyhow::Result<Record> {
    let size_f = size as f32;
    let inside = |[left, top]: [f32; 2]| {
        let mut whole = Vec::new();
        let mut cut = 0;
        for object in &record.annotations {
            let [x1, y1, x2, y2] = object.xyxy;
            let xyxy: Xyxy = [x1 - left, y1 - top, x2 - left, y2 - top];
            match xyxy {
                [x1, y1, x2, y2] if x1 >= 0.0 && y1 >= 0.0 && x2 <= size_f && y2 <= size_f => {
                    whole.push(Annotation { xyxy, ..*object });
                }
                [x1, y1, x2, y2] if x2 > 0.0 && y2 > 0.0 && x1 < size_f && y1 < size_f => cut += 1,
                _ => {}
            }
        }
        (whole, cut)
    };
    let steps = |side: usize| (0..=side.saturating_sub(size)).step_by(16);
    let places = steps(record.size.0).flat_map(|top| steps(record.size.1).map(move |left| [left, top]));
    let best = places.max_by_key(|place| {
        let (whole, cut) = inside(place.map(|side| side as f32));
        (-cut, whole.len())
    });
    let [left, top] = best.context("an image has a window")?;
    let pixels = record.load()?;
    let path = folder.join(record.file_name()).with_extension("png");
    crop_imm(&pixels, left as u32, top as u32, size as u32, size as u32).to_image().save(&path)?;
    let annotations = inside([left as f32, top as f32]).0;
    Ok(Record::new(path, (size, size), annotations))
}

fn main() -> anyhow::Result<()> {
    faster_rcnn::keep_heap();
    let arguments = Arguments::parse();
    let all = data::open(&arguments.data)?.sides(0).train;
    let folder = arguments.output.join("windows");
    fs::create_dir_all(&folder)?;
    let step = (all.records.len() / arguments.images.max(1)).max(1);
    let chosen = all.records.iter().step_by(step).take(arguments.images);
    let records =
        chosen.map(|record| window(record, arguments.size, &folder)).collect::<Result<Vec<_>, _>>()?;
    let data = Dataset { records, ..all };

    let model = FasterRcnnConfig::resnet50_fpn(7)
        .with_class_names(&CLASS_NAMES)
        .with_norm(NormKind::Group)
        .with_trainable_layers(5)
        .with_image_size(arguments.size, arguments.size);
    let train = TrainConfig {
        epochs: arguments.epochs,
        learning_rate: 0.02,
        schedule: Schedule::Cosine,
        warmup_steps: 100,
        clip_norm: Some(10.0),
        ..TrainConfig::default()
    };
    let config = RunConfig { train, augment: AugmentConfig::none(), ..RunConfig::new(model) };
    let start = if arguments.resume { Start::Resume } else { Start::Random };
    // What it knows by heart is what it is asked.
    let data = Split { train: data.clone(), validation: data };
    let outcome = Run::new(config, data).start(start).fit(&arguments.output)?;
    println!("{}", outcome.evaluation);
    let map33 = outcome.evaluation.deep_pcb.map.context("the windows have no defects")?;
    println!("map33={map33:.4} seconds={:.1}", outcome.seconds);
    Ok(())
}
