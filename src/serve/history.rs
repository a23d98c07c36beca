//! `/v1/detections` and what is made of them: what was found before, verdicts, an overview.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use image::RgbImage;
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa::openapi::schema::{AnyOfBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use uuid::Uuid;

use super::app::App;
use super::detect::Binary;
use super::input::{Id, Parameters, json, no_such_detection};
use super::pictures::{to_png, to_thumbnail};
use super::refusal::{ErrorBody, Refusal};
use super::upload::short_text;
use crate::draw::draw_detections;
use crate::error::Error;
use crate::records::{
    self, FieldValues, Filter, Inspection, Judged, Page, Statistics, StoredImage, Verdict, VerdictState,
};
use crate::structures::Detection;

/// Inspections of a page of the list, unless a client wants more or fewer.
const PAGE: u32 = 50;

/// The most inspections of a page.
const LONGEST_PAGE: u32 = 200;

/// The most bytes of a verdict.
const LONGEST_VERDICT: usize = 1 << 20;

/// A stored image never changes under its URL.
const FOREVER: [(HeaderName, &str); 1] = [(CACHE_CONTROL, "private, max-age=31536000, immutable")];

/// Which inspections are meant, and how many of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParameters {
    /// How many at most; 50 if not given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// Only those that are older than this one: `next` of the page before.
    before: Option<Uuid>,
    /// At this time or later; a day is its start in UTC.
    #[param(schema_with = moment_schema)]
    from: Option<String>,
    /// Before this time.
    #[param(schema_with = moment_schema)]
    to: Option<String>,
    /// With a detection of this class, or one that was missed: its name, or its label.
    class: Option<String>,
    /// Of this line.
    line: Option<String>,
    /// Of this product.
    product: Option<String>,
    /// Of this board.
    board: Option<String>,
    /// With a verdict, or without.
    #[param(inline)]
    verdict: Option<VerdictState>,
    /// By this model: `NAME`, `NAME/VERSION`, or the SHA-256 of the weights.
    model: Option<String>,
}

/// Which inspections are counted or exported.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RangeParameters {
    /// At this time or later; a day is its start in UTC.
    #[param(schema_with = moment_schema)]
    from: Option<String>,
    /// Before this time.
    #[param(schema_with = moment_schema)]
    to: Option<String>,
    /// Of this line.
    line: Option<String>,
    /// Of this product.
    product: Option<String>,
}

/// Which inspections are counted for an overview, and which of their detections.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StatisticsParameters {
    /// At this time or later; a day is its start in UTC.
    #[param(schema_with = moment_schema)]
    from: Option<String>,
    /// Before this time.
    #[param(schema_with = moment_schema)]
    to: Option<String>,
    /// Of this line.
    line: Option<String>,
    /// Of this product.
    product: Option<String>,
    /// Count detections with this score or more; all that are stored if not given.
    #[param(minimum = 0, maximum = 1)]
    score_threshold: Option<f32>,
}

/// How a picture is drawn.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DrawParameters {
    /// Leave out detections with this score or less.
    #[param(minimum = 0, maximum = 1)]
    score_threshold: Option<f32>,
}

/// RFC 3339, or a day.
fn moment_schema() -> Schema {
    let text = |format| {
        ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(format))).build()
    };
    let either = AnyOfBuilder::new().item(text(KnownFormat::DateTime)).item(text(KnownFormat::Date));
    Schema::AnyOf(either.build())
}

/// What people typed into a filter. No stored text has a null character.
fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).map(|text| text.replace('\0', "\u{fffd}"))
}

fn moment(text: Option<String>) -> Result<Option<Timestamp>, Refusal> {
    let moment =
        |text: String| records::moment(&text).map_err(|error| Refusal::bad_request(error.to_string()));
    text.map(moment).transpose()
}

fn least_score(score_threshold: Option<f32>) -> Result<f32, Refusal> {
    let least = score_threshold.unwrap_or(0.0);
    let wrong = || Refusal::bad_request("score_threshold is a number in 0..=1");
    (0.0..=1.0).contains(&least).then_some(least).ok_or_else(wrong)
}

impl RangeParameters {
    pub fn filter(self) -> Result<Filter, Refusal> {
        let (line, product) = (given(self.line), given(self.product));
        Ok(Filter { from: moment(self.from)?, to: moment(self.to)?, line, product, ..Filter::default() })
    }
}

fn unavailable(error: Error) -> Refusal {
    Refusal::records(&error)
}

async fn find(app: &App, id: Uuid) -> Result<Inspection, Refusal> {
    app.records.get(id).await.map_err(unavailable)?.ok_or_else(no_such_detection)
}

