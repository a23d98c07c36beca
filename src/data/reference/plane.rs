//! Grey values as floating point numbers, at several resolutions.

use image::GrayImage;

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
        if !(0.0 <= x && x <= (self.width - 1) as f32 && 0.0 <= y && y <= (self.height - 1) as f32) {
            return None;
        }
        let (left, top) =
            ((x as usize).min(self.width.saturating_sub(2)), (y as usize).min(self.height.saturating_sub(2)));
        let (x, y) = (x - left as f32, y - top as f32);
        let row = &self.values[top * self.width + left..];
        let (right, below) = (usize::from(self.width > 1), if self.height > 1 { self.width } else { 0 });
        let upper = row[0] + (row[right] - row[0]) * x;
        let lower = row[below] + (row[below + right] - row[below]) * x;
        Some(upper + (lower - upper) * y)
    }
}
