//! Images in a folder, each under the SHA-256 of its bytes: `ab/abcdef...`.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf, absolute};
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};
use crate::files::{sync_folder, write_bytes};

/// A file that no record refers to may belong to one that is just being written. After this time it does not.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);

/// The folder.
#[derive(Debug)]
pub(super) struct Images {
    folder: PathBuf,
}

impl Images {
    /// Makes the folder and its parts, down to the disk: an image is as safe as the folders above it.
    pub fn open(folder: &Path) -> Result<Self> {
        let full = absolute(folder).map_err(Error::io(folder))?;
        let made: Vec<&Path> = full.ancestors().take_while(|above| !above.exists()).collect();
        for part in 0..=u8::MAX {
            let part = folder.join(format!("{part:02x}"));
            fs::create_dir_all(&part).map_err(Error::io(&part))?;
        }
        sync_folder(folder)?;
        for above in made.iter().filter_map(|made| made.parent()) {
            sync_folder(above)?;
        }
        Ok(Self { folder: folder.to_path_buf() })
    }

    /// A file that processes lock to take turns.
    pub fn lock_file(&self) -> PathBuf {
        self.folder.join(".lock")
    }

    /// Writes an image, unless it is there.
    pub fn write(&self, sha256: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(sha256);
        if fs::metadata(&path).is_ok_and(|file| file.len() == bytes.len() as u64) {
            return Ok(());
        }
        write_bytes(&path, bytes)
    }

    /// The bytes of an image, if it is there.
    pub fn read(&self, sha256: &str) -> Result<Option<Vec<u8>>> {
        // What comes from outside never becomes a path otherwise.
        if !is_sha256(sha256) {
            return Ok(None);
        }
        let path = self.path(sha256);
        match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            read => read.map(Some).map_err(Error::io(&path)),
        }
    }

    /// Removes an image, and gives the bytes that it had.
    pub fn remove(&self, sha256: &str) -> Result<u64> {
        let path = self.path(sha256);
        let bytes = fs::metadata(&path).map_or(0, |file| file.len());
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(&path)(error)),
            _ => Ok(bytes),
        }
    }

    /// The images of a part of the folder (`00` to `ff`) that have been there for a while. Removes what
    /// writers that were killed left behind there.
    pub fn old(&self, part: u8) -> Result<Vec<String>> {
        let folder = self.folder.join(format!("{part:02x}"));
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.map_err(Error::io(&folder))?,
        };
        let mut old = Vec::new();
        for entry in entries {
            let entry = entry.map_err(Error::io(&folder))?;
            // It may be gone by now.
            let Ok(changed) = entry.metadata().and_then(|file| file.modified()) else { continue };
            if SystemTime::now().duration_since(changed).is_ok_and(|age| age > LEFT_BEHIND) {
                let name = entry.file_name().to_string_lossy().into_owned();
                if is_sha256(&name) {
                    old.push(name);
                } else if name.starts_with('.') {
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
        Ok(old)
    }

    fn path(&self, sha256: &str) -> PathBuf {
        self.folder.join(&sha256[..2]).join(sha256)
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}
