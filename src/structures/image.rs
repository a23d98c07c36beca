//! An image as it was read, before the model's transform.

use std::array;
use std::borrow::Cow;

use ::image::RgbImage;
use ::image::math::Rect;

/// An RGB image with values in `0..=1`.
///
/// An image from a file keeps its bytes until the model's transform: they take a quarter of the memory of
/// floating point numbers, and an [`RgbImage`] is taken over without a copy. A byte `b` stands for the value
/// `b / 255`.
#[derive(Debug, Clone)]
pub struct Image {
    pixels: Pixels,
    /// `(height, width)` in pixels.
    size: (usize, usize),
}

#[derive(Debug, Clone)]
enum Pixels {
    /// `[H, W, 3]`, row-major.
    Bytes(Vec<u8>),
    /// `[3, H, W]`, row-major.
    Floats(Vec<f32>),
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
        Self { pixels: Pixels::Floats(data), size }
    }

    /// The values, `[3, H, W]`, row-major. Computed here if the image holds bytes.
    pub fn data(&self) -> Cow<'_, [f32]> {
        match &self.pixels {
            Pixels::Floats(data) => Cow::Borrowed(data),
            Pixels::Bytes(bytes) => {
                let mut data = Vec::with_capacity(bytes.len());
                for channel in 0..3 {
                    self.append_channel(channel, |value| value, &mut data);
                }
                Cow::Owned(data)
            }
        }
    }

    /// Appends `map` of each value of a channel, `[H, W]`, row-major.
    pub(crate) fn append_channel(&self, channel: usize, map: impl Fn(f32) -> f32, to: &mut Vec<f32>) {
        match &self.pixels {
            Pixels::Floats(data) => {
                let pixels = self.size.0 * self.size.1;
                to.extend(data[channel * pixels..][..pixels].iter().map(|&value| map(value)));
            }
            Pixels::Bytes(bytes) => {
                let mapped: [f32; 256] = array::from_fn(|byte| map(byte as f32 / 255.0));
                let (pixels, _) = bytes.as_chunks::<3>();
                to.extend(pixels.iter().map(|pixel| mapped[usize::from(pixel[channel])]));
            }
        }
    }

    /// The bytes of an image that holds them, `[H, W, 3]`, row-major.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match &self.pixels {
            Pixels::Bytes(bytes) => Some(bytes),
            Pixels::Floats(_) => None,
        }
    }

    /// A part of the image.
    pub(crate) fn crop(&self, part: Rect) -> Self {
        let [x, y, across, down] = [part.x, part.y, part.width, part.height].map(|side| side as usize);
        let (rows, columns) = (y..y + down, x..x + across);
        let (height, width) = self.size;
        let line = |start: usize, of: usize| start + of * columns.start..start + of * columns.end;
        let pixels = match &self.pixels {
            Pixels::Bytes(bytes) => Pixels::Bytes(
                rows.clone().flat_map(|row| &bytes[line(3 * row * width, 3)]).copied().collect(),
            ),
            Pixels::Floats(data) => {
                let starts =
                    (0..3).flat_map(|channel| rows.clone().map(move |row| (channel * height + row) * width));
                Pixels::Floats(starts.flat_map(|start| &data[line(start, 1)]).copied().collect())
            }
        };
        Self { pixels, size: (rows.len(), columns.len()) }
    }

    /// The image mirrored along its diagonal, if `transposed`, and then from left to right and from top to bottom.
    pub(crate) fn turned(&self, transposed: bool, [across, down]: [bool; 2]) -> Self {
        let (height, width) = self.size;
        let (rows, columns) = if transposed { (width, height) } else { (height, width) };
        let source = |row: usize, column: usize| {
            let row = if down { rows - 1 - row } else { row };
            let column = if across { columns - 1 - column } else { column };
            if transposed { column * width + row } else { row * width + column }
        };
        let sources = || (0..rows).flat_map(|row| (0..columns).map(move |column| source(row, column)));
        let pixels = match &self.pixels {
            Pixels::Bytes(bytes) => {
                let (pixels, _) = bytes.as_chunks::<3>();
                Pixels::Bytes(sources().flat_map(|source| pixels[source]).collect())
            }
            Pixels::Floats(data) => {
                let channels = data.chunks(height * width);
                Pixels::Floats(channels.flat_map(|channel| sources().map(|source| channel[source])).collect())
            }
        };
        Self { pixels, size: (rows, columns) }
    }

    /// `(height, width)` in pixels.
    pub fn size(&self) -> (usize, usize) {
        self.size
    }
}

/// Images are equal if their values are, however they are held.
impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        self.size == other.size
            && match (&self.pixels, &other.pixels) {
                (Pixels::Bytes(bytes), Pixels::Bytes(others)) => bytes == others,
                _ => self.data() == other.data(),
            }
    }
}

/// # Panics
///
/// If the image is empty.
impl From<RgbImage> for Image {
    fn from(image: RgbImage) -> Self {
        let (width, height) = image.dimensions();
        assert!(width > 0 && height > 0, "an image has at least one pixel, got {width} x {height}");
        let size = (height as usize, width as usize);
        let mut bytes = image.into_raw();
        // The buffer of an `RgbImage` may be longer than the image.
        bytes.truncate(3 * size.0 * size.1);
        Self { pixels: Pixels::Bytes(bytes), size }
    }
}

/// # Panics
///
/// If the image is empty.
impl From<&RgbImage> for Image {
    fn from(image: &RgbImage) -> Self {
        Self::from(image.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_floats_of_the_same_values_are_the_same_image() {
        let bytes = RgbImage::from_fn(16, 16, |x, y| [x as u8 * 16 + y as u8, y as u8, 255 - x as u8].into());
        let planes = (0..3).flat_map(|channel| {
            bytes.as_raw().iter().skip(channel).step_by(3).map(|&byte| f32::from(byte) / 255.0)
        });
        let floats = Image::new(planes.collect(), (16, 16));
        let image = Image::from(&bytes);
        assert_eq!((image.size(), image.data()), (floats.size(), floats.data()));
        assert_eq!(image, floats);
        for channel in 0..3 {
            let normalised = |image: &Image| {
                let mut values = Vec::new();
                image.append_channel(channel, |value| (value - 0.485) / 0.229, &mut values);
                values
            };
            assert_eq!(normalised(&image), normalised(&floats));
        }

        let place = Rect { x: 5, y: 2, width: 11, height: 7 };
        assert_eq!(image.crop(place), floats.crop(place));
        let part = ::image::imageops::crop_imm(&bytes, 5, 2, 11, 7).to_image();
        assert_eq!(image.crop(place), Image::from(part));

        let mut other = bytes.clone();
        other.get_pixel_mut(3, 5)[1] ^= 1;
        assert_ne!(Image::from(other.clone()), image);
        assert_ne!(Image::from(other), floats);
        let turned = RgbImage::from_raw(8, 32, bytes.as_raw().clone()).unwrap();
        assert_ne!(Image::from(turned), image);
        let longer = RgbImage::from_raw(16, 16, [bytes.into_raw(), vec![9; 7]].concat()).unwrap();
        assert_eq!(Image::from(longer), image);
    }
}
