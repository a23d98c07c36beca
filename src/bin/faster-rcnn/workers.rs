//! The workers that `faster-rcnn train` trains on, and what happens when one is lost.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, ensure};
use faster_rcnn::Error;
use faster_rcnn::train::Team;
use faster_rcnn::workers::{Address, LocalWorkers, connect};

use crate::output;

/// Options of `train` for workers.
#[derive(clap::Args)]
pub struct WorkersArguments {
    /// Workers to train on together: ws://HOST:PORT or iroh://ID@ADDRESS:PORT of each, or local:N for N
    /// processes on this machine, which are started and ended.
    #[arg(long, value_name = "ADDRESSES", conflicts_with = "device")]
    workers: Option<Workers>,
    /// File with the token that the workers ask for.
    #[arg(long, value_name = "FILE", requires = "workers")]
    token_file: Option<PathBuf>,
    /// How often a lost worker may interrupt the run: it goes on from its last checkpoint by itself, when the
    /// worker answers again or a spare one has its place. Workers of local:N are started anew.
    #[arg(long, value_name = "N", requires = "workers", default_value_t = 0)]
    pub restarts: u32,
    /// Seconds to wait for a lost worker.
    #[arg(long, value_name = "SECONDS", requires = "restarts", default_value = "600", value_parser = seconds)]
    pub rejoin_timeout: Duration,
    /// Workers that take the places of lost ones.
    #[arg(long, value_name = "ADDRESSES", requires = "restarts", value_delimiter = ',')]
    pub spare: Vec<Address>,
    /// How often this run was interrupted. The program gives this to itself.
    #[arg(long, hide = true, default_value_t = 0)]
    pub interrupted: u32,
    /// The workers that are left of those of `workers` and `spare`. The program gives this to itself.
    #[arg(long, hide = true, value_delimiter = ',')]
    pub left: Vec<Address>,
}

/// What `--workers` names.
#[derive(Clone)]
enum Workers {
    Local(usize),
    At(Vec<Address>),
}

impl FromStr for Workers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("local:").map(str::parse) {
            Some(Ok(count)) if count > 0 => Ok(Self::Local(count)),
            Some(_) => Err("local:N takes a number of processes".to_string()),
            None => {
                let addresses = text.split(',').map(str::parse).collect::<Result<_, Error>>();
                addresses.map(Self::At).map_err(|error| error.to_string())
            }
        }
    }
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or("expected a number of seconds")
}

impl WorkersArguments {
    /// The workers as a team, if there are some. Those of this machine end when the second value is dropped.
    pub fn team(&self) -> Result<Option<(Team, Option<LocalWorkers>)>> {
        let token = self.token_file.as_deref().map(crate::worker::token).transpose()?;
        match &self.workers {
            None => Ok(None),
            Some(Workers::Local(count)) => {
                output::log_panics();
                ensure!(self.spare.is_empty(), "--spare is for workers at addresses, not for local:{count}");
                let local = LocalWorkers::start(&std::env::current_exe()?, *count)?;
                Ok(Some((connect(local.addresses(), Some(local.token()))?, Some(local))))
            }
            Some(Workers::At(_)) => {
                output::log_panics();
                Ok(Some((connect(&self.addresses(), token.as_deref())?, None)))
            }
        }
    }

    /// Where the workers of this attempt are; none where they are processes of this one.
    pub fn addresses(&self) -> Vec<Address> {
        match &self.workers {
            Some(Workers::At(addresses)) if self.left.is_empty() => addresses.clone(),
            Some(Workers::At(_)) => self.left.clone(),
            _ => Vec::new(),
        }
    }

    /// All others that may take the place of one: spare ones, and lost ones that may have come back.
    pub fn others(&self) -> Vec<Address> {
        let given = match &self.workers {
            Some(Workers::At(addresses)) => addresses.as_slice(),
            _ => &[],
        };
        let at_work = self.addresses();
        self.spare.iter().chain(given).filter(|address| !at_work.contains(address)).cloned().collect()
    }
}
