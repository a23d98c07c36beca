//! The input transform: resize so that the short side is `min_size` (the long one at most `max_size`),
//! normalise, pad to a multiple of 32 and stack. Also resizes boxes, both ways.
//!
//! Source: torchvision `models/detection/transform.py`. Runs on the host, in parallel, writing each
//! pixel once, straight into the batch.

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::bounds::{self, MAX_SIDE};
use crate::error::Result;
use crate::structures::{Image, Xyxy};

/// A batch: resized, normalised and padded at the right and the bottom to one size.
#[derive(Debug, Clone)]
pub struct ImageList {
    /// `[N, 3, H, W]`, zero where padded.
    pub tensor: Tensor<4>,
    /// Per image, `(height, width)` after resizing and before padding.
    pub resized_sizes: Vec<(usize, usize)>,
    /// Per image, `(height, width)` of the original.
    pub original_sizes: Vec<(usize, usize)>,
}

impl ImageList {
    /// `(height, width)` of the padded batch.
    pub fn padded_size(&self) -> (usize, usize) {
        let [_, _, height, width] = self.tensor.dims();
        (height, width)
    }
}

/// Sizes and statistics of the input transform; defaults are torchvision's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransformConfig {
    /// The short side after resizing, in pixels.
    pub min_size: usize,
    /// The long side's limit, in pixels.
    pub max_size: usize,
    /// Mean of each channel, of values in `0..=1` (ImageNet's).
    pub image_mean: [f32; 3],
    /// Standard deviation of each channel (ImageNet's).
    pub image_std: [f32; 3],
}

impl Default for TransformConfig {
    fn default() -> Self {
        Self {
            min_size: 800,
            max_size: 1333,
            image_mean: [0.485, 0.456, 0.406],
            image_std: [0.229, 0.224, 0.225],
        }
    }
}

/// The backbone halves its input five times, so a side is padded to a multiple of this.
pub(super) const SIZE_DIVISIBLE: usize = 32;

impl TransformConfig {
    /// Finds settings that cannot work.
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) names the first one.
    pub(super) fn validate(&self) -> Result<()> {
        let sides = [("transform.min_size", self.min_size), ("transform.max_size", self.max_size)];
        bounds::all_within(&sides, 1..=MAX_SIDE)?;
        bounds::ensure(self.min_size <= self.max_size, || {
            format!(
                "transform.min_size must not be above max_size, is {} of {}",
                self.min_size, self.max_size
            )
        })?;
        for (mean, std) in self.image_mean.iter().zip(&self.image_std) {
            bounds::within("transform.image_mean", *mean, -1e6..=1e6)?;
            bounds::within("transform.image_std", *std, 1e-6..=1e6)?;
        }
        Ok(())
    }

    /// `(height, width)` after resizing an image of `(height, width)`.
    pub fn resized_size(&self, (height, width): (usize, usize)) -> (usize, usize) {
        // In f64 throughout, as in torchvision, so that a size on the edge between two pixels is rounded the
        // same way.
        let (short, long) = (height.min(width) as f64, height.max(width) as f64);
        let scale = (self.min_size as f64 / short).min(self.max_size as f64 / long);
        let resize = |side: usize| ((side as f64 * scale).floor() as usize).max(1);
        (resize(height), resize(width))
    }

    /// Resizes, normalises, pads and stacks `images`.
    ///
    /// # Panics
    ///
    /// If there is no image.
    pub fn batch(&self, images: &[Image], device: &Device) -> ImageList {
        assert!(!images.is_empty(), "a batch needs at least one image");
        let original_sizes: Vec<_> = images.iter().map(Image::size).collect();
        let resized_sizes: Vec<_> = original_sizes.iter().map(|&size| self.resized_size(size)).collect();
        let padded = |side: fn(&(usize, usize)) -> usize| {
            resized_sizes.iter().map(side).max().unwrap_or(0).next_multiple_of(SIZE_DIVISIBLE)
        };
        let (height, width) = (padded(|size| size.0), padded(|size| size.1));
        let mut batch = vec![0.0; images.len() * 3 * height * width];
        batch.par_chunks_mut(height * width).enumerate().for_each(|(index, plane)| {
            let (image, channel) = (&images[index / 3], index % 3);
            let (mean, std) = (self.image_mean[channel], self.image_std[channel]);
            let mut source = Vec::with_capacity(image.size().0 * image.size().1);
            image.append_channel(channel, |value| (value - mean) / std, &mut source);
            resize_bilinear(&source, image.size(), plane, width, resized_sizes[index / 3]);
        });
        let tensor = Tensor::from_data(TensorData::new(batch, [images.len(), 3, height, width]), device);
        ImageList { tensor, resized_sizes, original_sizes }
    }
}

/// A box of an image of size `from`, in pixels of the same image at size `to`; both `(height, width)`.
pub fn resize_box([x1, y1, x2, y2]: &Xyxy, from: (usize, usize), to: (usize, usize)) -> Xyxy {
    let ratio_y = to.0 as f32 / from.0 as f32;
    let ratio_x = to.1 as f32 / from.1 as f32;
    [x1 * ratio_x, y1 * ratio_y, x2 * ratio_x, y2 * ratio_y]
}

/// Bilinear resizing of one plane with half-pixel centres (`align_corners = false`), into the top left
/// of `output`, whose rows are `stride` long.
fn resize_bilinear(
    source: &[f32],
    (height, width): (usize, usize),
    output: &mut [f32],
    stride: usize,
    (to_height, to_width): (usize, usize),
) {
    let columns = interpolation(width, to_width);
    let rows = interpolation(height, to_height);
    for ((y_low, y_high, y_part), output) in rows.into_iter().zip(output.chunks_exact_mut(stride)) {
        let low = &source[y_low * width..][..width];
        let high = &source[y_high * width..][..width];
        for (value, &(x_low, x_high, x_part)) in output.iter_mut().zip(&columns) {
            let top = low[x_low] * (1.0 - x_part) + low[x_high] * x_part;
            let bottom = high[x_low] * (1.0 - x_part) + high[x_high] * x_part;
            *value = top * (1.0 - y_part) + bottom * y_part;
        }
    }
}

/// For each output position along an axis: the two inputs that it lies between, and the weight of the second.
fn interpolation(from: usize, to: usize) -> Vec<(usize, usize, f32)> {
    let scale = from as f32 / to as f32;
    (0..to)
        .map(|position| {
            let source = (scale * (position as f32 + 0.5) - 0.5).max(0.0);
            let low = (source as usize).min(from - 1);
            (low, (low + 1).min(from - 1), source - low as f32)
        })
        .collect()
}
