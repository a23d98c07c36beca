//! `POST /v1/detect`: images in, what is in them out; all of it is in the records before the answer is sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::app::App;
use super::input::Parameters;
use super::metrics::Part;
use super::pictures::Picture;
use super::queue::{Found, Job};
use super::refusal::{ErrorBody, Refusal};
use super::served_model::ServedModel;
use super::upload::{self, File, Upload};
use crate::data::pair;
use crate::error::Error;
use crate::records::{self, Fields, Milliseconds, Model, NewImage, NewInspection};
use crate::structures::{Detection, ReferenceInput, Xyxy};

/// Bytes that aligning an image and its reference takes for a pixel, beside the two images.
const ALIGNING: u64 = 16;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DetectParameters {
    /// Leave out detections with this score or less. Without it, the setting of the weights counts.
    #[param(minimum = 0, maximum = 1)]
    score_threshold: Option<f32>,
}

/// A file's bytes.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
pub struct Binary(#[allow(dead_code, reason = "only its schema is used")] Vec<u8>);

/// Images with what belongs to them.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
pub struct DetectForm {
    /// One or more images: JPEG, PNG, BMP, TIFF or WebP.
    #[schema(min_items = 1)]
    image: Vec<Binary>,
    /// A picture of the same thing without objects, for a detector that compares with one; for all images.
    reference: Option<Binary>,
    /// The production line.
    #[schema(max_length = 200)]
    line: Option<String>,
    /// What is produced.
    #[schema(max_length = 200)]
    product: Option<String>,
    /// The number of the piece.
    #[schema(max_length = 200)]
    board: Option<String>,
}

/// What was found.
#[derive(Debug, Serialize, ToSchema)]
pub struct Detected {
    /// What looked at the images.
    model: Model,
    /// In the order in which they were sent.
    images: Vec<DetectedImage>,
}

/// What was found in an image.
#[derive(Debug, Serialize, ToSchema)]
pub struct DetectedImage {
    /// Of the record.
    id: Uuid,
    /// What the client calls the image.
    image: Option<String>,
    /// In pixels.
    width: u32,
    /// In pixels.
    height: u32,
    /// By falling score.
    detections: Vec<DetectedObject>,
    milliseconds: Milliseconds,
}

/// An object in an image.
#[derive(Debug, Serialize, ToSchema)]
pub struct DetectedObject {
    /// `[x1, y1, x2, y2]` in pixels of the image.
    #[serde(rename = "box")]
    #[schema(value_type = [f32; 4])]
    xyxy: Xyxy,
    /// Class, counted from 1.
    label: usize,
    /// What the class is called, where the detector knows.
    name: Option<String>,
    /// In `0..=1`.
    score: f32,
}

/// Look for objects in images
///
/// The image is the body, or a form has several. The numbers are those of `faster-rcnn predict`. Every image
/// that is answered for is in the records.
#[utoipa::path(post, path = "/v1/detect", tag = "detections", params(DetectParameters),
    request_body(content(
        (Binary = "application/octet-stream"), (Binary = "image/jpeg"), (Binary = "image/png"),
        (DetectForm = "multipart/form-data"),
    )),
    responses(
        (status = 200, body = Detected),
        (status = 400, body = ErrorBody, description = "An image, the form or a parameter is malformed."),
        (status = 401, body = ErrorBody, description = "The client has to sign in."),
        (status = 403, body = ErrorBody, description = "Another site sent this."),
        (status = 408, body = ErrorBody, description = "The body came too slowly."),
        (status = 413, body = ErrorBody, description = "There are too many bytes, pixels or images."),
        (status = 415, body = ErrorBody, description = "The body is neither an image nor a form."),
        (status = 422, body = ErrorBody, description = "A reference is missing, unwanted, or does not fit."),
        (status = 500, body = ErrorBody, description = "The detector failed at an image."),
        (status = 503, body = ErrorBody, headers(("Retry-After" = u32, description = "In seconds.")),
            description = "The queue is full, or the records cannot be written. The request is good."),
    ))]
