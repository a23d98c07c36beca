//! Faster R-CNN.
pub mod structures;
pub mod ops;
mod error;
pub use error::{Error, Result};