/// What was found before, the newest first
#[utoipa::path(get, path = "/v1/detections", tag = "detections", params(ListParameters), responses(
    (status = 200, body = Page),
    (status = 400, body = ErrorBody, description = "A parameter is malformed."),
    (status = 401, body = ErrorBody, description = "The client has to sign in."),
    (status = 503, body = ErrorBody, description = "The records cannot be read now."),
))]
pub async fn list(
    State(app): State<Arc<App>>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Json<Page>, Refusal> {
    let limit = parameters.limit.unwrap_or(PAGE);
    if !(1..=LONGEST_PAGE).contains(&limit) {
        return Err(Refusal::bad_request(format!("limit is a number in 1..={LONGEST_PAGE}")));
    }
    let filter = Filter {
        from: moment(parameters.from)?,
        to: moment(parameters.to)?,
        class: given(parameters.class),
        line: given(parameters.line),
        product: given(parameters.product),
        board: given(parameters.board),
        verdict: parameters.verdict,
        model: given(parameters.model),
    };
    app.records.list(&filter, parameters.before, limit).await.map(Json).map_err(unavailable)
}

/// One image, and what was found in it
#[utoipa::path(get, path = "/v1/detections/{id}", tag = "detections",
    params(("id" = Uuid, Path, description = "Of the detection.")), responses(
    (status = 200, body = Inspection),
    (status = 401, body = ErrorBody, description = "The client has to sign in."),
    (status = 404, body = ErrorBody, description = "There is no such detection."),
    (status = 503, body = ErrorBody, description = "The records cannot be read now."),
))]
pub async fn one(State(app): State<Arc<App>>, Id(id): Id) -> Result<Json<Inspection>, Refusal> {
    find(&app, id).await.map(Json)
}

/// Say which detections are real, and what was missed
///
/// It takes the place of an earlier verdict; with `seen`, only of the one that the client knows.
#[utoipa::path(post, path = "/v1/detections/{id}/verdict", tag = "detections",
    params(("id" = Uuid, Path, description = "Of the detection.")), request_body = Verdict, responses(
    (status = 200, body = Inspection),
    (status = 400, body = ErrorBody, description = "The body is malformed."),
    (status = 401, body = ErrorBody, description = "The client has to sign in."),
    (status = 403, body = ErrorBody, description = "Another site sent this."),
    (status = 404, body = ErrorBody, description = "There is no such detection."),
    (status = 408, body = ErrorBody, description = "The body came too slowly."),
    (status = 409, body = ErrorBody, description = "There is another verdict than the one in `seen`."),
    (status = 413, body = ErrorBody, description = "The body is too long."),
    (status = 415, body = ErrorBody, description = "The body is no JSON."),
    (status = 422, body = ErrorBody, description = "The verdict does not fit what was found."),
    (status = 503, body = ErrorBody, description = "The records cannot be written now."),
))]
pub async fn verdict(
    State(app): State<Arc<App>>,
    Id(id): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Inspection>, Refusal> {
    let mut verdict: Verdict = json(&app, &headers, body, LONGEST_VERDICT).await?;
    let by = verdict.by.take().map(|by| short_text("by", by.as_bytes())).transpose()?;
    verdict.by = by.filter(|by| !by.is_empty());
    let judged = app.records.set_verdict(id, &verdict).await.map_err(|error| match error {
        Error::Config(message) => Refusal::unprocessable(message),
        error => unavailable(error),
    })?;
    match judged {
        Judged::Stored(inspection) => Ok(Json(inspection)),
        Judged::Changed(_) => {
            let message =
                "this board was judged meanwhile, by somebody else or on another page; load it again";
            Err(Refusal::new(StatusCode::CONFLICT, message))
        }
        Judged::Missing => Err(no_such_detection()),
    }
}

/// The image as it was sent
#[utoipa::path(get, path = "/v1/detections/{id}/image", tag = "detections",
    params(("id" = Uuid, Path, description = "Of the detection.")), responses(
    (status = 200, content(
        (Binary = "image/jpeg"), (Binary = "image/png"), (Binary = "image/bmp"), (Binary = "image/tiff"),
        (Binary = "image/webp"),
    )),
    (status = 401, body = ErrorBody, description = "The client has to sign in."),
    (status = 404, body = ErrorBody, description = "There is no such detection, or its image is gone."),
    (status = 413, body = ErrorBody, description = "The image takes more memory than the server may hold."),
    (status = 503, body = ErrorBody, description = "There is no memory now, or the records cannot be read."),
))]
pub async fn image(State(app): State<Arc<App>>, Id(id): Id) -> Result<Response, Refusal> {
    let image = find(&app, id).await?.image;
    stored(&app, &image).await
}

/// The reference as it was sent
#[utoipa::path(get, path = "/v1/detections/{id}/reference", tag = "detections",
    params(("id" = Uuid, Path, description = "Of the detection.")), responses(
    (status = 200, content(
        (Binary = "image/jpeg"), (Binary = "image/png"), (Binary = "image/bmp"), (Binary = "image/tiff"),
        (Binary = "image/webp"),
    )),
    (status = 401, body = ErrorBody, description = "The client has to sign in."),
    (status = 404, body = ErrorBody, description = "There is no such detection, or it has no reference."),
    (status = 413, body = ErrorBody, description = "The image takes more memory than the server may hold."),
    (status = 503, body = ErrorBody, description = "There is no memory now, or the records cannot be read."),
))]
pub async fn reference(State(app): State<Arc<App>>, Id(id): Id) -> Result<Response, Refusal> {
    let none = || Refusal::not_found("this detection has no reference");
    let reference = find(&app, id).await?.reference.ok_or_else(none)?;
    stored(&app, &reference).await
}

