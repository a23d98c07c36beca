//! What clients send beside images: parameters, ids and JSON. A fault in them becomes a sentence.

use std::fmt::Display;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::app::App;
use super::limits::read_body;
use super::refusal::Refusal;

/// What follows the `?`.
#[derive(Debug)]
pub struct Parameters<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let fault = |error: &dyn Display| Refusal::bad_request(format!("the parameters are wrong: {error}"));
        let Query(parameters) = Query::try_from_uri(&parts.uri).map_err(|error| {
            // The inner error is the one that names the parameter.
            match std::error::Error::source(&error) {
                Some(cause) => fault(&cause),
                None => fault(&error),
            }
        })?;
        Ok(Self(parameters))
    }
}

/// The id in the path. A text that is no UUID is answered like an unknown id: 404.
#[derive(Debug)]
pub struct Id(pub Uuid);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let id = Path::<String>::from_request_parts(parts, state).await.ok();
        id.and_then(|Path(id)| id.parse().ok()).map(Self).ok_or_else(no_such_detection)
    }
}

/// There is no detection of an id.
pub fn no_such_detection() -> Refusal {
    Refusal::not_found("there is no detection with this id")
}

/// The body of a request, which is JSON of at most `most` bytes.
pub async fn json<T: DeserializeOwned>(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    most: usize,
) -> Result<T, Refusal> {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let message = "the body has to be JSON, with the content type application/json";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let (bytes, _held) = read_body(headers, body, most, &app.limits, &app.memory).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Refusal::bad_request(format!("the body is not what is expected: {error}")))
}
