//! The input transform: resize so that the short side is `min_size` (the long one at most `max_size`),
//! normalise, pad to a multiple of 32 and stack. Also resizes boxes, both ways.
//!
//! Source: torchvision `models/detection/transform.py`. Runs on the host, in parallel, writing each
//! pixel once, straight into the batch. A device in another process gets the bytes of the images, a
//! quarter of the size, and does the same with them.

use burn::tensor::{DType, Device, Int, Tensor, TensorData, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::resize;
use crate::bounds::{self, MAX_SIDE};
use crate::error::Result;
use crate::ops::in_another_process;
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
        let size = (height, width);
        let tensor = if in_another_process(device) {
            self.stack_there(images, &resized_sizes, size, device)
        } else {
            self.stack_here(images, &resized_sizes, size, device)
        };
        ImageList { tensor, resized_sizes, original_sizes }
    }

    /// On the host: `[N, 3, H, W]`.
    fn stack_here(
        &self,
        images: &[Image],
        resized_sizes: &[(usize, usize)],
        (height, width): (usize, usize),
        device: &Device,
    ) -> Tensor<4> {
        let mut batch = vec![0.0; images.len() * 3 * height * width];
        batch.par_chunks_mut(height * width).enumerate().for_each(|(index, plane)| {
            let (image, channel) = (&images[index / 3], index % 3);
            resize::on_host(
                &self.normalized(image, channel),
                image.size(),
                plane,
                width,
                resized_sizes[index / 3],
            );
        });
        Tensor::from_data(TensorData::new(batch, [images.len(), 3, height, width]), device)
    }

    /// On a device in another process: `[N, 3, H, W]`, the numbers of [`stack_here`](Self::stack_here). On a
    /// CPU they are the same bit for bit, because the same operations are done in the same order.
    ///
    /// An image travels as bytes, unless the floating point numbers that become of it are fewer bytes: those
    /// of an image that is resized to less than half of its sides. All that happens to a training image
    /// before gives whole bytes.
    fn stack_there(
        &self,
        images: &[Image],
        resized_sizes: &[(usize, usize)],
        (height, width): (usize, usize),
        device: &Device,
    ) -> Tensor<4> {
        let per_channel = |values: [f32; 3]| Tensor::<1>::from_floats(values, device).reshape([3, 1, 1]);
        let (mean, std) = (per_channel(self.image_mean), per_channel(self.image_std));
        let batch = Tensor::zeros([images.len(), 3, height, width], device);
        images.iter().zip(resized_sizes).enumerate().fold(batch, |batch, (index, (image, &size))| {
            let tensor: Tensor<3> = match image.bytes() {
                Some(bytes) if bytes.len() <= 3 * size.0 * size.1 * size_of::<f32>() => {
                    let values = sent_as_bytes(bytes, image.size(), device);
                    let values = (values / 255.0 - mean.clone()) / std.clone();
                    resize::on_device(values, size)
                }
                _ => self.stack_here(std::slice::from_ref(image), &[size], size, device).squeeze_dim(0),
            };
            let place = s![index..index + 1, .., 0..size.0, 0..size.1];
            batch.slice_assign(place, tensor.unsqueeze())
        })
    }

    /// A channel of an image, before resizing.
    fn normalized(&self, image: &Image, channel: usize) -> Vec<f32> {
        let (mean, std) = (self.image_mean[channel], self.image_std[channel]);
        let mut values = Vec::with_capacity(image.size().0 * image.size().1);
        image.append_channel(channel, |value| (value - mean) / std, &mut values);
        values
    }
}

/// Sends the bytes of an image, `[H, W, 3]`. There they become `[3, H, W]` with values in `0..=255`.
///
/// They travel as integers of four bytes each, because not every GPU has integers of one byte.
fn sent_as_bytes(bytes: &[u8], (height, width): (usize, usize), device: &Device) -> Tensor<3> {
    let planes: Vec<u8> = (0..3).flat_map(|channel| bytes.iter().skip(channel).step_by(3)).copied().collect();
    // An integer has a byte of each quarter of the image, so that the quarters only have to be joined.
    let quarter = planes.len().div_ceil(4);
    let byte = |part: usize, place: usize| planes.get(part * quarter + place).copied().unwrap_or(0);
    let packed: Vec<i32> =
        (0..quarter).map(|place| i32::from_le_bytes(std::array::from_fn(|part| byte(part, place)))).collect();
    let packed = Tensor::<1, Int>::from_data(TensorData::new(packed, [quarter]), (device, DType::I32));
    let parts =
        (0..4).map(|part| packed.clone().bitwise_right_shift_scalar(8 * part).bitwise_and_scalar(255));
    let values = Tensor::cat(parts.collect(), 0).slice(s![0..planes.len()]);
    values.float().reshape([3, height, width])
}

/// A box of an image of size `from`, in pixels of the same image at size `to`; both `(height, width)`.
pub fn resize_box([x1, y1, x2, y2]: &Xyxy, from: (usize, usize), to: (usize, usize)) -> Xyxy {
    let ratio_y = to.0 as f32 / from.0 as f32;
    let ratio_x = to.1 as f32 / from.1 as f32;
    [x1 * ratio_x, y1 * ratio_y, x2 * ratio_x, y2 * ratio_y]
}
