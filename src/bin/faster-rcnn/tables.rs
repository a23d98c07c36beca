//! `faster-rcnn tables`

use std::path::PathBuf;

use anyhow::Result;
use faster_rcnn::data::write_tables;

use crate::data::DataArguments;
use crate::{output, progress};

const EXAMPLES: &str = "\
The folder afterwards has four Parquet tables:

  LABELS_TRAIN          a row for each object: filename, xmin, ymin, xmax, ymax, class
  train_images_labels   a row for each image, with its bytes and all of its objects
  training_data         the rows of train_images_labels to train on
  test_data             its rows that are held out

`train --data TABLES` takes training_data and test_data, and gives the same losses as from the files.
The other two are for people and databases. An image is held out where the data set says so, or else one of
ten, chosen by the seed. pandas, DuckDB and Hugging Face's datasets read the tables.

Examples:

  faster-rcnn tables --data PCBData --output tables
  faster-rcnn train --config configs/deep_pcb.toml --data tables --output runs/tables";

/// Put a data set into four Parquet tables: all objects, all images, those to train on, those held out.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    data: DataArguments,
    /// Folder for the tables: a new one, or an empty one, which is replaced.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Chooses the images that are held out, where the data set does not say which.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
}

pub fn run(Arguments { data, output, seed }: Arguments) -> Result<()> {
    let split = data.open()?.sides(seed);
    let (training, held_out) = (split.train.records.len(), split.validation.records.len());
    let spinner = progress::spinner("writing tables");
    write_tables(split, &output)?;
    spinner.finish_and_clear();
    let output = output.display();
    output::print(format!("{output}: {training} images to train on, {held_out} held out\n"))
}
