//! Your own images and boxes to a trained detector. The boxes come from a table, a line a box:
//!
//! ```text
//! image,x1,y1,x2,y2,class
//! boards/1.png,10,20,42,55,scratch
//! ```
//!
//! ```text
//! cargo run --release --example train_your_data -- boxes.csv
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Parser;
use faster_rcnn::data::{Dataset, Record};
use faster_rcnn::train::{Run, RunConfig};
use faster_rcnn::{Annotation, FasterRcnnConfig, NormKind, ResNetDepth};

/// Train a detector on a table of boxes.
#[derive(Parser)]
struct Arguments {
    /// Table of boxes, as CSV.
    table: PathBuf,
    /// Folder for checkpoints, numbers and pictures.
    #[arg(long, default_value = "runs/your_data")]
    output: PathBuf,
    /// Passes over the images.
    #[arg(long, default_value_t = 12)]
    epochs: usize,
}

fn main() -> anyhow::Result<()> {
    faster_rcnn::keep_heap();
    let Arguments { table, output, epochs } = Arguments::parse();
    let mut boxes = BTreeMap::<PathBuf, Vec<Annotation>>::new();
    let mut class_names: Vec<String> = Vec::new();
    for (number, line) in fs::read_to_string(&table)?.lines().enumerate().skip(1) {
        let place = || format!("{}:{}: `{line}`", table.display(), number + 1);
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        ensure!(fields.len() == 6, "{}: expected image,x1,y1,x2,y2,class", place());
        let mut xyxy = [0.0; 4];
        for (side, field) in xyxy.iter_mut().zip(&fields[1..5]) {
            *side = field.parse().with_context(place)?;
        }
        let class = class_names.iter().position(|name| name == fields[5]).unwrap_or_else(|| {
            class_names.push(fields[5].to_string());
            class_names.len() - 1
        });
        // Class 0 is the background.
        boxes.entry(fields[0].into()).or_default().push(Annotation::new(xyxy, class + 1));
    }
    let records = boxes.into_iter().map(|(image, boxes)| Record::from_image(image, boxes));
    let data = Dataset::new(records.collect::<Result<_, _>>()?, class_names);

    // Number and names of the classes come from the data set.
    let model = FasterRcnnConfig::new(ResNetDepth::ResNet18, 0)
        .with_norm(NormKind::Group) // random weights need a norm that learns
        .with_trainable_layers(5);
    let mut config = RunConfig::new(model);
    config.train.epochs = epochs;
    let split = data.split(0.1, config.train.seed);
    let outcome = Run::new(config, split).fit(&output)?;
    println!("{}\nthe run is in {}", outcome.evaluation, output.display());
    Ok(())
}
