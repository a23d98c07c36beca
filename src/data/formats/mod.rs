//! How data sets lie on disk: a module a format.
//!
//! The module of a format has
//!
//! - `open`, which gives a [`Split`](super::Split): images to train on and images held out;
//! - readers of a part, which give a [`Dataset`](super::Dataset);
//! - `check`, which gives a [`Report`](super::Report) of everything that is wrong, while the others stop at
//!   the first fault.
//!
//! Each is made of the same three steps: find the files, parse their lines into annotations, and make a
//! [`Record`](super::Record) of an image and its annotations. An error names the file and the line.

pub mod deep_pcb;
