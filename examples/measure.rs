//! The Rust side of `benches/compare_torchvision.py`, which says what work this is:
//!
//! ```text
//! measure inference|train --batch N --size S --iterations K
//! ```
//!
//! The last line of standard output is `{"seconds": [one an iteration], "cpu_seconds": [the same, of all
//! threads], "peak_rss_bytes": N, "outcome": [...]}`, where the outcome is, for the other side to agree
//! with, the four losses of the first iteration, or the number of detections and the sum of their scores.

#[path = "../benches/work/mod.rs"]
mod work;

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use serde_json::json;
use work::{Inference, Training};

#[derive(Parser)]
struct Arguments {
    mode: Mode,
    #[arg(long)]
    batch: usize,
    #[arg(long)]
    size: usize,
    #[arg(long)]
    iterations: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    Inference,
    Train,
}

fn main() -> Result<()> {
    let Arguments { mode, batch, size, iterations } = Arguments::parse();
    let mut round: Box<dyn FnMut() -> Vec<f64>> = match mode {
        Mode::Inference => {
            let work = Inference::new(batch, size);
            Box::new(move || work.round())
        }
        Mode::Train => {
            let mut work = Training::new(batch, size);
            Box::new(move || work.round())
        }
    };

    let outcome = round(); // and the warm-up
    let (mut seconds, mut cpu_seconds) = (Vec::new(), Vec::new());
    for _ in 0..iterations {
        let (start, cpu_start) = (Instant::now(), cpu_time()?);
        round();
        seconds.push(start.elapsed().as_secs_f64());
        cpu_seconds.push((cpu_time()? - cpu_start).as_secs_f64());
    }
    let result = json!({
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_rss_bytes": peak_rss_bytes()?,
        "outcome": outcome,
    });
    println!("{result}");
    Ok(())
}

/// What the threads of this process have computed so far, as Linux counts it.
fn cpu_time() -> Result<Duration> {
    let mut nanoseconds = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let statistics = fs::read_to_string(task?.path().join("schedstat"))?;
        let running = statistics.split(' ').next().context("an empty schedstat")?;
        nanoseconds += running.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// The most memory this process ever had resident, as Linux counts it.
fn peak_rss_bytes() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes * 1024)
}
