//! What `check` of a format finds, and what is looked for in every format.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The faults of a data set and the warnings about it. Every entry names a file and, if possible, the line.
#[derive(Debug, Default)]
pub struct Report {
    /// What keeps the data set from being read.
    pub faults: Vec<Error>,
    /// Things that can be read but are probably mistakes: images given twice, boxes thinner than a pixel,
    /// files that are left out.
    pub warnings: Vec<Error>,
}

/// Equal for files with equal content, and almost never for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint {
    bytes: usize,
    checksum: u32,
}

impl Fingerprint {
    pub(super) fn of(content: &[u8]) -> Self {
        Self { bytes: content.len(), checksum: crc32fast::hash(content) }
    }
}

/// A warning for each file with the same content as an earlier one.
///
/// # Errors
///
/// [`Error::Io`] where a file cannot be read again.
pub(super) fn equal_files(files: &[(PathBuf, Fingerprint)]) -> Result<Vec<Error>> {
    let mut earlier: HashMap<Fingerprint, Vec<&Path>> = HashMap::new();
    let mut warnings = Vec::new();
    for (path, fingerprint) in files {
        let candidates = earlier.entry(*fingerprint).or_default();
        if candidates.contains(&path.as_path()) {
            continue;
        }
        let mut equal = None;
        for candidate in candidates.iter() {
            if read(path)? == read(candidate)? {
                equal = Some(*candidate);
                break;
            }
        }
        match equal {
            Some(other) => {
                let message = format!("the file has the same content as {}", other.display());
                warnings.push(Error::file(path, message));
            }
            None => candidates.push(path),
        }
    }
    Ok(warnings)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(Error::io(path))
}
