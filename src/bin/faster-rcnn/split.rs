//! `faster-rcnn split`

use std::path::PathBuf;

use anyhow::{Result, bail};
use faster_rcnn::data::Side;

use crate::data::DataArguments;
use crate::{output, sides};

const EXAMPLES: &str = "\
Images of one group, such as photographs of one board, are never on two sides: figures would be too good. The
data set says what its groups are, or --group-by does. Without groups each image is on its own. Each side gets
its share of the images and of each class's boxes, as far as groups allow; same seed, same split.

The folder afterwards has train.txt, val.txt and, with --test, test.txt, each with the name of an image a
line. `train --split` and `evaluate --split` read them, so that evaluation knows what training held out.

All images are divided anew, whatever the data set itself says they are for.

Examples:

  faster-rcnn split --data PCBData --output splits/plates
  faster-rcnn train --config configs/deep_pcb.toml --data PCBData --split splits/plates --output runs/plates
  faster-rcnn evaluate --weights runs/plates/checkpoints/best.safetensors --data PCBData --split splits/plates

  faster-rcnn split --data boards --held-out 0.15 --test 0.15 --group-by '^([^/]+)/' --output splits/folders";

/// Divide a data set into images to train on, to validate on and to test with, and keep that in files.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    data: DataArguments,
    /// Part of the images to validate on.
    #[arg(long, value_name = "PART", default_value_t = 0.1, value_parser = part)]
    held_out: f64,
    /// Part of the images for the final test.
    #[arg(long, value_name = "PART", default_value_t = 0.0, value_parser = part)]
    test: f64,
    /// Regular expression on the names of images: those with the same match of its first parenthesis (or,
    /// without one, of the whole) belong together [default: the groups that the data set has].
    #[arg(long, value_name = "REGEX")]
    group_by: Option<String>,
    /// Other seeds give other splits.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Folder for the lists: a new one, or an empty one.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
}

fn part(text: &str) -> Result<f64, &'static str> {
    match text.parse() {
        Ok(number) if (0.0..1.0).contains(&number) => Ok(number),
        _ => Err("expected a part, from 0 to below 1"),
    }
}

pub fn run(arguments: Arguments) -> Result<()> {
    let Arguments { held_out, test, seed, output: folder, .. } = &arguments;
    if held_out + test >= 1.0 {
        bail!("--held-out {held_out} and --test {test} leave nothing to train on");
    }
    let mut data = arguments.data.open()?;
    if let Some(pattern) = &arguments.group_by {
        sides::group(&mut data, pattern)?;
    }
    sides::warn_of_one_group(&data);
    let data = data.divide(*held_out, *test, *seed);
    data.write_sides(folder)?;
    let count = |side| data.records.iter().filter(|record| record.side == Some(side)).count();
    let (train, validation) = (count(Side::Train), count(Side::Validation));
    let test = if *test > 0.0 { format!(", {} to test with", count(Side::Test)) } else { String::new() };
    let folder = folder.display();
    output::print(format!("{folder}: {train} images to train on, {validation} to validate on{test}\n"))
}
