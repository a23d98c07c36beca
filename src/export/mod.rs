//! Detectors for other runtimes: ONNX files for ONNX Runtime, OpenVINO, TensorRT and others.
//!
//! Everything is in the graph, from pixels to detections. The host resizes and pads. `docs/onnx.md` has
//! complete programs in Python and Rust, and says what was tried.
//!
//! | input | type | shape | |
//! |---|---|---|---|
//! | `images` | f32 or u8 | `[N, 3, H, W]` | RGB, values in `0..=1` or bytes; H and W are multiples of 32 |
//! | `sizes` | i64 | `[N, 2]` | height and width of each image in `images`; the rest is padding |
//!
//! | output | type | shape | |
//! |---|---|---|---|
//! | `num_detections` | i64 | `[N]` | |
//! | `boxes` | f32 | `[N, D, 4]` | x1, y1, x2, y2 in pixels of `images`, the highest score first |
//! | `scores` | f32 | `[N, D]` | |
//! | `labels` | i64 | `[N, D]` | from 1; 0 is the background |
//!
//! D is the detector's `detections_per_img`. Rows after the last detection are zero. N, H and W are fixed, or
//! free in each call; see [`OnnxOptions`].
//!
//! ```
//! use faster_rcnn::FasterRcnnConfig;
//! use faster_rcnn::burn::tensor::Device;
//! use faster_rcnn::export::{self, OnnxOptions};
//!
//! # fn main() -> faster_rcnn::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("model.onnx");
//! # let config = FasterRcnnConfig::tiny(3);
//! let model = config.init(&Device::flex()); // with random weights
//! let options = OnnxOptions::default().with_batch(1).with_size((64, 64));
//! export::onnx(&model, &options)?.save(path)?;
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//! model ─ layers (folded weights) ┐
//! input ─ backbone ─ rpn ─ roi_heads ─ detector ─ file
//!           (nodes and constants in graph, boxes shared by both stages)
//! ```

mod backbone;
mod boxes;
mod detector;
mod exclusion;
mod file;
mod graph;
mod input;
mod layers;
mod options;
mod proto;
mod roi_heads;
mod rpn;

pub use detector::onnx;
pub use file::OnnxModel;
pub use options::{OnnxOptions, Pixels};
