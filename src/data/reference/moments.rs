//! Sums over the pixels of two pictures.

use image::GrayImage;

/// Of grey values `a` and `b`: count, and the sums of `a`, `b`, `a^2`, `b^2` and `a b`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moments([u64; 6]);

impl Moments {
    /// Of all pixels of two pictures of one size.
    pub fn of(image: &GrayImage, reference: &GrayImage) -> Self {
        let mut moments = Self::default();
        image.as_raw().iter().zip(reference.as_raw()).for_each(|(a, b)| moments.add(*a, *b));
        moments
    }

    #[inline]
    pub fn add(&mut self, a: u8, b: u8) {
        let (a, b) = (u64::from(a), u64::from(b));
        let terms = [1, a, b, a * a, b * b, a * b];
        self.0.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
    }

    /// Of the pixels of both.
    pub fn and(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(sum, other)| *sum += other);
        self
    }

    /// Pixels.
    #[cfg(feature = "align")]
    pub fn count(&self) -> u64 {
        self.0[0]
    }

    /// Pearson's correlation: 1 for equal pictures, also if one is darker; about 0 for pictures that have
    /// nothing to do with each other. 1 if both are of a single grey, 0 if one is.
    pub fn correlation(&self) -> f64 {
        let count = self.0[0].max(1) as f64;
        let [_, a, b, aa, bb, ab] = self.0.map(|sum| sum as f64 / count);
        let variances = [aa - a * a, bb - b * b];
        match variances.map(|variance| variance <= 1e-9) {
            [true, true] => 1.0,
            [false, false] => (ab - a * b) / (variances[0] * variances[1]).sqrt(),
            _ => 0.0,
        }
    }
}
