//! Files that are made to be sent. They may be large, so there is one at a time.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::refusal::Refusal;
use crate::error::Error;
use crate::records::{ExportFormat, Filter, Records};

/// The folder for exports in that of the images: hidden, so that it is no image's.
const FOLDER: &str = ".exports";

/// Where exports are written, one at a time.
#[derive(Debug)]
pub struct Exports {
    folder: PathBuf,
    turn: Arc<Semaphore>,
}

/// A file that was made to be sent. It goes when this is dropped, and then the next one may be made.
pub struct Export {
    pub file: File,
    /// In bytes.
    pub length: u64,
    /// Kept while the file is sent.
    pub rest: Rest,
}

/// Dropped in this order.
pub struct Rest {
    #[allow(dead_code, reason = "removed when it is dropped")]
    folder: TempDir,
    #[allow(dead_code, reason = "held until it is dropped")]
    turn: OwnedSemaphorePermit,
}

impl Exports {
    /// Removes what a server that was killed left behind.
    pub fn new(images: &Path) -> Self {
        let folder = images.join(FOLDER);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("{} cannot be emptied: {error}", folder.display());
            }
            _ => {}
        }
        Self { folder, turn: Arc::new(Semaphore::new(1)) }
    }

    /// Writes a file, unless there is one already.
    pub async fn make(&self, records: &Records, filter: Filter) -> Result<Export, Refusal> {
        let busy = |_| Refusal::unavailable("another export is made or sent now; try again when it is done");
        let turn = self.turn.clone().try_acquire_owned().map_err(busy)?;
        let (above, records) = (self.folder.clone(), records.clone());
        // It goes on, and has the turn, when the client has gone.
        let made = tokio::spawn(async move {
            let fault = Error::io(&above);
            let folder = fs::create_dir_all(&above).and_then(|()| tempfile::tempdir_in(&above));
            let folder = folder.map_err(fault)?;
            let path = folder.path().join("verdicts.zip");
            records.export(&filter, ExportFormat::CocoZip, &path).await?;
            let file = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
            let (length, file) = file.map_err(Error::io(&path))?;
            Ok::<_, Error>(Export { file, length, rest: Rest { folder, turn } })
        });
        let failed = |error| Refusal::internal("the export failed", error);
        made.await.map_err(failed)?.map_err(|error| Refusal::records(&error))
    }
}
