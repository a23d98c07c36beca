//! `/v1/verdicts.zip`: files that are made to be sent. They may be large, so there is one at a time.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tempfile::TempDir;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task;

use super::app::App;
use super::detect::Binary;
use super::history::RangeParameters;
use super::input::Parameters;
use super::refusal::{ErrorBody, Refusal};
use crate::error::Error;
use crate::records::{ExportFormat, Filter, Records};

/// Bytes of a file that are sent at a time.
const CHUNK: usize = 256 << 10;

/// The folder for exports in that of the images: hidden, so that it is no image's.
const FOLDER: &str = ".exports";

/// Where exports are written, one at a time.
#[derive(Debug)]
pub struct Exports {
    folder: PathBuf,
    turn: Arc<Semaphore>,
}

/// A file that was made to be sent. It goes when this is dropped, and then the next one may be made.
struct Export {
    file: File,
    length: u64,
    rest: Rest,
}

/// Dropped in this order.
struct Rest {
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
    async fn make(&self, records: &Records, filter: Filter) -> Result<Export, Refusal> {
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

/// All verdicts as a data set in COCO's layout
#[utoipa::path(get, path = "/v1/verdicts.zip", tag = "records", params(RangeParameters), responses(
    (status = 200, body = Binary, content_type = "application/zip"),
    (status = 400, body = ErrorBody, description = "A parameter is malformed."),
    (status = 401, body = ErrorBody, description = "The client has to sign in."),
    (status = 503, body = ErrorBody, headers(("Retry-After" = u32, description = "In seconds.")),
        description = "Another export is made or sent, or the records or the file cannot be written now."),
))]
pub async fn verdicts(
    State(app): State<Arc<App>>,
    Parameters(parameters): Parameters<RangeParameters>,
) -> Result<Response, Refusal> {
    let Export { file, length, rest } = app.exports.make(&app.records, parameters.filter()?).await?;
    let body = stream::unfold((Some(file), rest), |(file, rest)| async move {
        let mut file = file?;
        let read = task::spawn_blocking(move || {
            let mut chunk = vec![0; CHUNK];
            let count = file.read(&mut chunk)?;
            chunk.truncate(count);
            Ok::<_, io::Error>((chunk, file))
        });
        match read.await.map_err(io::Error::other).flatten() {
            Ok((chunk, _)) if chunk.is_empty() => None,
            Ok((chunk, file)) => Some((Ok(chunk), (Some(file), rest))),
            Err(error) => Some((Err(error), (None, rest))),
        }
    });
    let name = [(CONTENT_DISPOSITION, "attachment; filename=\"verdicts.zip\"")];
    let media_type = [(CONTENT_TYPE, "application/zip".to_string()), (CONTENT_LENGTH, length.to_string())];
    Ok((name, media_type, Body::from_stream(body)).into_response())
}
