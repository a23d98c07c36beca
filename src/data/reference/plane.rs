//! Grey values as floating point numbers, at several resolutions.

use image::math::Rect;
use image::{GrayImage, RgbImage};

use super::part::grey;

/// Rows that are read together.
const STRIP: u32 = 256;

/// `[height, width]`, row-major.
#[derive(Debug, Clone)]
pub(super) struct Plane {
    pub width: usize,
    pub height: usize,
    pub values: Vec<f32>,
}

impl From<&GrayImage> for Plane {
    fn from(image: &GrayImage) -> Self {
        let (width, height) = image.dimensions();
        let values = image.as_raw().iter().map(|&byte| f32::from(byte)).collect();
        Self { width: width as usize, height: height as usize, values }
    }
}

impl Plane {
    /// An image whose resolution is halved so many times, of which only a strip is in memory as it is.
    pub fn reduced(image: &RgbImage, halvings: u32) -> Self {
        let (width, height) = image.dimensions();
        let rows = (1 << halvings).max(STRIP);
        let mut all = Self { width: width as usize >> halvings, height: 0, values: Vec::new() };
        for y in (0..height).step_by(rows as usize) {
            let strip = grey(image, Rect { x: 0, y, width, height: rows.min(height - y) });
            let strip = (0..halvings).fold(Self::from(&strip), |strip, _| strip.halved());
            all.height += strip.height;
            all.values.extend(strip.values);
        }
        all
    }

    /// Each value is the mean of 2 x 2. An odd last row or column is left out.
    pub fn halved(&self) -> Self {
        let (width, height) = (self.width / 2, self.height / 2);
        let mut values = Vec::with_capacity(width * height);
        for y in 0..height {
            let (upper, lower) = self.values[2 * y * self.width..].split_at(self.width);
            let pairs = upper.as_chunks::<2>().0.iter().zip(lower.as_chunks::<2>().0).take(width);
            values.extend(pairs.map(|(upper, lower)| (upper[0] + upper[1] + lower[0] + lower[1]) / 4.0));
        }
        Self { width, height, values }
    }

    /// With mean 0 and variance 1, so that light and contrast play no part. One of a single grey becomes 0.
    pub fn normalised(mut self) -> Self {
        let count = self.values.len().max(1) as f64;
        let mean = (self.values.iter().map(|value| f64::from(*value)).sum::<f64>() / count) as f32;
        let squares = self.values.iter().map(|value| f64::from((value - mean).powi(2)));
        let variance = (squares.sum::<f64>() / count) as f32;
        let scale = if variance > 1e-6 { variance.sqrt().recip() } else { 0.0 };
        self.values.iter_mut().for_each(|value| *value = (*value - mean) * scale);
        self
    }

    /// Bilinear between pixel centres, at `x`, `y`; none outside.
    #[inline]
    pub fn at(&self, x: f32, y: f32) -> Option<f32> {
        bilinear(&self.values, (self.width, self.height), x, y)
    }
}

/// Bilinear between the centres of the pixels of a picture of `(width, height)`, row-major, at `x`, `y`; none
/// outside.
#[inline]
pub(super) fn bilinear<T>(values: &[T], (width, height): (usize, usize), x: f32, y: f32) -> Option<f32>
where
    T: Copy + Into<f32>,
{
    if !(0.0 <= x && x <= (width - 1) as f32 && 0.0 <= y && y <= (height - 1) as f32) {
        return None;
    }
    let (left, top) = ((x as usize).min(width.saturating_sub(2)), (y as usize).min(height.saturating_sub(2)));
    let (x, y) = (x - left as f32, y - top as f32);
    let row = &values[top * width + left..];
    let (right, below) = (usize::from(width > 1), if height > 1 { width } else { 0 });
    let between = |a: T, b: T, part: f32| a.into() + (b.into() - a.into()) * part;
    let upper = between(row[0], row[right], x);
    let lower = between(row[below], row[below + right], x);
    Some(upper + (lower - upper) * y)
}
