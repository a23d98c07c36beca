//! Faster R-CNN from a shell: makes, checks and divides data sets, trains, evaluates, predicts, and
//! knows torchvision's weights.

mod check;
mod completions;
mod convert;
mod data;
#[cfg(feature = "records")]
mod database;
mod default_weights;
mod detector;
mod evaluate;
mod export;
mod inputs;
mod model_text;
mod models;
#[cfg(any(
    test,
    not(feature = "mlflow"),
    not(feature = "records"),
    not(feature = "serve"),
    not(feature = "tables"),
    not(feature = "workers")
))]
mod not_built;
mod output;
mod predict;
mod predictions;
mod progress;
#[cfg(feature = "records")]
mod records;
mod references;
mod registry;
#[cfg(feature = "workers")]
mod restarts;
mod results;
#[cfg(feature = "serve")]
mod serve;
mod settings;
mod shipped;
mod sides;
mod split;
mod stats;
mod synth;
#[cfg(feature = "tables")]
mod tables;
mod train;
#[cfg(feature = "records")]
mod watch;
#[cfg(feature = "records")]
mod watch_folder;
#[cfg(feature = "records")]
mod watch_journal;
mod weights;
#[cfg(feature = "workers")]
mod worker;
#[cfg(feature = "workers")]
mod workers;

use std::env;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

const EXAMPLES: &str = "\
From nothing to detections:

  faster-rcnn synth --output boards --images 200 --seed 1 --size 320
  faster-rcnn check --data boards
  faster-rcnn train --config configs/deep_pcb.toml --data boards --output runs/first \\
      --weights \"$(faster-rcnn weights fetch fasterrcnn_resnet50_fpn)\"
  faster-rcnn evaluate --weights runs/first/checkpoints/best.safetensors --data boards
  faster-rcnn predict --weights runs/first/checkpoints/best.safetensors --draw pictures board.jpg

`faster-rcnn COMMAND --help` has more examples.

Exit status: 0 for success, 1 for failure (one line on standard error says what and where), 2 for wrong
usage.";

/// Find defects on printed circuit boards, or whatever else it is trained on, with Faster R-CNN.
#[derive(Parser)]
#[command(version, after_long_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Tell on standard error what is being done.
    #[arg(short, long, global = true)]
    verbose: bool,
}

#[derive(Subcommand)]
enum Command {
    Train(train::Arguments),
    Evaluate(evaluate::Arguments),
    Predict(predict::Arguments),
    Synth(synth::Arguments),
    Check(check::Arguments),
    Convert(convert::Arguments),
    Split(split::Arguments),
    Stats(stats::Arguments),
    #[cfg(feature = "tables")]
    Tables(tables::Arguments),
    #[cfg(not(feature = "tables"))]
    Tables(not_built::AnyArguments),
    #[cfg(feature = "records")]
    Watch(watch::Arguments),
    #[cfg(not(feature = "records"))]
    Watch(not_built::AnyArguments),
    #[cfg(feature = "records")]
    Records(records::Arguments),
    #[cfg(not(feature = "records"))]
    Records(not_built::AnyArguments),
    Export(export::Arguments),
    Weights(weights::Arguments),
    Models(models::Arguments),
    #[cfg(feature = "workers")]
    Worker(worker::Arguments),
    #[cfg(not(feature = "workers"))]
    Worker(not_built::AnyArguments),
    #[cfg(feature = "serve")]
    Serve(serve::Arguments),
    #[cfg(not(feature = "serve"))]
    Serve(not_built::AnyArguments),
    Completions(completions::Arguments),
}

fn main() -> ExitCode {
    faster_rcnn::keep_heap();
    // When a run resumes, burn puts the state of the optimizer on its default device first, and would start a
    // GPU for that.
    if env::var_os("BURN_DEVICE").is_none() {
        // SAFETY: no other thread runs yet.
        unsafe { env::set_var("BURN_DEVICE", "flex") };
    }
    let Arguments { command, verbose } = Arguments::parse();
    if verbose {
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::INFO);
        log.with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).init();
    }
    let result = match command {
        Command::Train(arguments) => train::run(arguments),
        Command::Evaluate(arguments) => evaluate::run(arguments),
        Command::Predict(arguments) => predict::run(arguments),
        Command::Synth(arguments) => synth::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Convert(arguments) => convert::run(arguments),
        Command::Split(arguments) => split::run(arguments),
        Command::Stats(arguments) => stats::run(arguments),
        #[cfg(feature = "tables")]
        Command::Tables(arguments) => tables::run(arguments),
        #[cfg(not(feature = "tables"))]
        Command::Tables(arguments) => not_built::run("tables", "tables", arguments),
        #[cfg(feature = "records")]
        Command::Watch(arguments) => watch::run(arguments),
        #[cfg(not(feature = "records"))]
        Command::Watch(arguments) => not_built::run("watch", "records", arguments),
        #[cfg(feature = "records")]
        Command::Records(arguments) => records::run(arguments),
        #[cfg(not(feature = "records"))]
        Command::Records(arguments) => not_built::run("records", "records", arguments),
        Command::Export(arguments) => export::run(arguments),
        Command::Weights(arguments) => weights::run(arguments),
        Command::Models(arguments) => models::run(arguments),
        #[cfg(feature = "workers")]
        Command::Worker(arguments) => worker::run(arguments),
        #[cfg(not(feature = "workers"))]
        Command::Worker(arguments) => not_built::run("worker", "workers", arguments),
        #[cfg(feature = "serve")]
        Command::Serve(arguments) => serve::run(arguments),
        #[cfg(not(feature = "serve"))]
        Command::Serve(arguments) => not_built::run("serve", "serve", arguments),
        Command::Completions(arguments) => completions::run(arguments, Arguments::command()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", output::one_line(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}
