//! Values without layers: what goes into the detector and comes out of it.
//!
//! Lists whose length depends on the image (annotations, detections) are plain vectors in the host's memory.

mod boxes;
mod corners;
mod detections;
mod image;
mod reference;

pub use self::image::Image;
pub use boxes::{Xyxy, area, clip, intersection, iou};
pub use corners::Corners;
pub use detections::{Annotation, Detection};
pub use reference::{ReferenceAlign, ReferenceInput};
