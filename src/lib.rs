//! Faster R-CNN.

pub mod data;
pub mod draw;
mod error;
pub mod eval;
pub mod model;
pub mod ops;
mod predict;
pub mod structures;
pub mod train;
pub mod weights;

pub use error::{Error, Result};
pub use model::{FasterRcnn, FasterRcnnConfig, Losses};
pub use predict::Predictor;
