//! The command and the options of the feature `workers`, in a program that was built without it. They are
//! parsed here, so that the error is not `unknown` but says which feature is missing.

use std::ffi::OsString;

use anyhow::{Result, bail};

const MESSAGE: &str = "needs the Cargo feature `workers`, which this program was built without";

/// Options of `train`.
#[derive(clap::Args)]
#[allow(dead_code, reason = "no value is accepted")]
pub struct WorkersOptions {
    #[arg(long, hide = true, value_parser = refuse)]
    workers: Option<String>,
    #[arg(long, hide = true, value_parser = refuse)]
    token_file: Option<String>,
}

/// `faster-rcnn worker` with any options.
#[derive(clap::Args)]
#[command(hide = true, disable_help_flag = true)]
pub struct Worker {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _arguments: Vec<OsString>,
}

fn refuse(_: &str) -> Result<String, &'static str> {
    Err(MESSAGE)
}

pub fn run(_: Worker) -> Result<()> {
    bail!("`worker` {MESSAGE}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    enum Program {
        Train(WorkersOptions),
        Worker(Worker),
    }

    #[test]
    fn an_option_of_a_missing_feature_ends_with_its_name() {
        for arguments in [["train", "--workers", "local:2"], ["train", "--token-file", "token"]] {
            let error = Program::try_parse_from(["faster-rcnn"].iter().chain(&arguments)).err().unwrap();
            assert!(error.to_string().contains("feature `workers`"), "{error}");
        }
        for arguments in
            [vec!["worker"], vec!["worker", "--listen", "0.0.0.0:3000"], vec!["worker", "--help"]]
        {
            let Ok(Program::Worker(worker)) =
                Program::try_parse_from(["faster-rcnn"].iter().chain(&arguments))
            else {
                panic!("{arguments:?} is refused before its feature can be named");
            };
            assert!(run(worker).unwrap_err().to_string().contains("feature `workers`"));
        }
        assert!(Program::try_parse_from(["faster-rcnn", "train"]).is_ok());
    }
}
