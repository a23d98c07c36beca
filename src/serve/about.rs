//! What the server says of itself: its model, its health, its metrics, its API.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::app::App;
use super::metrics::MEDIA_TYPE;
use super::refusal::{ErrorBody, Refusal};
use crate::structures::ReferenceInput;

/// The detector that is served.
#[derive(Debug, Serialize, ToSchema)]
pub struct ServedModelInfo {
    /// Its name in the registry; none for a plain file.
    name: Option<String>,
    /// Its number in the registry.
    version: Option<u32>,
    /// Of the weight file, hexadecimal.
    sha256: String,
    /// The alias that it was found by.
    alias: Option<String>,
    /// The names of the classes, from label 1 on; empty where the weights have none.
    classes: Vec<String>,
    // Its description is that of the type: one of its own would make the schema say `object`.
    #[schema(inline)]
    reference: TakesReference,
    /// Detections with this score or less are left out, unless a request says otherwise.
    score_threshold: f32,
    /// The thresholds that an evaluation chose, by name.
    thresholds: Option<BTreeMap<String, f32>>,
    /// Where it computes.
    device: String,
    /// The version of this program.
    program: &'static str,
}

/// Whether images are compared with a reference.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TakesReference {
    /// No.
    None,
    /// Yes, by the difference of the two.
    Difference,
}

/// The server works.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`.
    status: &'static str,
}

/// The detector that is served
#[utoipa::path(get, path = "/v1/model", tag = "server", responses(
    (status = 200, body = ServedModelInfo),
    (status = 401, body = ErrorBody, description = "The client has to sign in."),
))]
pub async fn model(State(app): State<Arc<App>>) -> Json<ServedModelInfo> {
    let model = app.model.get();
    let (config, weights) = (model.predictor.config(), &model.weights);
    Json(ServedModelInfo {
        name: weights.name.clone(),
        version: weights.version,
        sha256: weights.sha256.clone(),
        alias: model.alias.clone(),
        classes: config.class_names.clone(),
        reference: match config.reference {
            ReferenceInput::None => TakesReference::None,
            ReferenceInput::Difference => TakesReference::Difference,
        },
        score_threshold: config.roi_heads.score_thresh,
        thresholds: model.thresholds.clone(),
        device: model.device.clone(),
        program: env!("CARGO_PKG_VERSION"),
    })
}

/// Whether the process answers
#[utoipa::path(get, path = "/healthz", tag = "server", security(()), responses(
    (status = 200, body = Health),
))]
pub async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether the server can take an image: its records answer
#[utoipa::path(get, path = "/readyz", tag = "server", security(()), responses(
    (status = 200, body = Health),
    (status = 503, body = ErrorBody, description = "The records cannot be reached now."),
))]
pub async fn readyz(State(app): State<Arc<App>>) -> Result<Json<Health>, Refusal> {
    app.records.ping().await.map_err(|error| Refusal::records(&error))?;
    Ok(Json(Health { status: "ok" }))
}

/// Numbers for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "server", responses(
    (status = 200, body = String, content_type = "application/openmetrics-text"),
    (status = 401, body = ErrorBody, description = "The client has to sign in."),
))]
pub async fn metrics(State(app): State<Arc<App>>) -> Response {
    ([(CONTENT_TYPE, MEDIA_TYPE)], app.metrics.text(&app.now())).into_response()
}
