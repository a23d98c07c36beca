//! How good the detections are: [COCO's average precision](CocoMetrics), [DeepPCB's metric](DeepPcbMetrics),
//! [precision-recall curves](precision_recall()) and a [confusion matrix](confusion_matrix()).
//!
//! All of them work for any data set; the metrics have the names of the benchmarks that they come from.
//! Annotations and detections come in, numbers go out. Nothing here knows about models or files.
//!
//! A number that cannot be known, because there is no ground truth for it, is `None` in Rust, `null` in JSON
//! and `-` in the printed table, where pycocotools prints -1. It is never zero.
//!
//! ```
//! use faster_rcnn::eval::{ImageResult, evaluate};
//! use faster_rcnn::structures::{Annotation, Detection};
//!
//! let image = ImageResult {
//!     annotations: vec![Annotation::new([10.0, 10.0, 30.0, 30.0], 1)],
//!     detections: vec![Detection { xyxy: [10.0, 10.0, 30.0, 28.0], label: 1, score: 0.9 }],
//! };
//! let evaluation = evaluate(&[image], &["scratch", "dent"]);
//! assert_eq!(evaluation.coco.overall.ap50, Some(1.0));
//! assert_eq!(evaluation.coco.per_class[1].1.ap50, None); // no dent is known
//! println!("{evaluation}");
//! ```

mod clean_regions;
mod coco;
mod confusion_matrix;
mod deep_pcb;
mod evaluation;
mod groups;
mod image_result;
mod operating_points;
mod pairs;
mod per_class;
mod ranking;
mod threshold_table;

pub use clean_regions::{clean_images, clean_windows};
pub use coco::{CocoMetrics, CocoStats, PrecisionRecall, precision_recall};
pub use confusion_matrix::{ConfusionMatrix, confusion_matrix};
pub use deep_pcb::{DeepPcbClass, DeepPcbMetrics};
pub use evaluation::{Evaluation, evaluate};
pub use groups::GroupMetrics;
pub use image_result::ImageResult;
pub use operating_points::{
    EscapePoint, FalseCalls, OperatingPoint, OperatingPoints, ReliabilityBin, Thresholds, Tolerances,
    escape_curve, operating_points,
};
pub use pairs::{Pair, pairs};
