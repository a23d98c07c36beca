//! `faster-rcnn convert`

use std::path::PathBuf;

use anyhow::Result;
use faster_rcnn::data::{Format, Transfer};

use crate::data::DataArguments;
use crate::{output, progress};

const EXAMPLES: &str = "\
The formats are coco (instances_*.json), voc (Pascal VOC's XML), yolo (data.yaml), deep-pcb and parquet.
What is for training, for validation and for the test stays so. Names of images and classes stay, whatever
characters they have, and boxes move by less than a thousandth of a pixel. What a format has no place for is
named: crowds in VOC's, YOLO's and DeepPCB's, difficult objects in YOLO's and DeepPCB's.

Until all is written, it lies in a hidden folder beside the output; where the program is killed, that stays.

Examples:

  faster-rcnn convert --data PCBData --to coco --output boards-coco
  faster-rcnn convert --data boards-coco --to yolo --images link --output boards-yolo
  faster-rcnn convert --data PCBData --list PCBData/test.txt --to voc --output test-voc";

/// Write a data set in another format.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    data: DataArguments,
    /// Only the images that this list names, a name a line; of DeepPCB, one of its lists.
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// The format to write.
    #[arg(long, value_name = "FORMAT")]
    to: Format,
    /// Folder for it: a new one, or an empty one, which is replaced.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// What becomes of the images: copy, link or embed [default: copy; embed in parquet].
    #[arg(long, value_name = "HOW")]
    images: Option<Transfer>,
}

pub fn run(arguments: Arguments) -> Result<()> {
    let Arguments { data, list, to, output, images } = arguments;
    let data = match &list {
        Some(list) => data.open_list(list)?,
        None => data.open()?,
    };
    let images = images.unwrap_or(if to == Format::Parquet { Transfer::Embed } else { Transfer::Copy });
    let bar = progress::bar(data.records.len(), "images");
    let warnings = to.write_with(&data, &output, images, &|| bar.inc(1));
    bar.finish_and_clear();
    for warning in warnings? {
        eprintln!("warning: {warning:#}");
    }
    let boxes: usize = data.records.iter().map(|record| record.annotations.len()).sum();
    let (images, classes) = (data.records.len(), data.class_names.len());
    output::print(format!("{}: {images} images, {boxes} boxes, {classes} classes\n", output.display()))
}
