//! The weights that a command takes where none are given.

use std::path::PathBuf;

use anyhow::Result;
use faster_rcnn::weights::{self, DEEP_PCB_SMALL, DEEP_PCB_SMALL_REFERENCE};

use crate::progress;

/// Weights for boards, alone or beside their references, downloaded if need be; says which.
pub fn find(has_references: bool) -> Result<PathBuf> {
    let name = if has_references { DEEP_PCB_SMALL_REFERENCE } else { DEEP_PCB_SMALL };
    let path = weights::find(name, progress::download())?;
    eprintln!("no --weights: taking {name}, trained on DeepPCB, {}", path.display());
    Ok(path)
}
