//! Values without layers: what flows between the stages of the detector and out of it.
//!
//! Everything whose length depends on the image (proposals, targets, detections) lives on the host
//! as plain vectors; only dense maps of fixed size are device tensors.

mod boxes;
mod detections;
mod image;

pub use self::image::Image;
pub use boxes::{Xyxy, area, clip, intersection, iou, sides_reach};
pub use detections::{Annotation, Detection};
