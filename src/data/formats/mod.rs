//! How data sets lie on disk: a module a format.
//!
//! [`Format`] names them, and [`open`] finds out which one a folder has.
//!
//! Each has a function `read`, which gives a [`Dataset`](super::Dataset) and puts everything that is wrong
//! into a [`Report`](super::Report). It is made of the same steps: find the files, parse them into
//! annotations, and make a [`Record`](super::Record) of an image and its annotations. A fault names the file
//! and the line, the row or the annotation. No path in a data set leads out of its folder.

mod classes;
mod coco;
pub mod deep_pcb;
mod files;
mod format;
mod names;
mod select;
mod stored_split;
pub mod tables;
#[cfg(all(test, feature = "data"))]
mod tests;
#[cfg(feature = "data")]
mod voc;
mod writer;
#[cfg(feature = "data")]
mod yolo;

pub use format::{Format, open};
#[cfg(feature = "tables")]
pub use tables::write_tables;
pub use writer::Transfer;

/// Every image in a folder and in the folders below it, sorted, without hidden ones.
///
/// # Errors
///
/// [`Error::Io`](crate::error::Error::Io) where a folder cannot be read.
#[doc(hidden)]
pub fn image_files(folder: &std::path::Path) -> crate::error::Result<Vec<std::path::PathBuf>> {
    files::files_below(folder, files::is_image)
}
#[cfg(feature = "data")]
#[doc(hidden)]
pub use voc::document as voc_document;
#[cfg(feature = "data")]
#[doc(hidden)]
pub use yolo::label_line as yolo_line;
