//! Why a request is not answered with what it asks for: a status, and a sentence as `{"error": "..."}`.

use axum::Json;
use axum::http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::Error;

/// Seconds after which a client may try again.
const RETRY_SECONDS: u32 = 1;

/// What every answer says that is no success.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub struct ErrorBody {
    /// What is wrong, as a sentence.
    error: String,
}

/// A status and a sentence.
#[derive(Debug, Clone)]
pub struct Refusal {
    status: StatusCode,
    sentence: String,
}

impl Refusal {
    /// The sentence gets its capital letter and its full stop here.
    pub fn new(status: StatusCode, message: impl AsRef<str>) -> Self {
        Self { status, sentence: sentence(message.as_ref()) }
    }

    /// The request is malformed.
    pub fn bad_request(message: impl AsRef<str>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// There is no such thing.
    pub fn not_found(message: impl AsRef<str>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// More bytes or pixels than are taken.
    pub fn too_large(message: impl AsRef<str>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// The request is well-formed, but this detector cannot do it.
    pub fn unprocessable(message: impl AsRef<str>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, message)
    }

    /// Later it may work. The answer has `Retry-After`.
    pub fn unavailable(message: impl AsRef<str>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// The server itself is at fault. The cause goes to the log, not to the client.
    pub fn internal(message: &str, cause: impl std::fmt::Display) -> Self {
        tracing::error!("{message}: {cause}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// The records cannot be read or written: a full disk, or a database that is gone.
    pub fn records(error: &Error) -> Self {
        tracing::error!("the records: {error:#}");
        Self::unavailable("the records cannot be read or written at the moment; the server's log says why")
    }

    #[cfg(test)]
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(ErrorBody { error: self.sentence })).into_response();
        let headers = response.headers_mut();
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_SECONDS));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

/// For a method that a path does not have. axum adds the header `Allow`.
pub async fn method_not_allowed() -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("the header `{ALLOW}` lists the methods of this path"),
    )
}

/// For a path that is not there.
pub async fn no_such_path() -> Refusal {
    Refusal::not_found("there is nothing at this path; /docs lists what there is")
}

fn sentence(message: &str) -> String {
    let message = message.trim();
    let mut characters = message.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let stop = if message.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{stop}", characters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_become_sentences() {
        assert_eq!(sentence("the image is cut off"), "The image is cut off.");
        assert_eq!(sentence("Wait. "), "Wait.");
        assert_eq!(sentence(""), ".");
    }
}
