//! `/v1/session`: the page signs in with a token and gets a cookie for it, which scripts cannot read and
//! other sites cannot use.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::app::App;
use super::input::json;
use super::refusal::{ErrorBody, Refusal};
use super::sign_in::{COOKIE_NAME, SESSION_TIME, SignedIn, is_behind_tls};

/// The most bytes of a body. Clients without a token send it, so many slow ones must not take much memory.
const MOST_BYTES: usize = 4 << 10;

/// Whether a token is needed, and whether the client has shown one.
#[derive(Debug, Serialize, ToSchema)]
pub struct Session {
    /// Whether the server wants a token.
    required: bool,
    /// Whether this request had one, or needs none.
    signed_in: bool,
}

/// What a client signs in with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// A token of the server's file.
    token: String,
}

/// Whether the client is signed in
#[utoipa::path(get, path = "/v1/session", tag = "session", security(()), responses(
    (status = 200, body = Session),
))]
pub async fn get(State(app): State<Arc<App>>, headers: HeaderMap) -> Json<Session> {
    let signed_in = app.sign_in.of(&headers) != SignedIn::No;
    Json(Session { required: app.sign_in.is_required(), signed_in })
}

/// Sign in: a cookie for a token
///
/// The cookie holds for seven days.
#[utoipa::path(post, path = "/v1/session", tag = "session", security(()),
    request_body = Credentials, responses(
    (status = 204, description = "Signed in. Without a cookie where the server wants no token."),
    (status = 400, body = ErrorBody, description = "The body is malformed."),
    (status = 401, body = ErrorBody, description = "The token is not one of the server's."),
    (status = 403, body = ErrorBody, description = "Another site sent this."),
    (status = 408, body = ErrorBody, description = "The body came too slowly."),
    (status = 413, body = ErrorBody, description = "The body is too long."),
    (status = 415, body = ErrorBody, description = "The body is no JSON."),
    (status = 503, body = ErrorBody, description = "The server has no memory for the body now."),
))]
pub async fn post(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let Credentials { token } = json(&app, &headers, body, MOST_BYTES).await?;
    if !app.sign_in.is_required() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    match app.sign_in.cookie(&token) {
        Some(value) => Ok(with_cookie(&headers, &value, SESSION_TIME.as_secs())),
        None => Err(Refusal::new(StatusCode::UNAUTHORIZED, "the token is not one of the server's")),
    }
}

/// Sign out: the cookie goes
#[utoipa::path(delete, path = "/v1/session", tag = "session", security(()), responses(
    (status = 204, description = "Signed out."),
    (status = 403, body = ErrorBody, description = "Another site sent this."),
))]
pub async fn delete(headers: HeaderMap) -> Response {
    with_cookie(&headers, "", 0)
}

fn with_cookie(headers: &HeaderMap, value: &str, seconds: u64) -> Response {
    let secure = if is_behind_tls(headers) { "; Secure" } else { "" };
    let cookie =
        format!("{COOKIE_NAME}={value}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Strict{secure}");
    (StatusCode::NO_CONTENT, [(SET_COOKIE, cookie)]).into_response()
}