pub async fn detect(
    State(app): State<Arc<App>>,
    Parameters(parameters): Parameters<DetectParameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Detected>, Refusal> {
    let start = Instant::now();
    let score_threshold = parameters.score_threshold;
    if score_threshold.is_some_and(|threshold| !(0.0..=1.0).contains(&threshold)) {
        return Err(Refusal::bad_request("score_threshold is a number in 0..=1"));
    }
    app.queue.check()?;
    let Upload { images, reference, fields, held: _held } =
        upload::read(&headers, body, &app.limits, &app.memory).await?;
    let _places = app.queue.enter(images.len())?;
    let model = app.model.get();
    check_reference(&model, reference.is_some())?;

    let reference = match reference {
        None => None,
        Some(file) => Some(Arc::new(Reference::new(&app, file).await?)),
    };
    // Nothing is looked at before all images are known to be good.
    let count = images.len();
    let boards = images.into_iter().enumerate().map(|(index, file)| {
        let name = if count == 1 { "the image".to_string() } else { format!("image {}", index + 1) };
        Board::new(&app, name, file, reference.clone(), &model)
    });
    let boards = try_join_all(boards).await?;
    let looked_at = boards.into_iter().map(|board| board.detect(&app, model.clone(), score_threshold));
    let looked_at = try_join_all(looked_at).await?;
    let context = Context { model: &model, reference, fields, score_threshold, start };
    let mut images = Vec::with_capacity(count);
    for (board, found) in looked_at {
        images.push(context.store(&app, board, found).await?);
    }
    Ok(Json(Detected { model: named(&model), images }))
}

fn check_reference(model: &ServedModel, is_given: bool) -> Result<(), Refusal> {
    match (model.predictor.config().reference, is_given) {
        (ReferenceInput::None, true) => {
            Err(Refusal::unprocessable("the detector takes no reference: leave out the field `reference`"))
        }
        (ReferenceInput::Difference, false) => Err(Refusal::unprocessable(
            "the detector compares an image with a reference: send a form with the field `reference`",
        )),
        _ => Ok(()),
    }
}

/// The model as the records name it.
fn named(model: &ServedModel) -> Model {
    let weights = &model.weights;
    Model { name: weights.name.clone(), version: weights.version, sha256: weights.sha256.clone() }
}

/// What images are compared with.
struct Reference {
    file: File,
    picture: Picture,
}

impl Reference {
    async fn new(app: &App, file: File) -> Result<Self, Refusal> {
        let picture = app.studio.decode("the reference".to_string(), file.bytes.clone()).await?;
        Ok(Self { file, picture })
    }
}

/// An image that is decoded.
struct Board {
    file: File,
    width: u32,
    height: u32,
    /// What the detector sees.
    picture: Picture,
    decode: Duration,
}

/// A board without its pixels.
struct Seen {
    file: File,
    width: u32,
    height: u32,
    media_type: &'static str,
    decode: Duration,
}

impl Board {
    /// Decodes an image, and brings its reference onto it.
    async fn new(
        app: &App,
        name: String,
        file: File,
        reference: Option<Arc<Reference>>,
        model: &ServedModel,
    ) -> Result<Self, Refusal> {
        let start = Instant::now();
        let mut picture = app.studio.decode(name.clone(), file.bytes.clone()).await?;
        let (width, height) = picture.pixels.dimensions();
        if let Some(reference) = reference {
            let align = model.predictor.config().reference_align;
            let bytes = u64::from(width) * u64::from(height) * ALIGNING;
            let aligning = app.memory.take(usize::try_from(bytes).unwrap_or(usize::MAX))?;
            let work = move || {
                let _aligning = aligning;
                let pixels =
                    pair(&picture.pixels, &reference.picture.pixels, align).map_err(|error| match error {
                        Error::Reference(message) => Refusal::unprocessable(format!("{name}: {message}")),
                        error => Refusal::internal("the reference cannot be compared", error),
                    })?;
                Ok(picture.with_pixels(pixels))
            };
            picture = app.studio.work(work).await?;
        }
        let decode = start.elapsed();
        app.metrics.took(Part::Decode, decode);
        Ok(Self { file, width, height, picture, decode })
    }

    async fn detect(
        self,
        app: &App,
        model: Arc<ServedModel>,
        score_threshold: Option<f32>,
    ) -> Result<(Seen, Found), Refusal> {
        let Self { file, width, height, picture, decode } = self;
        let media_type = picture.media_type;
        let found = app.queue.detect(Job { model, score_threshold, picture }).await?;
        app.metrics.took(Part::Queue, found.waited);
        app.metrics.took(Part::Detect, found.detected);
        Ok((Seen { file, width, height, media_type, decode }, found))
    }
}

/// What the images of a request share.
struct Context<'a> {
    model: &'a ServedModel,
    reference: Option<Arc<Reference>>,
    fields: Fields,
    score_threshold: Option<f32>,
    start: Instant,
}

impl Context<'_> {
    /// Puts an image and what was found into the records.
    async fn store(&self, app: &App, board: Seen, found: Found) -> Result<DetectedImage, Refusal> {
        let Seen { file, width, height, media_type, decode } = board;
        let predictor = &self.model.predictor;
        let class = |label| predictor.class_name(label).map(str::to_string);
        app.metrics.found(
            found.detections.iter().map(|one| class(one.label).unwrap_or_else(|| one.label.to_string())),
        );
        let object = |&Detection { xyxy, label, score }: &Detection| records::Found {
            xyxy,
            label,
            name: class(label),
            score,
            verdict: None,
        };
        let media_type = media_type.to_string();
        let image = NewImage { bytes: file.bytes, name: file.name.clone(), width, height, media_type };
        let reference = self.reference.as_ref().map(|reference| {
            let Reference { file, picture } = &**reference;
            let (width, height) = picture.pixels.dimensions();
            let media_type = picture.media_type.to_string();
            NewImage { bytes: file.bytes.clone(), name: file.name.clone(), width, height, media_type }
        });
        let stored = Instant::now();
        let mut milliseconds = Milliseconds {
            decode: in_milliseconds(decode),
            queue: in_milliseconds(found.waited),
            detect: in_milliseconds(found.detected),
            store: None,
            total: in_milliseconds(self.start.elapsed()),
        };
        let new = NewInspection {
            model: named(self.model),
            class_names: predictor.config().class_names.clone(),
            image,
            reference,
            fields: self.fields.clone(),
            score_threshold: self.score_threshold.unwrap_or(predictor.config().roi_heads.score_thresh),
            detections: found.detections.iter().map(object).collect(),
            milliseconds,
            key: None,
        };
        let inspection = app.records.add(new).await.map_err(|error| Refusal::records(&error))?;
        app.metrics.took(Part::Store, stored.elapsed());
        milliseconds.store = Some(in_milliseconds(stored.elapsed()));
        milliseconds.total = in_milliseconds(self.start.elapsed());
        let object = |&Detection { xyxy, label, score }: &Detection| DetectedObject {
            xyxy,
            label,
            name: class(label),
            score,
        };
        let detections = found.detections.iter().map(object).collect();
        Ok(DetectedImage { id: inspection.id, image: file.name, width, height, detections, milliseconds })
    }
}

/// To the microsecond.
fn in_milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
