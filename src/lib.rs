//! Faster R-CNN with a ResNet-FPN backbone, native in Rust on [burn]; equal to torchvision's
//! `fasterrcnn_resnet50_fpn`: same weights in, same numbers out.
//!
//! ```text
//! images ─ transform ─ ImageList ─ resnet ─ C2..C5 ─ fpn ─ P2..P6 ─ rpn ─ Proposals ─ roi_heads ─ Detections
//!                                                              └ losses (training) ┘        └ losses (training)
//! ```
//!
//! Find objects with weights that are there:
//!
//! ```no_run
//! use burn::tensor::Device;
//! use faster_rcnn::Predictor;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let predictor = Predictor::load("best.safetensors", &Device::flex())?;
//! for found in predictor.detect(&image::open("board.jpg")?.into_rgb8())? {
//!     let name = predictor.class_name(found.label).unwrap_or("?");
//!     println!("{name} {:.2} {:?}", found.score, found.xyxy); // pixels of the image
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Train a detector of defects on printed circuit boards:
//!
//! ```no_run
//! use faster_rcnn::data::deep_pcb;
//! use faster_rcnn::train::{Run, RunConfig};
//! use faster_rcnn::{FasterRcnnConfig, NormKind};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = FasterRcnnConfig::resnet50_fpn(7)
//!     .with_class_names(&deep_pcb::CLASS_NAMES)
//!     .with_norm(NormKind::Group)
//!     .with_trainable_layers(5);
//! let config = RunConfig::new(model);
//! let data = deep_pcb::open("PCBData", config.train.seed)?;
//! let outcome = Run::new(config, data).fit("runs/deep_pcb")?;
//! println!("{}", outcome.evaluation);
//! # Ok(())
//! # }
//! ```
//!
//! # Conventions
//!
//! - Names, meanings and defaults are torchvision's; `ARCHITECTURE.md` lists every deviation.
//! - Boxes are `[x1, y1, x2, y2]` in pixels, sizes `(height, width)`; class 0 is the background.
//! - Misuse by a caller panics and prints the shapes; files, weights and settings give an [`Error`] that
//!   names the place.
//! - Every random choice takes a seed.

pub mod data;
mod device;
#[cfg(feature = "draw")]
pub mod draw;
mod error;
pub mod eval;
mod files;
mod heap;
mod model;
pub mod ops;
mod predict;
mod settings;
pub mod structures;
mod text;
#[cfg(feature = "train")]
pub mod train;
pub mod weights;
#[cfg(feature = "workers")]
pub mod workers;

pub use burn;
pub use image;

pub use device::DeviceName;
pub use error::{Cause, Error, Result};
pub use heap::keep_heap;
pub use model::{
    AnchorConfig, BoxHeadKind, FasterRcnn, FasterRcnnConfig, Losses, NormKind, PreparedFasterRcnn,
    ResNetDepth, RoiHeadsConfig, RpnConfig, Sampling, TransformConfig,
};
pub use predict::Predictor;
pub use structures::{Annotation, Detection, Image, Xyxy};

/// For this crate's own program, tests and benches: no part of the library's interface.
#[doc(hidden)]
pub mod internals {
    pub use crate::files::{write_atomically, write_bytes};
    pub use crate::ops::backend::DetectionOps;
    pub use crate::ops::cpu::conv2d_uses_winograd;
    pub use crate::ops::primitives::MapShapes;
    pub use crate::text::read_text;

    /// The parts of the detector.
    pub mod model {
        pub use crate::model::*;
    }
}
