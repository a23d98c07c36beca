//! Values without layers: what flows between the stages of the detector and out of it.
//!
//! What depends on the image in its length (targets, detections) lives on the host as plain vectors.

mod boxes;
mod detections;
mod image;

pub use self::image::Image;
pub use boxes::{Xyxy, area, clip, intersection, iou};
pub use detections::{Annotation, Detection};
