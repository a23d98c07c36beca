//! `faster-rcnn check`

use anyhow::{Result, bail};
use faster_rcnn::Error;
use faster_rcnn::data::check_images;
use serde::Serialize;

use crate::data::DataArguments;
use crate::output;
use crate::progress;
use crate::sides::SideArguments;

const EXAMPLES: &str = "\
Every image is decoded and every label is read. Each fault is a line on standard output, with file and line:

  boards/group00000/00000_not/00000030.txt:2: class `7` is not one of 1..=6

Lines that begin with `warning:` name things that can be read, but are probably mistakes: a board that is
listed twice, or both for training and for validation; equal image files, and pictures that are almost the
same; groups of images that are trained on and held out, such as boards of one plate; equal label lines; boxes
thinner than a pixel; files left out. Where images are held out, it is said if the same picture, or almost the
same, is trained on. --split and --group-by check another split, and other groups, than the data set has.

The exit status is 1 if there is a fault.

Examples:

  faster-rcnn check --data PCBData
  faster-rcnn check --data PCBData --split splits/plates";

/// List every fault of a data set: malformed labels, images that do not decode, and what is doubtful.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    data: DataArguments,
    #[command(flatten)]
    sides: SideArguments,
    /// Print JSON: the lists `faults` and `warnings`.
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Found {
    faults: Vec<String>,
    warnings: Vec<String>,
}

pub fn run(Arguments { data, sides, json }: Arguments) -> Result<()> {
    let (records, mut report) = data.read()?;
    let records = sides.apply(records)?;
    let bar = progress::bar(records.records.len(), "images");
    let checked = check_images(&records, &mut report, || bar.inc(1));
    bar.finish_and_clear();
    checked?;
    let data = data.data;
    report.finish(&data);
    let text = |errors: Vec<Error>| errors.iter().map(|error| format!("{error:#}")).collect();
    let found = Found { faults: text(report.faults), warnings: text(report.warnings) };
    if json {
        output::print(output::to_json(&found))?;
        return match found.faults.len() {
            0 => Ok(()),
            count => bail!("{}: {}", data.display(), counted(count, "fault")),
        };
    }
    let Found { faults, warnings } = found;
    let faulty = faults.iter().map(|fault| format!("{fault}\n"));
    let doubtful = warnings.iter().map(|warning| format!("warning: {warning}\n"));
    output::print(faulty.chain(doubtful).collect::<String>())?;
    let warned = match warnings.len() {
        0 => String::new(),
        count => format!(", {}", counted(count, "warning")),
    };
    match faults.len() {
        0 => output::print(format!("{}: no faults{warned}\n", data.display())),
        count => bail!("{}: {}{warned}", data.display(), counted(count, "fault")),
    }
}

fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}
