//! Faster R-CNN.

pub mod data;
mod error;
pub mod model;
pub mod ops;
pub mod structures;

pub use error::{Error, Result};
pub use model::{FasterRcnn, FasterRcnnConfig};
