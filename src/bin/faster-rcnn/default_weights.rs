//! The weights that a command takes where none are given.

use std::path::PathBuf;

use anyhow::{Result, bail};
use faster_rcnn::weights::{self, DEEP_PCB_SMALL_REFERENCE};

use crate::progress;

/// Weights for boards beside their references, downloaded if need be; says which.
pub fn find(has_references: bool) -> Result<PathBuf> {
    if !has_references {
        bail!(
            "give --weights, or --reference or --reference-dir: the weights that come with this program compare \
             a board with a good one"
        );
    }
    let path = weights::find(DEEP_PCB_SMALL_REFERENCE, progress::download())?;
    eprintln!("no --weights: taking {DEEP_PCB_SMALL_REFERENCE}, trained on DeepPCB, {}", path.display());
    Ok(path)
}
