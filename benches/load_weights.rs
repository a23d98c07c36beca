//! How long a detector's weight file takes to load, and how much memory:
//!
//! ```text
//! load_weights FILE
//! ```
//!
//! prints `{"seconds": S, "extra_bytes": N, "model_bytes": N}`: the peak of resident memory above that before
//! loading, and the size of the weights. Linux only.

use std::path::PathBuf;
use std::time::Instant;
use std::{env, fs};

use anyhow::{Context, Result};
use burn::module::Module;
use burn::tensor::Device;
use faster_rcnn::weights;
use serde_json::json;

fn main() -> Result<()> {
    let path: PathBuf = env::args_os().nth(1).context("usage: load_weights FILE")?.into();
    let before = status_bytes("VmRSS:")?;
    let start = Instant::now();
    let model = weights::load(&path, &Device::flex())?;
    let seconds = start.elapsed().as_secs_f64();
    let extra_bytes = status_bytes("VmHWM:")? - before;
    let model_bytes = 4 * model.num_params();
    println!("{}", json!({ "seconds": seconds, "extra_bytes": extra_bytes, "model_bytes": model_bytes }));
    Ok(())
}

/// A line of what Linux tells of the memory of this process.
fn status_bytes(key: &str) -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)).context("no such line")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes * 1024)
}
