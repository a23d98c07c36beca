//! An image as it was read, before the model's transform.

use ::image::RgbImage;

/// An RGB image, channels first, values in `0..=1`.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// `[3, H, W]`, row-major.
    data: Vec<f32>,
    /// `(height, width)` in pixels.
    size: (usize, usize),
}

impl Image {
    /// Wraps channels-first data, `[3, H, W]`, row-major, of an image of `(height, width)` pixels.
    ///
    /// # Panics
    ///
    /// If `data` does not hold `3 * height * width` values, or the image is empty.
    pub fn new(data: Vec<f32>, size: (usize, usize)) -> Self {
        let expected = 3 * size.0 * size.1;
        assert!(
            data.len() == expected && expected > 0,
            "an image of (height, width) {size:?} takes [3, height, width], that is {expected} values and at \
             least one, got {}",
            data.len()
        );
        Self { data, size }
    }

    /// The values, `[3, H, W]`, row-major.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// `(height, width)` in pixels.
    pub fn size(&self) -> (usize, usize) {
        self.size
    }
}

impl From<&RgbImage> for Image {
    fn from(image: &RgbImage) -> Self {
        let (width, height) = image.dimensions();
        let size = (height as usize, width as usize);
        let mut data = vec![0.0; 3 * size.0 * size.1];
        let mut planes = data.chunks_exact_mut(size.0 * size.1);
        for channel in 0..3 {
            let plane = planes.next().into_iter().flatten();
            for (value, pixel) in plane.zip(image.as_raw().iter().skip(channel).step_by(3)) {
                *value = f32::from(*pixel) / 255.0;
            }
        }
        Self::new(data, size)
    }
}
