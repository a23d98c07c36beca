//! What an exported graph takes.

use crate::bounds::{self, MAX_COUNT, MAX_SIDE};
use crate::error::Result;

/// Sides of the input are multiples of this: the backbone halves its input five times.
pub const SIZE_DIVISIBLE: usize = 32;

/// Of what kind the values of the input are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pixels {
    /// `f32`, in `0..=1`.
    #[default]
    F32,
    /// Bytes, in `0..=255`.
    U8,
}

/// How to export a detector. The default takes any number of images of any size, as `f32`.
///
/// ```
/// use faster_rcnn::export::{OnnxOptions, Pixels};
///
/// let options = OnnxOptions::default().with_batch(1).with_size((640, 640)).with_pixels(Pixels::U8);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OnnxOptions {
    pub(super) batch: Option<usize>,
    pub(super) size: Option<(usize, usize)>,
    pub(super) pixels: Pixels,
    pub(super) full_images: bool,
    pub(super) half: bool,
    pub(super) external_data: bool,
}

impl OnnxOptions {
    /// Takes batches of exactly so many images. Any number without this.
    #[must_use]
    pub fn with_batch(self, images: usize) -> Self {
        Self { batch: Some(images), ..self }
    }

    /// Takes batches of exactly `(height, width)` pixels, multiples of 32 both. Any such size without this.
    #[must_use]
    pub fn with_size(self, size: (usize, usize)) -> Self {
        Self { size: Some(size), ..self }
    }

    /// Sets of what kind the values of the input are.
    #[must_use]
    pub fn with_pixels(self, pixels: Pixels) -> Self {
        Self { pixels, ..self }
    }

    /// Every image fills the whole input: nothing is padding, and the graph has no input `sizes`.
    #[must_use]
    pub fn with_full_images(self, full_images: bool) -> Self {
        Self { full_images, ..self }
    }

    /// Stores weights as `f16`, in half the space. The runtime computes with `f32`, unless it is told
    /// otherwise.
    #[must_use]
    pub fn with_half(self, half: bool) -> Self {
        Self { half, ..self }
    }

    /// Stores weights in a file of their own beside the graph. Without this, that is done only where a single
    /// file would pass 2 GB, which is the most that the format can hold.
    #[must_use]
    pub fn with_external_data(self, external_data: bool) -> Self {
        Self { external_data, ..self }
    }

    /// Finds options that cannot work.
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) names the first one.
    pub(super) fn validate(&self) -> Result<()> {
        if let Some(batch) = self.batch {
            bounds::within("the batch", batch, 1..=MAX_COUNT)?;
        }
        if let Some((height, width)) = self.size {
            for (name, side) in [("height", height), ("width", width)] {
                bounds::within(&format!("the {name} of the input"), side, SIZE_DIVISIBLE..=MAX_SIDE)?;
                bounds::ensure(side.is_multiple_of(SIZE_DIVISIBLE), || {
                    let next = side.next_multiple_of(SIZE_DIVISIBLE);
                    format!(
                        "the {name} of the input must be a multiple of {SIZE_DIVISIBLE}, is {side}: \
                         choose {next}"
                    )
                })?;
            }
        }
        Ok(())
    }
}
