//! `faster-rcnn records`

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use faster_rcnn::Error;
use faster_rcnn::records::{ExportFormat, Filter, Keep, VerdictState, moment};
use serde::Deserialize;
use serde::de::value::{Error as ValueError, StrDeserializer};

use crate::database::RecordsArguments;
use crate::output;

const EXAMPLES: &str = "\
Examples:

  faster-rcnn records export --database sqlite:boards.db --to csv boards.csv
  faster-rcnn records export --database sqlite:boards.db --to coco verdicts --from 2026-11-01 --line 3
  faster-rcnn train --config configs/deep_pcb.toml --data verdicts --output runs/verdicts
  faster-rcnn records keep --database postgres://user:password@host/boards --images images 90d,500GB";

/// Take records out of a database, or remove old ones.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Export(ExportArguments),
    Keep(KeepArguments),
}

/// Write inspections as a table, or those with a verdict as a COCO data set to train on. The file or folder
/// is written whole or not at all.
#[derive(clap::Args)]
struct ExportArguments {
    #[command(flatten)]
    records: RecordsArguments,
    /// The form: parquet, csv, coco (a folder with annotations.json and images) or coco-zip.
    #[arg(long, value_name = "FORM")]
    to: ExportFormat,
    /// Only inspections at this time or later: a day such as 2026-11-26, which begins at 0:00 UTC, or a time
    /// such as 2026-11-26T10:30:00Z.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only inspections before this time.
    #[arg(long, value_name = "TIME")]
    before: Option<String>,
    /// Only inspections of this line.
    #[arg(long)]
    line: Option<String>,
    /// Only inspections of this product.
    #[arg(long)]
    product: Option<String>,
    /// Only inspections with an object of this class: its name or its label.
    #[arg(long)]
    class: Option<String>,
    /// Only inspections by this model: NAME, NAME/VERSION, or the SHA-256 of the weights.
    #[arg(long)]
    model: Option<String>,
    /// Only inspections with a verdict (given) or without (pending).
    #[arg(long, value_parser = verdict_state)]
    verdict: Option<VerdictState>,
    /// What is written: a file, or for coco a new or empty folder.
    output: PathBuf,
}

/// Remove the oldest inspections, and images that no inspection refers to. Others may use the database
/// meanwhile.
#[derive(clap::Args)]
struct KeepArguments {
    #[command(flatten)]
    records: RecordsArguments,
    /// What stays: days such as 30d, bytes of images such as 50GB, or both as 30d,50GB.
    limit: Keep,
}

pub fn run(Arguments { command }: Arguments) -> Result<()> {
    match command {
        Command::Export(arguments) => export(arguments),
        Command::Keep(arguments) => keep(&arguments),
    }
}

fn export(arguments: ExportArguments) -> Result<()> {
    let ExportArguments { records, to, output, .. } = &arguments;
    let time = |text: &Option<String>| text.as_deref().map(moment).transpose();
    let filter = Filter {
        from: time(&arguments.from)?,
        to: time(&arguments.before)?,
        class: arguments.class.clone(),
        line: arguments.line.clone(),
        product: arguments.product.clone(),
        board: None,
        verdict: arguments.verdict,
        model: arguments.model.clone(),
    };
    let count = records.open()?.run(async |records| records.export(&filter, *to, output).await)?;
    output::print(format!("{}: {count} inspections\n", output.display()))
}

fn keep(KeepArguments { records, limit }: &KeepArguments) -> Result<()> {
    let removed = records.open()?.run(async |records| records.keep(*limit).await)?;
    output::print(output::to_json(&removed))
}

fn verdict_state(text: &str) -> Result<VerdictState, Error> {
    VerdictState::deserialize(StrDeserializer::<ValueError>::new(text))
        .map_err(|_| Error::Config("expected given or pending".to_string()))
}
