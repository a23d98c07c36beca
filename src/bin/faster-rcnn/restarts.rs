//! A run that lost a worker goes on by itself.
//!
//! The program starts itself again in place of this process, with `--interrupted` and `--left` behind its
//! arguments. So nothing is left of the interrupted run: neither threads that wait for the lost worker, nor
//! connections, nor memory. And what goes on is what `--resume` would go on with.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use faster_rcnn::Error;
use faster_rcnn::train::RunInfo;
use faster_rcnn::workers::{Address, answers};

use crate::output;
use crate::workers::WorkersArguments;

/// Pause between two questions whether a worker is there.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether there is a checkpoint for an interrupted run to go on from.
pub fn goes_on(arguments: &WorkersArguments, folder: &Path) -> bool {
    arguments.interrupted > 0 && last(folder).exists()
}

fn last(folder: &Path) -> std::path::PathBuf {
    folder.join("checkpoints/last.safetensors")
}

/// Starts the program again where a worker is lost, as often as the arguments allow. Returns only where it
/// does not: with the error that ended the run, or the one that kept it from going on. `began` says whether
/// the workers had been connected.
pub fn after(
    error: anyhow::Error,
    began: bool,
    arguments: &WorkersArguments,
    folder: &Path,
) -> anyhow::Error {
    let is_loss = matches!(error.downcast_ref(), Some(Error::Worker { .. }));
    let may_restart = arguments.interrupted < arguments.restarts && (began || arguments.interrupted > 0);
    if !is_loss || !may_restart {
        return error;
    }
    tell(&format!("{error:#}"));
    let mut workers = arguments.addresses();
    if let Err(error) = wait(&mut workers, arguments.others(), arguments.rejoin_timeout) {
        return error;
    }
    let (number, most) = (arguments.interrupted + 1, arguments.restarts);
    tell(&format!("restart {number} of {most}: {}", where_it_goes_on(folder)));
    match again(number, &workers) {
        Ok(never) => match never {},
        Err(error) => error.context("the program cannot be started again"),
    }
}

/// A line on standard error.
fn tell(message: &str) {
    eprintln!("{}", output::one_line(message));
}

fn where_it_goes_on(folder: &Path) -> String {
    match RunInfo::read(last(folder)) {
        Ok(Some(RunInfo { epoch, batches: 0, .. })) => format!("the run goes on after epoch {epoch}"),
        Ok(Some(RunInfo { epoch, batches, .. })) => {
            format!("the run goes on after {batches} batches of epoch {}", epoch + 1)
        }
        _ => "the run begins anew, because it has no checkpoint yet".to_string(),
    }
}

/// Waits until all workers answer, or others have the places of those that do not.
fn wait(workers: &mut [Address], mut others: Vec<Address>, timeout: Duration) -> Result<()> {
    let (start, mut missed) = (Instant::now(), Vec::<Address>::new());
    loop {
        let mut silent = None;
        for worker in workers.iter_mut() {
            let Err(error) = answers(worker) else {
                if missed.contains(worker) {
                    tell(&format!("worker {worker} answers again"));
                    missed.retain(|other| other != worker);
                }
                continue;
            };
            if let Some(index) = others.iter().position(|other| answers(other).is_ok()) {
                tell(&format!("worker {} takes the place of {worker}", others[index]));
                std::mem::swap(worker, &mut others[index]);
                continue;
            }
            if !missed.contains(worker) {
                tell(&format!("waiting up to {} s for worker {worker}", timeout.as_secs_f64()));
                missed.push(worker.clone());
            }
            silent = Some(error);
        }
        match silent {
            None => return Ok(()),
            Some(error) if start.elapsed() >= timeout => {
                let seconds = timeout.as_secs_f64();
                return Err(anyhow!(error).context(format!("a worker did not come back within {seconds} s")));
            }
            Some(_) => thread::sleep(PAUSE.min(timeout)),
        }
    }
}

/// Starts this program in place of this process.
fn again(interrupted: u32, left: &[Address]) -> Result<std::convert::Infallible> {
    let mut arguments: Vec<OsString> = env::args_os().skip(1).collect();
    // Those of an earlier restart.
    if let Some(index) = arguments.iter().position(|argument| argument == "--interrupted") {
        arguments.truncate(index);
    }
    arguments.extend(["--interrupted".into(), interrupted.to_string().into()]);
    if !left.is_empty() {
        let left: Vec<String> = left.iter().map(Address::to_string).collect();
        arguments.extend(["--left".into(), left.join(",").into()]);
    }
    let _ = io::stdout().flush();
    let mut command = Command::new(env::current_exe()?);
    command.args(arguments);
    #[cfg(unix)]
    return Err(std::os::unix::process::CommandExt::exec(&mut command).into());
    #[cfg(not(unix))]
    std::process::exit(command.status()?.code().unwrap_or(1))
}
