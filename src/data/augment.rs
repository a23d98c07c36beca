//! Random variation of training images: scale, rotation, flips, quarter turns and crops, each with its boxes,
//! and light.
//!
//! A defect has no preferred direction on a board, so flips and quarter turns give eight views of every image
//! at no cost. Coordinates are continuous: a box `[x1, y1, x2, y2]` covers the pixels `x1..x2`, and a
//! horizontal flip of an image of width `W` takes `x1` to `W - x1`.

use image::{
    Rgb, RgbImage,
    imageops::{self, FilterType},
};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::photometry::Photometry;
use super::random::RandomKey;
use super::reference::update_difference;
use crate::bounds::{self, MAX_SIDE};
use crate::error::Result;
use crate::structures::{Annotation, ReferenceInput, Xyxy, area, clip};

/// If a side of a box is shorter than this after a crop, in pixels, there is nothing to learn from.
const SMALLEST_SIDE: f32 = 1.0;

/// The part of the images that [`AugmentConfig::rotation`] turns. The others keep lines that run along the
/// border, which are by far the most on real boards.
const ROTATED: f64 = 0.5;

/// What may happen to a training image, in this order: inversion, scale, rotation, flips, quarter turns, crop,
/// shift of the reference, light.
///
/// A reference goes with its image through all that changes places. Its light varies by itself: it is another
/// photograph.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentConfig {
    /// Probability that black and white change places, in the reference, too: `value` becomes `255 - value`.
    /// Default 0.
    pub invert: f64,
    /// The label that each label 1, 2, ... has where black and white have changed places: a gap in copper is
    /// then a bridge. Default none: labels stay.
    pub inverted_labels: Vec<usize>,
    /// Probability of mirroring left and right. Default 0.5, as in torchvision's detection references.
    pub horizontal_flip: f64,
    /// Probability of mirroring top and bottom. Default 0.5: boards have no upright direction.
    pub vertical_flip: f64,
    /// Turn by 0, 90, 180 or 270 degrees, equally likely. Default true.
    pub quarter_turns: bool,
    /// `(height, width)` in pixels of a window at a random place, cut out after everything else; an
    /// image that is smaller in a direction keeps its size there. Default none.
    pub crop: Option<(usize, usize)>,
    /// A box stays when at least this part of its area is inside the crop; it is clipped. Default 0.5. A box
    /// of which less than a pixel remains in either direction is dropped, too.
    pub min_visible: f64,
    /// `[lowest, highest]` factor by which the image is enlarged. Default `[1, 1]`: not at all.
    pub scale_jitter: [f64; 2],
    /// Every second image, on average, is turned about its centre by up to so many degrees in either
    /// direction. It keeps its size: corners are cut off, boxes as a crop would, and what comes into view is
    /// black. Default 0. A box becomes that of its inscribed ellipse, turned.
    pub rotation: f64,
    /// The reference is moved against the image by up to this many pixels in each direction, so that the
    /// detector learns to bear what remains after references are aligned. Default 0.
    pub reference_shift: f64,
    /// How much light, noise and the like may change. Default not at all.
    pub photometry: Photometry,
}

impl Default for AugmentConfig {
    fn default() -> Self {
        Self {
            invert: 0.0,
            inverted_labels: Vec::new(),
            horizontal_flip: 0.5,
            vertical_flip: 0.5,
            quarter_turns: true,
            crop: None,
            min_visible: 0.5,
            scale_jitter: [1.0, 1.0],
            rotation: 0.0,
            reference_shift: 0.0,
            photometry: Photometry::default(),
        }
    }
}

impl AugmentConfig {
    /// The configuration that changes nothing.
    pub fn none() -> Self {
        Self { horizontal_flip: 0.0, vertical_flip: 0.0, quarter_turns: false, ..Self::default() }
    }

    /// Checks that the values make sense.
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) if one does not; the message names it.
    pub fn validate(&self) -> Result<()> {
        let parts = [
            ("invert", self.invert),
            ("horizontal_flip", self.horizontal_flip),
            ("vertical_flip", self.vertical_flip),
            ("min_visible", self.min_visible),
        ];
        bounds::all_within(&parts, 0.0..=1.0)?;
        bounds::ensure(!self.inverted_labels.contains(&0), || {
            "inverted_labels must be labels of classes, which begin with 1".to_string()
        })?;
        let [lowest, highest] = self.scale_jitter;
        bounds::ensure(0.1 <= lowest && lowest <= highest && highest <= 10.0, || {
            format!("scale_jitter must be [lowest, highest] in 0.1..=10, is [{lowest}, {highest}]")
        })?;
        bounds::within("rotation", self.rotation, 0.0..=180.0)?;
        bounds::within("reference_shift", self.reference_shift, 0.0..=64.0)?;
        self.photometry.validate()?;
        match self.crop {
            Some((height, width)) => bounds::all_within(&[("crop", height), ("crop", width)], 1..=MAX_SIDE),
            None => Ok(()),
        }
    }
}

