//! `faster-rcnn synth`

use std::path::PathBuf;

use anyhow::Result;
use faster_rcnn::data::{SyntheticConfig, write_synthetic};

use crate::{output, progress};

const EXAMPLES: &str = "\
The folder afterwards has DeepPCB's layout: trainval.txt and test.txt (one board in ten) list the images and
their label files, one defect a line: `x1 y1 x2 y2 class`, in pixels; the classes are 1 open, 2 short,
3 mousebite, 4 spur, 5 copper, 6 pin-hole. Beside each board is its reference, the same board without
defects: NAME_temp.jpg for NAME_test.jpg, slightly shifted and with noise, as another photograph has it. Same
seed and size, same bytes.

Until all is written, it lies in a hidden folder beside the output; where the program is killed, that stays.

Examples:

  faster-rcnn synth --output boards --images 200 --seed 1
  faster-rcnn synth --output small --images 50 --seed 2 --size 320";

/// Make circuit boards with labelled defects, to train on without a download.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Folder for the data set: a new one, or an empty one, which is replaced.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// How many boards.
    #[arg(long, value_name = "N")]
    images: usize,
    /// Other seeds give other boards.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Height and width in pixels, 128 to 1024.
    #[arg(long, value_name = "PIXELS", default_value_t = 640)]
    size: usize,
}

pub fn run(Arguments { output, images, seed, size }: Arguments) -> Result<()> {
    let spinner = progress::spinner("drawing boards");
    write_synthetic(&output, images, &SyntheticConfig { size, seed })?;
    spinner.finish_and_clear();
    output::print(format!("{}: {images} boards of {size} x {size} pixels\n", output.display()))
}
