//! Finds tables in a folder. Every build does: one without the feature `tables` says what is missing.

use std::fs;
use std::path::{Path, PathBuf};

use crate::data::formats::files::has_extension;
use crate::error::{Error, Result};

/// How deep tables may lie: `default/train/0000.parquet`.
pub(super) const DEEPEST: usize = 2;

/// Whether there is a table at `path`.
pub(in crate::data::formats) fn has_tables(path: &Path) -> bool {
    if path.is_file() {
        return is_table(path);
    }
    let mut found = false;
    let walked = walk(path, DEEPEST, &mut |_| {
        found = true;
        false
    });
    walked.is_ok() && found
}

/// Calls `visit` with each table of a folder, until it says no. Entries are not asked for more than their
/// names and kinds, because folders of images are large.
pub(super) fn walk(folder: &Path, deeper: usize, visit: &mut impl FnMut(PathBuf) -> bool) -> Result<bool> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let is_folder = entry.file_type().map_err(Error::io(&path))?.is_dir();
        let goes_on = match is_folder {
            true if deeper > 0 => walk(&path, deeper - 1, visit)?,
            false if is_table(&path) => visit(path),
            _ => true,
        };
        if !goes_on {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_table(path: &Path) -> bool {
    has_extension(path, "parquet")
}
