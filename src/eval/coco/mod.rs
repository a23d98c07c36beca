//! COCO's average precision and recall for boxes: the numbers of pycocotools 2.0's `COCOeval`.
//!
//! One class at a time. [`matching`] pairs the detections of an image with its ground truth. [`curve`] sorts
//! the outcomes of all images by falling score and reads precision at 101 recalls. [`stats`] averages the
//! curves. All of it is computed in f64, as in pycocotools.

mod curve;
mod matching;
mod precision_recall;
mod stats;

pub use precision_recall::{PrecisionRecall, precision_recall};
pub use stats::{CocoMetrics, CocoStats};