/// The bytes of a stored image. Their memory is taken before they are read, and until they are dropped.
async fn bytes_of(app: &App, image: &StoredImage) -> Result<Bytes, Refusal> {
    let gone = || Refusal::not_found("the image is not stored any more");
    let held = app.memory.take(usize::try_from(image.bytes).unwrap_or(usize::MAX))?;
    let bytes = app.records.image(&image.sha256).await.map_err(unavailable)?.ok_or_else(gone)?;
    Ok(held.with(bytes))
}

async fn stored(app: &App, image: &StoredImage) -> Result<Response, Refusal> {
    let bytes = bytes_of(app, image).await?;
    let media_type = [(CONTENT_TYPE, image.media_type.clone())];
    Ok((FOREVER, media_type, Body::from(bytes)).into_response())
}

/// The image with what was found drawn on it
#[utoipa::path(get, path = "/v1/detections/{id}/drawn", tag = "detections",
    params(("id" = Uuid, Path, description = "Of the detection."), DrawParameters), responses(
    (status = 200, body = Binary, content_type = "image/png"),
    (status = 400, body = ErrorBody, description = "The parameter is malformed."),
    (status = 401, body = ErrorBody, description = "The client has to sign in."),
    (status = 404, body = ErrorBody, description = "There is no such detection, or its image is gone."),
    (status = 413, body = ErrorBody, description = "The image takes more memory than the server may hold."),
    (status = 503, body = ErrorBody, description = "There is no memory now, or the records cannot be read."),
))]
pub async fn drawn(
    State(app): State<Arc<App>>,
    Id(id): Id,
    Parameters(parameters): Parameters<DrawParameters>,
) -> Result<Response, Refusal> {
    let least = least_score(parameters.score_threshold)?;
    let inspection = find(&app, id).await?;
    let _place = app.studio.enter()?;
    let file = bytes_of(&app, &inspection.image).await?;
    let draw = move |image: &RgbImage| {
        // The names are those that the model had then.
        let mut names = Vec::new();
        let mut detections = Vec::new();
        for found in inspection.detections.into_iter().filter(|found| found.score > least) {
            let Some(index) = found.label.checked_sub(1) else { continue };
            if names.len() <= index {
                names.resize_with(index + 1, String::new);
            }
            names[index] = found.name.unwrap_or_else(|| format!("class {}", found.label));
            detections.push(Detection { xyxy: found.xyxy, label: found.label, score: found.score });
        }
        to_png(&draw_detections(image, &detections, &names))
    };
    let png = app.studio.view(file, draw).await?;
    Ok((FOREVER, [(CONTENT_TYPE, "image/png")], Body::from(png)).into_response())
}

/// The image, small
#[utoipa::path(get, path = "/v1/detections/{id}/thumbnail", tag = "detections",
    params(("id" = Uuid, Path, description = "Of the detection.")), responses(
    (status = 200, body = Binary, content_type = "image/jpeg"),
    (status = 401, body = ErrorBody, description = "The client has to sign in."),
    (status = 404, body = ErrorBody, description = "There is no such detection, or its image is gone."),
    (status = 413, body = ErrorBody, description = "The image takes more memory than the server may hold."),
    (status = 503, body = ErrorBody, description = "There is no memory now, or the records cannot be read."),
))]
pub async fn thumbnail(State(app): State<Arc<App>>, Id(id): Id) -> Result<Response, Refusal> {
    let image = find(&app, id).await?.image;
    let _place = app.studio.enter()?;
    let file = bytes_of(&app, &image).await?;
    let jpeg = app.studio.view(file, to_thumbnail).await?;
    Ok((FOREVER, [(CONTENT_TYPE, "image/jpeg")], Body::from(jpeg)).into_response())
}

/// Counts for an overview
#[utoipa::path(get, path = "/v1/statistics", tag = "records", params(StatisticsParameters), responses(
    (status = 200, body = Statistics),
    (status = 400, body = ErrorBody, description = "A parameter is malformed."),
    (status = 401, body = ErrorBody, description = "The client has to sign in."),
    (status = 503, body = ErrorBody, description = "The records cannot be read now."),
))]
pub async fn statistics(
    State(app): State<Arc<App>>,
    Parameters(parameters): Parameters<StatisticsParameters>,
) -> Result<Json<Statistics>, Refusal> {
    let StatisticsParameters { from, to, line, product, score_threshold } = parameters;
    let filter = RangeParameters { from, to, line, product }.filter()?;
    let least = least_score(score_threshold)?;
    app.records.statistics(&filter, least).await.map(Json).map_err(unavailable)
}

/// The lines, products and classes that there are
#[utoipa::path(get, path = "/v1/fields", tag = "records", responses(
    (status = 200, body = FieldValues),
    (status = 401, body = ErrorBody, description = "The client has to sign in."),
    (status = 503, body = ErrorBody, description = "The records cannot be read now."),
))]
pub async fn fields(State(app): State<Arc<App>>) -> Result<Json<FieldValues>, Refusal> {
    app.records.fields().await.map(Json).map_err(unavailable)
}
