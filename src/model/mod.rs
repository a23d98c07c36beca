//! The detector, a file per stage, in the order an image takes them.
//!
//! ```text
//! images ─ transform ─ ImageList ─ resnet ─ C2..C5 ─ fpn ─ P2..P6 ─ rpn ─ proposals ─ roi_heads ─ detections
//! ```

pub mod anchors;
pub mod box_coder;
pub mod box_head;
pub mod candidates;
mod faster_rcnn;
pub mod fpn;
pub mod init;
pub mod layers;
pub mod losses;
pub mod matcher;
pub mod resnet;
pub mod roi_heads;
pub mod roi_pool;
pub mod rpn;
pub mod sampler;
pub mod transform;

pub use faster_rcnn::{FasterRcnn, FasterRcnnConfig, Losses, Stages};
