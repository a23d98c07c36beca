//! Which path is answered by what, and what holds for every answer.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::FutureExt;

use super::app::App;
use super::refusal::{Refusal, method_not_allowed, no_such_path};
use super::sign_in::{SignedIn, Site, names_this_machine, site};
use super::{about, detect, history, openapi, page, session, verdicts_zip};

/// What the page may do: nothing with other hosts, no scripts but the server's.
const POLICY: &str = "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; \
    form-action 'self'; frame-ancestors 'none'";

/// All paths.
pub fn router(app: Arc<App>) -> Router {
    let with_sign_in = Router::new()
        .route("/v1/detect", post(detect::detect))
        .route("/v1/model", get(about::model))
        .route("/v1/detections", get(history::list))
        .route("/v1/detections/{id}", get(history::one))
        .route("/v1/detections/{id}/image", get(history::image))
        .route("/v1/detections/{id}/reference", get(history::reference))
        .route("/v1/detections/{id}/drawn", get(history::drawn))
        .route("/v1/detections/{id}/thumbnail", get(history::thumbnail))
        .route("/v1/detections/{id}/verdict", post(history::verdict))
        .route("/v1/statistics", get(history::statistics))
        .route("/v1/fields", get(history::fields))
        .route("/v1/verdicts.zip", get(verdicts_zip::verdicts))
        .route("/metrics", get(about::metrics))
        .route_layer(from_fn_with_state(app.clone(), signed_in));
    Router::new()
        .route("/", get(page::index))
        .route("/page/{name}", get(page::page))
        .route("/docs", get(page::docs_index))
        .route("/docs/{name}", get(page::docs))
        .route("/openapi.json", get(openapi::openapi))
        .route("/healthz", get(about::healthz))
        .route("/readyz", get(about::readyz))
        .route("/v1/session", get(session::get).post(session::post).delete(session::delete))
        .merge(with_sign_in)
        .fallback(no_such_path)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(app.clone(), every_answer))
        .with_state(app)
}

/// Lets those pass who have signed in.
async fn signed_in(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let by = app.sign_in.of(request.headers());
    if by == SignedIn::No {
        let message =
            "sign in first: with a token of the server's in the header `Authorization`, or on the page";
        return Refusal::new(StatusCode::UNAUTHORIZED, message).into_response();
    }
    // Browsers send a cookie by themselves, so such a request has to show that the page sent it.
    if by == SignedIn::Cookie && changes(&request) && site(request.headers()) != Site::Own {
        return cross_site().into_response();
    }
    next.run(request).await
}

/// What holds for every request and every answer.
async fn every_answer(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>();
    let path = matched.map_or("other", MatchedPath::as_str).to_string();
    let method = known(request.method());
    let is_stranger = !app.sign_in.is_required() && !names_this_machine(request.headers(), request.uri());
    let is_bearer = app.sign_in.of(request.headers()) == SignedIn::Bearer;
    let mut response = if is_stranger {
        let message =
            "without tokens, this server is only for those who call it by its address or as localhost";
        Refusal::new(StatusCode::FORBIDDEN, message).into_response()
    } else if changes(&request) && !is_bearer && site(request.headers()) == Site::Other {
        cross_site().into_response()
    } else {
        let answer = AssertUnwindSafe(next.run(request)).catch_unwind().await;
        answer.unwrap_or_else(|_| {
            Refusal::internal("the server failed at this request", "panic").into_response()
        })
    };
    app.metrics.answered(&path, method, response.status().as_u16());
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Whether a request changes something.
fn changes(request: &Request) -> bool {
    !request.method().is_safe()
}

fn cross_site() -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "this request comes from another site")
}

/// A method as a label of the metrics: clients may invent any.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}
