//! `faster-rcnn check`

use std::path::PathBuf;

use anyhow::{Result, bail};
use faster_rcnn::data::deep_pcb;

use crate::output;

const EXAMPLES: &str = "\
Every image is decoded and every label is read. Each fault is a line on standard output, with file and line:

  boards/group00000/00000_not/00000003.txt:2: class `7` is not one of 1..=6

The exit status is 1 if there is any.

Example:

  faster-rcnn check --data PCBData";

/// List every fault of a data set: malformed labels, images that are missing or do not decode.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// DeepPCB's PCBData, or a folder of its layout.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

pub fn run(Arguments { data }: Arguments) -> Result<()> {
    let faults = deep_pcb::check(&data)?;
    let lines: String = faults.iter().map(|fault| format!("{fault:#}\n")).collect();
    output::print(lines)?;
    match faults.len() {
        0 => output::print(format!("{}: no faults\n", data.display())),
        1 => bail!("{}: 1 fault", data.display()),
        count => bail!("{}: {count} faults", data.display()),
    }
}
