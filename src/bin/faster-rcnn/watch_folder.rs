//! Which images of a folder have arrived whole.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use faster_rcnn::Error;
use faster_rcnn::internals::image_files;

use crate::watch_journal::{Journal, Stamp};

/// An image that does not change any more.
pub struct Arrived {
    pub path: PathBuf,
    /// Its path below the folder, with `/`.
    pub name: String,
    pub stamp: Stamp,
    /// For how long it has been like this.
    pub unchanged: Duration,
}

/// A folder that is looked at again and again.
pub struct WatchedFolder {
    folder: PathBuf,
    settle: Duration,
    /// Images that are not done, as they were first seen, and when.
    waiting: HashMap<String, (Stamp, Instant)>,
}

impl WatchedFolder {
    /// An image has arrived when it has not changed for `settle`.
    pub fn new(folder: PathBuf, settle: Duration) -> Self {
        Self { folder, settle, waiting: HashMap::new() }
    }

    /// The images that have arrived and are not done, the oldest first.
    pub fn arrived(&mut self, journal: &Journal) -> Result<Vec<Arrived>, Error> {
        let (mut arrived, mut waiting) = (Vec::new(), HashMap::new());
        for path in image_files(&self.folder)? {
            let name = name(&self.folder, &path);
            // It may be gone again.
            let Some(stamp) = stamp(&path) else { continue };
            if journal.get(&name).is_some_and(|done| done.stamp == stamp) {
                continue;
            }
            let known = self.waiting.get(&name).filter(|(before, _)| *before == stamp);
            let since = known.map_or_else(Instant::now, |(_, since)| *since);
            waiting.insert(name.clone(), (stamp, since));
            let unchanged = since.elapsed();
            if unchanged >= self.settle {
                arrived.push(Arrived { path, name, stamp, unchanged });
            }
        }
        self.waiting = waiting;
        arrived.sort_by_key(|image| image.stamp.modified());
        Ok(arrived)
    }
}

/// What the file system shows of a file, if it is there.
pub fn stamp(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata))
}

fn name(folder: &Path, path: &Path) -> String {
    let parts = path.strip_prefix(folder).unwrap_or(path).components();
    let parts: Vec<_> = parts.map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    parts.join("/")
}
