//! YOLO's layout, as ultralytics has it (<https://docs.ultralytics.com/datasets/detect/>): a text file an
//! image.
//!
//! ```text
//! data.yaml                     classes; train, val and test: folders or lists of images
//! images/train/NAME.jpg
//! labels/train/NAME.txt         an object a line: `class x y width height`
//! references/train/NAME.jpg     beyond YOLO: the image's reference
//! ```
//!
//! Classes count from 0. Centre and size are parts of the image's width and height. An empty or missing label
//! file is an image without objects. A line of more numbers is a polygon, of which the box is taken. Without
//! `data.yaml`, there may be `images/`, `labels/` and a `classes.txt`.
//!
//! Paths of the file that lead out of its folder are errors, but a `../` at their beginning is left out,
//! since Roboflow writes it.

mod beside;
mod labels;
mod read;
#[cfg(test)]
mod tests;
mod write;
mod yaml;

pub use labels::label_line;
pub(super) use read::{is_yolo, read};
pub(super) use write::write;
