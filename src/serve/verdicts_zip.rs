//! `/v1/verdicts.zip`: what people decided, as a data set.

use std::io::{self, Read};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::task;

use super::app::App;
use super::detect::Binary;
use super::exports::Export;
use super::history::RangeParameters;
use super::input::Parameters;
use super::refusal::{ErrorBody, Refusal};

/// Bytes of a file that are sent at a time.
const CHUNK: usize = 256 << 10;

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