/// Varies an image and its boxes. The outcome depends on `key` only, so a run can be repeated and continued
/// whatever the number of loader threads.
///
/// For a detector that takes a reference, the image is a [`pair`](super::pair).
///
/// Boxes are in pixels of `image`, their corners edges, and come back in pixels of the returned one. Only a
/// crop or a rotation drops any. Crowd flags stay, and labels, if the image is not inverted. An area grows with
/// the scale; it becomes `None` if the box is cut.
///
/// # Panics
///
/// Where [`AugmentConfig::validate`] would have returned an error, or a label is beyond
/// [`AugmentConfig::inverted_labels`].
pub fn augment(
    image: RgbImage,
    annotations: &[Annotation],
    config: &AugmentConfig,
    input: ReferenceInput,
    key: RandomKey,
) -> (RgbImage, Vec<Annotation>) {
    if let Err(error) = config.validate() {
        panic!("{error}");
    }
    let mut rng = key.generator();
    let mut view = View { image, annotations: annotations.to_vec() };
    if config.invert > 0.0 && rng.random_bool(config.invert) {
        view.invert(&config.inverted_labels);
    }
    let [lowest, highest] = config.scale_jitter;
    view.scale(rng.random_range(lowest..=highest));
    if config.rotation > 0.0 && rng.random_bool(ROTATED) {
        let degrees = rng.random_range(-config.rotation..=config.rotation);
        view.rotate(degrees.to_radians() as f32, config.min_visible as f32);
    }
    if rng.random_bool(config.horizontal_flip) {
        view.flip_horizontal();
    }
    if rng.random_bool(config.vertical_flip) {
        view.flip_vertical();
    }
    if config.quarter_turns {
        for _ in 0..rng.random_range(0..4) {
            view.quarter_turn();
        }
    }
    if let Some((height, width)) = config.crop {
        let height = height.min(view.image.height() as usize) as u32;
        let width = width.min(view.image.width() as usize) as u32;
        let top = rng.random_range(0..=view.image.height() - height);
        let left = rng.random_range(0..=view.image.width() - width);
        view.crop([left, top], [width, height], config.min_visible as f32);
    }
    let View { mut image, annotations } = view;
    match input {
        ReferenceInput::None => config.photometry.vary(&mut image, 0..3, &mut rng),
        ReferenceInput::Difference => {
            if config.reference_shift > 0.0 {
                let mut shift = || rng.random_range(-config.reference_shift..=config.reference_shift) as f32;
                shift_reference(&mut image, [shift(), shift()]);
            }
            config.photometry.vary(&mut image, 0..1, &mut rng);
            config.photometry.vary(&mut image, 1..2, &mut rng);
            update_difference(&mut image);
        }
    }
    (image, annotations)
}

/// Moves the second channel; values at the border go on outside.
fn shift_reference(pair: &mut RgbImage, [x, y]: [f32; 2]) {
    let (width, height) = (pair.width() as usize, pair.height() as usize);
    let reference: Vec<f32> = pair.pixels().map(|pixel| f32::from(pixel[1])).collect();
    let between = |position: usize, shift: f32, side: usize| {
        let source = (position as f32 + shift).clamp(0.0, (side - 1) as f32);
        let low = source as usize;
        (low, (low + 1).min(side - 1), source - low as f32)
    };
    let columns: Vec<_> = (0..width).map(|column| between(column, x, width)).collect();
    for (row, pixels) in pair.as_flat_samples_mut().samples.chunks_exact_mut(3 * width).enumerate() {
        let (upper, lower, down) = between(row, y, height);
        let (upper, lower) = (&reference[upper * width..], &reference[lower * width..]);
        for (pixel, &(left, right, across)) in pixels.as_chunks_mut::<3>().0.iter_mut().zip(&columns) {
            let top = upper[left] + (upper[right] - upper[left]) * across;
            let bottom = lower[left] + (lower[right] - lower[left]) * across;
            pixel[1] = (top + (bottom - top) * down).round() as u8;
        }
    }
}

/// An image and its boxes on the way through the variations.
struct View {
    image: RgbImage,
    annotations: Vec<Annotation>,
}

impl View {
    fn map_boxes(&mut self, map: impl Fn(Xyxy) -> Xyxy) {
        for annotation in &mut self.annotations {
            annotation.xyxy = map(annotation.xyxy);
        }
    }

    fn invert(&mut self, labels: &[usize]) {
        imageops::invert(&mut self.image);
        if !labels.is_empty() {
            for annotation in &mut self.annotations {
                annotation.label = labels[annotation.label - 1];
            }
        }
    }

