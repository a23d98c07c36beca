//! Windows of large images.

use serde::{Deserialize, Serialize};

use crate::bounds::{self, MAX_SIDE};
use crate::error::Result;

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
    /// Windows for a detector that is trained on crops of `(height, width)` pixels. They overlap by a quarter.
    pub(crate) fn like_crops((height, width): (usize, usize)) -> Self {
        let size = height.min(width);
        Self { size, overlap: size / 4 }
    }

    /// Finds sizes that cannot work.
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) unless `0 < size <= 16384` and `overlap < size`.
    pub fn validate(&self) -> Result<()> {
        bounds::within("tiles.size", self.size, 1..=MAX_SIDE)?;
        bounds::within("tiles.overlap", self.overlap, 0..=self.size - 1)
    }
}
