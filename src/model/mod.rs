//! The detector, a file per part, in the order in which an image passes them.
//!
//! ```text
//! images ─ transform ─ ImageList ─ resnet ─ C2..C5 ─ fpn ─ P2..P6 ─ rpn ─ proposals ─ roi_heads ─ detections
//! ```

pub mod anchors;
pub mod box_coder;
pub mod box_head;
mod config;
mod coverage;
pub mod detections;
mod exclusion;
mod faster_rcnn;
pub mod fpn;
pub mod init;
pub mod layers;
pub mod losses;
pub mod matcher;
pub mod network;
mod prepared;
mod resize;
pub mod resnet;
pub mod roi_heads;
pub mod roi_pool;
pub mod rpn;
pub mod sampler;
pub mod scored_boxes;
pub mod stages;
mod tiles;
pub mod transform;

#[cfg(test)]
mod settings_tests;

pub use anchors::AnchorConfig;
pub use box_head::BoxHeadKind;
pub use config::FasterRcnnConfig;
pub use faster_rcnn::{FasterRcnn, Losses};
pub use layers::NormKind;
pub use prepared::PreparedFasterRcnn;
pub use resnet::ResNetDepth;
pub use roi_heads::RoiHeadsConfig;
pub use rpn::RpnConfig;
pub use sampler::Sampling;
pub use tiles::Tiles;
pub use transform::TransformConfig;
