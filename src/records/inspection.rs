//! What is known of an image that was looked at: what was found in it, by which model, and what people say.

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use crate::structures::Xyxy;

/// An image, what a model found in it, and what people said of that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Inspection {
    /// A UUID of version 7: ids sort by time.
    #[cfg_attr(feature = "serve", schema(value_type = String, format = Uuid))]
    pub id: Uuid,
    /// When it was stored, to the millisecond.
    #[cfg_attr(feature = "serve", schema(value_type = String, format = DateTime))]
    pub time: Timestamp,
    /// What looked at the image.
    pub model: Model,
    /// The image.
    pub image: StoredImage,
    /// What the image was compared with, for models that compare.
    pub reference: Option<StoredImage>,
    /// What the client said of it.
    pub fields: Fields,
    /// Detections with this score or less were left out.
    pub score_threshold: f32,
    /// What was found, by falling score.
    pub detections: Vec<Found>,
    /// What people saw that the model did not find.
    pub missed: Vec<Missed>,
    /// When the last verdict was given.
    #[cfg_attr(feature = "serve", schema(value_type = Option<String>, format = DateTime))]
    pub verdict_time: Option<Timestamp>,
    /// Who gave the last verdict.
    pub verdict_by: Option<String>,
    /// How long it took.
    pub milliseconds: Milliseconds,
}

/// The model that looked at an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Model {
    /// Its name in the registry; none for a plain file.
    pub name: Option<String>,
    /// Its number in the registry.
    pub version: Option<u32>,
    /// Of the weight file, hexadecimal.
    pub sha256: String,
}

/// An image that is stored under the SHA-256 of its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct StoredImage {
    /// What the client calls it. It names no file.
    pub name: Option<String>,
    /// In pixels, upright.
    pub width: u32,
    /// In pixels, upright.
    pub height: u32,
    /// Of the file's bytes, hexadecimal.
    pub sha256: String,
    /// Length of the file.
    pub bytes: u64,
    /// Such as `image/png`.
    pub media_type: String,
}

/// What a client says of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Fields {
    /// The production line.
    pub line: Option<String>,
    /// What is produced.
    pub product: Option<String>,
    /// The number of the piece.
    pub board: Option<String>,
}

/// An object that the model found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Found {
    /// `[x1, y1, x2, y2]` in pixels of the image.
    #[serde(rename = "box")]
    #[cfg_attr(feature = "serve", schema(value_type = [f32; 4]))]
    pub xyxy: Xyxy,
    /// Class, counted from 1.
    pub label: usize,
    /// What the class is called, where the model knows.
    pub name: Option<String>,
    /// In `0..=1`.
    pub score: f32,
    /// What a person said of it.
    #[serde(default)]
    pub verdict: Option<Judgement>,
}

/// What a person says of a detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// It is there.
    Real,
    /// There is nothing.
    FalseCall,
}

/// An object that a person saw and the model did not find.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Missed {
    /// `[x1, y1, x2, y2]` in pixels of the image.
    #[serde(rename = "box")]
    #[cfg_attr(feature = "serve", schema(value_type = [f32; 4]))]
    pub xyxy: Xyxy,
    /// Class, counted from 1.
    pub label: usize,
    /// What the class is called. Ignored in a [`Verdict`]: the model's name for the label is stored.
    #[serde(default)]
    pub name: Option<String>,
}

/// What a person says of an image: a word for each detection, and what was missed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// In the order of the detections, one each; none where the person says nothing.
    pub detections: Vec<Option<Judgement>>,
    /// What the model did not find.
    #[serde(default)]
    pub missed: Vec<Missed>,
    /// Who says so.
    #[serde(default)]
    pub by: Option<String>,
    /// The `verdict_time` that this person saw, null for none. Where it is given and another verdict came
    /// meanwhile, nothing is stored. Where it is left out, the verdict replaces any other.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "serve", schema(value_type = Option<String>, format = DateTime))]
    pub seen: Option<Option<Timestamp>>,
}

/// Null is something else than nothing.
fn given<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<Timestamp>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// What became of a [`Verdict`].
#[derive(Debug, Clone, PartialEq)]
pub enum Judged {
    /// It is stored.
    Stored(Inspection),
    /// It is not stored: there is another verdict than the one that was seen. This is the inspection with it.
    Changed(Inspection),
    /// It is not stored: there is no such inspection.
    Missing,
}

/// How long the parts of an inspection took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Milliseconds {
    /// Decoding the image.
    pub decode: f64,
    /// Waiting for the detector.
    pub queue: f64,
    /// The detector.
    pub detect: f64,
    /// Storing; not known yet when the record is written.
    pub store: Option<f64>,
    /// From the first byte; in a record, until it was written.
    pub total: f64,
}

/// An image that is to be stored.
#[derive(Debug, Clone)]
pub struct NewImage {
    /// The file.
    pub bytes: Bytes,
    /// What the client calls it.
    pub name: Option<String>,
    /// In pixels, upright.
    pub width: u32,
    /// In pixels, upright.
    pub height: u32,
    /// Such as `image/png`.
    pub media_type: String,
}

/// What is to be stored. A null character in a text is stored as U+FFFD: PostgreSQL has no place for it.
#[derive(Debug, Clone)]
pub struct NewInspection {
    /// What looked at the image.
    pub model: Model,
    /// The names of all classes that the model knows, from label 1 on; may be empty.
    pub class_names: Vec<String>,
    /// The image.
    pub image: NewImage,
    /// What it was compared with.
    pub reference: Option<NewImage>,
    /// What the client said of it.
    pub fields: Fields,
    /// Detections with this score or less were left out.
    pub score_threshold: f32,
    /// What was found, by falling score.
    pub detections: Vec<Found>,
    /// How long it took so far.
    pub milliseconds: Milliseconds,
    /// Stored only once: a second inspection with the same key is not stored.
    pub key: Option<String>,
}

/// A part of a list, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Page {
    /// The inspections.
    pub items: Vec<Inspection>,
    /// Where the list goes on: `before` of the next call. None at its end.
    #[cfg_attr(feature = "serve", schema(value_type = Option<String>, format = Uuid))]
    pub next: Option<Uuid>,
}

/// The values that filters may have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct FieldValues {
    /// All lines, sorted.
    pub line: Vec<String>,
    /// All products, sorted.
    pub product: Vec<String>,
    /// All classes, sorted; a class without a name is its label.
    pub classes: Vec<String>,
}
