//! Where the bytes of an image are.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use image::RgbImage;

#[cfg(feature = "tables")]
use super::images::size_of;
use super::images::{decode, image_size};
use crate::error::{Error, Result};

#[cfg(feature = "tables")]
use super::table_cell::TableCell;

/// Where the bytes of an image are: in a file, or in a row of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum ImageSource {
    /// A file of its own.
    File(PathBuf),
    /// A row of a Parquet table that holds the bytes of image files.
    #[cfg(feature = "tables")]
    Cell(TableCell),
}

impl ImageSource {
    /// The image file, or the table that holds it.
    pub fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            #[cfg(feature = "tables")]
            Self::Cell(cell) => cell.table(),
        }
    }

    /// The bytes of the image file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] and, for a table, [`Error::File`].
    pub fn read(&self) -> Result<Vec<u8>> {
        match self {
            Self::File(path) => fs::read(path).map_err(Error::io(path)),
            #[cfg(feature = "tables")]
            Self::Cell(cell) => cell.read(),
        }
    }

    /// The pixels, as [`load_image`](super::load_image) gives them.
    ///
    /// # Errors
    ///
    /// As [`load_image`](super::load_image).
    pub fn load(&self) -> Result<RgbImage> {
        decode(&self.place(), &self.read()?)
    }

    /// `(height, width)` in pixels, as [`image_size`] gives it.
    ///
    /// # Errors
    ///
    /// As [`image_size`].
    pub fn size(&self) -> Result<(usize, usize)> {
        match self {
            Self::File(path) => image_size(path),
            #[cfg(feature = "tables")]
            Self::Cell(cell) => size_of(&self.place(), &cell.read()?),
        }
    }

    /// An error about this image.
    pub fn fault(&self, message: impl ToString) -> Error {
        Error::file(self.place(), message)
    }

    /// What errors call it.
    pub(super) fn place(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            #[cfg(feature = "tables")]
            Self::Cell(cell) => cell.place(),
        }
    }
}

/// What errors call it.
impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place().display().fmt(f)
    }
}

impl<P: Into<PathBuf>> From<P> for ImageSource {
    fn from(path: P) -> Self {
        Self::File(path.into())
    }
}
