//! Published weights by their name, wherever they are.

use std::path::{Path, PathBuf};

use super::fetch::{cache_folder, fetch};
use super::manifest::published;
use crate::error::{Error, Result};

/// Weights of a small detector of the defects of boards, trained on DeepPCB; see `weights/deep_pcb_small.md`.
pub const DEEP_PCB_SMALL: &str = "deep_pcb_small";

/// As [`DEEP_PCB_SMALL`], of a detector that compares a board with a good one; see
/// `weights/deep_pcb_small_reference.md`.
pub const DEEP_PCB_SMALL_REFERENCE: &str = "deep_pcb_small_reference";

/// The file of [`published`] weights: from the folder `weights` of the repository that this program
/// was built in, from the [cache folder](cache_folder), or downloaded into it. Its SHA-256 is checked.
/// `progress` is that of [`fetch`].
///
/// # Errors
///
/// [`Error::Config`] for an unknown name, and those of [`fetch`].
pub fn find(name: &str, progress: impl FnMut(u64, Option<u64>)) -> Result<PathBuf> {
    let file = published().into_iter().find(|file| file.name == name);
    let file = file.ok_or_else(|| Error::Config(format!("no weights are published as {name}")))?;
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights");
    let is_here = repository.join(file.file_name()).exists();
    fetch(&file, if is_here { repository } else { cache_folder()? }, progress)
}