    fn scale(&mut self, factor: f64) {
        let (width, height) = self.image.dimensions();
        let scaled = |length: u32| ((length as f64 * factor).round() as u32).max(1);
        let (new_width, new_height) = (scaled(width), scaled(height));
        if (new_width, new_height) == (width, height) {
            return;
        }
        self.image = imageops::resize(&self.image, new_width, new_height, FilterType::Triangle);
        // Uses the sizes instead of the factor, so that boxes follow the rounding to whole pixels.
        let (x, y) = (new_width as f32 / width as f32, new_height as f32 / height as f32);
        self.map_boxes(|[x1, y1, x2, y2]| [x1 * x, y1 * y, x2 * x, y2 * y]);
        for annotation in &mut self.annotations {
            annotation.area = annotation.area.map(|area| area * x * y);
        }
    }

    fn flip_horizontal(&mut self) {
        imageops::flip_horizontal_in_place(&mut self.image);
        let width = self.image.width() as f32;
        self.map_boxes(|[x1, y1, x2, y2]| [width - x2, y1, width - x1, y2]);
    }

    fn flip_vertical(&mut self) {
        imageops::flip_vertical_in_place(&mut self.image);
        let height = self.image.height() as f32;
        self.map_boxes(|[x1, y1, x2, y2]| [x1, height - y2, x2, height - y1]);
    }

    /// Clockwise: what was at the bottom is now on the left.
    fn quarter_turn(&mut self) {
        let height = self.image.height() as f32;
        self.image = imageops::rotate90(&self.image);
        self.map_boxes(|[x1, y1, x2, y2]| [height - y2, x1, height - y1, x2]);
    }

    /// Clockwise, about the centre.
    fn rotate(&mut self, angle: f32, min_visible: f32) {
        let (width, height) = self.image.dimensions();
        let [center_x, center_y] = [width as f32 / 2.0, height as f32 / 2.0];
        let (sin, cos) = angle.sin_cos();
        self.image = RgbImage::from_fn(width, height, |x, y| {
            let [x, y] = [x as f32 + 0.5 - center_x, y as f32 + 0.5 - center_y];
            let source = [cos * x + sin * y + center_x - 0.5, cos * y - sin * x + center_y - 0.5];
            interpolated(&self.image, source)
        });
        self.map_boxes(|[x1, y1, x2, y2]| {
            let [x, y] = [(x1 + x2) / 2.0 - center_x, (y1 + y2) / 2.0 - center_y];
            let [x, y] = [cos * x - sin * y + center_x, cos * y + sin * x + center_y];
            let [a, b] = [(x2 - x1) / 2.0, (y2 - y1) / 2.0];
            let [a, b] = [(a * cos).hypot(b * sin), (a * sin).hypot(b * cos)];
            [x - a, y - b, x + a, y + b]
        });
        self.clip_boxes(min_visible);
    }

    fn crop(&mut self, [left, top]: [u32; 2], [width, height]: [u32; 2], min_visible: f32) {
        self.image = imageops::crop_imm(&self.image, left, top, width, height).to_image();
        let (x, y) = (left as f32, top as f32);
        self.map_boxes(|[x1, y1, x2, y2]| [x1 - x, y1 - y, x2 - x, y2 - y]);
        self.clip_boxes(min_visible);
    }

    /// Cuts boxes at the image's border, and drops those of which too little remains.
    fn clip_boxes(&mut self, min_visible: f32) {
        let size = (self.image.height() as usize, self.image.width() as usize);
        self.annotations.retain_mut(|annotation| {
            let whole = annotation.xyxy;
            let visible = clip(&whole, size);
            annotation.xyxy = visible;
            if visible == whole {
                return true;
            }
            annotation.area = None; // Nobody knows how much of the object was cut off.
            let sides = [visible[2] - visible[0], visible[3] - visible[1]];
            sides.iter().all(|side| *side >= SMALLEST_SIDE) && area(&visible) >= min_visible * area(&whole)
        });
    }
}

/// The color between the centres of four pixels, `[x, y]` of a pixel's centre being its indices; black
/// outside.
fn interpolated(image: &RgbImage, [x, y]: [f32; 2]) -> Rgb<u8> {
    let [left, top] = [x.floor(), y.floor()];
    let [right_part, lower_part] = [x - left, y - top];
    let mut sums = [0.5; 3]; // Rounds.
    for (down, row_part) in [(0.0, 1.0 - lower_part), (1.0, lower_part)] {
        for (right, column_part) in [(0.0, 1.0 - right_part), (1.0, right_part)] {
            let [column, row] = [left + right, top + down];
            if column >= 0.0 && row >= 0.0 {
                // Beyond the last pixel there is none.
                let pixel = image.get_pixel_checked(column as u32, row as u32);
                let values = pixel.map_or([0; 3], |pixel| pixel.0);
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum += row_part * column_part * f32::from(value);
                }
            }
        }
    }
    Rgb(sums.map(|sum| sum as u8))
}

#[cfg(test)]
mod tests;
