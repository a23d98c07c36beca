//! Windows of large images.

use serde::{Deserialize, Serialize};

#[cfg(feature = "train")]
use super::transform::TransformConfig;
use crate::bounds::{self, MAX_SIDE};
use crate::error::Result;

/// Smaller windows would be too many.
const LEAST_SIZE: usize = 32;

/// Windows that an image is looked at through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tiles {
    /// Height and width of a window, in pixels of the image. The detector resizes a window as it would an
    /// image of this size, so it should be the size of the images that it was trained on.
    pub size: usize,
    /// By how much windows overlap at least, in pixels: as much as the largest object, and 4 pixels more.
    pub overlap: usize,
}

impl Tiles {
    /// Windows for a detector that is trained on crops of `(height, width)` pixels: as large as a square has
    /// to be to be resized as they are. They overlap by a quarter.
    #[cfg(feature = "train")]
    pub(crate) fn like_crops((height, width): (usize, usize), transform: &TransformConfig) -> Self {
        let (short, long) = (height.min(width), height.max(width));
        let as_long = (long * transform.min_size.min(transform.max_size)).div_ceil(transform.max_size);
        let size = short.max(as_long).max(LEAST_SIZE);
        Self { size, overlap: size / 4 }
    }

    /// Finds sizes that cannot work.
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) unless `32 <= size <= 16384` and `overlap <= size / 2`.
    pub fn validate(&self) -> Result<()> {
        bounds::within("tiles.size", self.size, LEAST_SIZE..=MAX_SIDE)?;
        bounds::within("tiles.overlap", self.overlap, 0..=self.size / 2)
    }
}
