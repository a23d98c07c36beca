//! What `watch` has done already. It is kept in a file, so that a kill is no reason to do anything twice.

use std::collections::HashMap;
use std::fs::{File, Metadata, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Result, bail};
use faster_rcnn::Error;
use faster_rcnn::internals::{read_text, write_bytes};
use serde::{Deserialize, Serialize};

/// A file as the file system shows it without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    bytes: u64,
    /// When it was last written, in nanoseconds since 1970.
    modified: i64,
}

impl Stamp {
    /// When the file was last written.
    pub fn modified(&self) -> i64 {
        self.modified
    }

    pub fn of(metadata: &Metadata) -> Self {
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified = modified.and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or_default();
        Self { bytes: metadata.len(), modified }
    }
}

/// An image that is done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Done {
    /// Its path below the folder.
    pub image: String,
    #[serde(flatten)]
    pub stamp: Stamp,
    /// Of its bytes, hexadecimal.
    pub sha256: String,
}

/// A line of JSON for each image that is done; of several about one image, the last is right.
pub struct Journal {
    path: PathBuf,
    done: HashMap<String, Done>,
    file: File,
    /// Held while the program runs.
    _lock: File,
}

impl Journal {
    /// Reads the journal in a folder, and shortens it. Only one process may use it at a time.
    pub fn open(folder: &Path) -> Result<Self> {
        let lock_path = folder.join(".faster-rcnn-watch.lock");
        let lock =
            File::options().create(true).append(true).open(&lock_path).map_err(Error::io(&lock_path))?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => {
                bail!("{}: another process watches and writes here", folder.display())
            }
            // Some network folders have no locks.
            Err(TryLockError::Error(error)) => tracing::info!(%error, "no lock on the folder"),
            Ok(()) => {}
        }
        let path = folder.join(".faster-rcnn-watch.jsonl");
        let mut done = HashMap::new();
        if path.exists() {
            // A kill may have cut the last line off.
            let lines: Vec<Done> =
                read_text(&path)?.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            done.extend(lines.into_iter().map(|entry| (entry.image.clone(), entry)));
        }
        let text: String = done.values().map(line).collect();
        write_bytes(&path, text.as_bytes())?;
        let file = File::options().append(true).open(&path).map_err(Error::io(&path))?;
        Ok(Self { path, done, file, _lock: lock })
    }

    /// What was done with an image.
    pub fn get(&self, image: &str) -> Option<&Done> {
        self.done.get(image)
    }

    /// Notes an image as done, down to the disk.
    pub fn add(&mut self, done: &Done) -> Result<(), Error> {
        self.file.write_all(line(done).as_bytes()).map_err(Error::io(&self.path))?;
        self.file.sync_data().map_err(Error::io(&self.path))?;
        self.done.insert(done.image.clone(), done.clone());
        Ok(())
    }
}

fn line(done: &Done) -> String {
    serde_json::to_string(done).expect("plain data is JSON") + "\n"
}
