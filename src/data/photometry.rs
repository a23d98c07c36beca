//! Random light, contrast, noise, blur and thickness of lines: what differs between two photographs of one
//! board.

use image::{RgbImage, imageops};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::bounds;
use crate::error::Result;

/// The least standard deviation of a blur that changes anything, in pixels.
const LEAST_BLUR: f32 = 0.3;
/// Numbers of a normal distribution that are drawn anew for each image; its pixels pick among them.
const NORMAL_NUMBERS: usize = 1 << 12;

/// The most that each image may change. The defaults change nothing.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Photometry {
    /// Largest change of all values, as a part of their range, up or down.
    pub brightness: f64,
    /// Largest change of the contrast: values move from or to the middle of their range by a factor in
    /// `1 - contrast..=1 + contrast`.
    pub contrast: f64,
    /// Largest standard deviation of the noise of a pixel, as a part of the range; all channels get the same.
    pub noise: f64,
    /// Largest standard deviation of a Gaussian blur, in pixels.
    pub blur: f64,
    /// How much lines may grow or shrink, in pixels on each side, up to 1: values move towards the largest or
    /// the smallest one around.
    pub morphology: f64,
}

impl Photometry {
    /// Checks that the values make sense.
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) if one does not; the message names it.
    pub(super) fn validate(&self) -> Result<()> {
        let parts = [
            ("photometry.brightness", self.brightness),
            ("photometry.contrast", self.contrast),
            ("photometry.noise", self.noise),
            ("photometry.morphology", self.morphology),
        ];
        bounds::all_within(&parts, 0.0..=1.0)?;
        bounds::within("photometry.blur", self.blur, 0.0..=10.0)
    }

    /// Varies some channels of an image together.
    pub(super) fn vary(&self, image: &mut RgbImage, channels: std::ops::Range<usize>, rng: &mut impl Rng) {
        if self.morphology > 0.0 {
            grow(image, channels.clone(), rng.random_range(-self.morphology..=self.morphology) as f32);
        }
        if self.blur > 0.0 {
            blur(image, channels.clone(), rng.random_range(0.0..=self.blur) as f32);
        }
        if self.brightness > 0.0 || self.contrast > 0.0 {
            let shift = 255.0 * rng.random_range(-self.brightness..=self.brightness);
            let factor = rng.random_range(1.0 - self.contrast..=1.0 + self.contrast);
            let map: [u8; 256] =
                std::array::from_fn(|value| ((value as f64 - 127.5) * factor + 127.5 + shift).round() as u8);
            for pixel in image.pixels_mut() {
                pixel.0[channels.clone()].iter_mut().for_each(|value| *value = map[usize::from(*value)]);
            }
        }
        if self.noise > 0.0 {
            noise(image, channels, 255.0 * rng.random_range(0.0..=self.noise), rng);
        }
    }
}

/// Moves each value by `by` towards the largest of the 3 x 3 around it, or by `-by` towards the smallest.
fn grow(image: &mut RgbImage, channels: std::ops::Range<usize>, by: f32) {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let pick = if by > 0.0 { u8::max } else { u8::min };
    for channel in channels {
        let plane: Vec<u8> = image.pixels().map(|pixel| pixel[channel]).collect();
        let mut of_rows = plane.clone();
        for (row, picked) in plane.chunks(width).zip(of_rows.chunks_mut(width)) {
            for x in 0..width {
                picked[x] = pick(pick(row[x.saturating_sub(1)], row[x]), row[(x + 1).min(width - 1)]);
            }
        }
        for (index, pixel) in image.pixels_mut().enumerate() {
            let (x, y) = (index % width, index / width);
            let at = |y: usize| of_rows[y * width + x];
            let picked = pick(pick(at(y.saturating_sub(1)), at(y)), at((y + 1).min(height - 1)));
            let value = f32::from(pixel[channel]);
            pixel[channel] = (value + by.abs() * (f32::from(picked) - value)).round() as u8;
        }
    }
}

fn blur(image: &mut RgbImage, channels: std::ops::Range<usize>, deviation: f32) {
    if deviation < LEAST_BLUR {
        return;
    }
    for channel in channels {
        let plane = image::GrayImage::from_raw(
            image.width(),
            image.height(),
            image.pixels().map(|pixel| pixel[channel]).collect(),
        );
        let blurred = imageops::blur(&plane.expect("a byte a pixel"), deviation);
        for (pixel, value) in image.pixels_mut().zip(blurred.as_raw()) {
            pixel[channel] = *value;
        }
    }
}

fn noise(image: &mut RgbImage, channels: std::ops::Range<usize>, deviation: f64, rng: &mut impl Rng) {
    let numbers: Vec<i16> = (0..NORMAL_NUMBERS)
        .map(|_| {
            let number: f64 = rng.sample(rand_distr::StandardNormal);
            (deviation * number).round() as i16
        })
        .collect();
    let mut bytes = vec![0; 2 * (image.width() * image.height()) as usize];
    rng.fill_bytes(&mut bytes);
    for (pixel, index) in image.pixels_mut().zip(bytes.as_chunks::<2>().0) {
        let number = numbers[usize::from(u16::from_le_bytes(*index)) % NORMAL_NUMBERS];
        for value in &mut pixel.0[channels.clone()] {
            *value = (i16::from(*value) + number).clamp(0, 255) as u8;
        }
    }
}
