//! How data sets lie on disk: a module a format.
//!
//! [`Format`] names them, and [`open`](super::open) finds out which one a folder has.
//!
//! Each has a function `read`, which gives a [`Dataset`](super::Dataset) and puts everything that is wrong
//! into a [`Report`](super::Report). It is made of the same steps: find the files, parse them into
//! annotations, and make a [`Record`](super::Record) of an image and its annotations. A fault names the file
//! and the line, the row or the annotation. No path in a data set leads out of its folder.

mod classes;
pub mod deep_pcb;
mod files;
mod format;
mod names;
mod select;
pub mod tables;

pub use format::{Format, open};
#[cfg(feature = "tables")]
pub use tables::write_tables;
