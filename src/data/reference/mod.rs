//! An image beside its reference: a picture of the same thing without objects, such as a good board.
//!
//! ```text
//! reference ─ align ─ fit? ─┐
//! image ────────────────────┴─ pair: image, reference, |image - reference| ─ detector
//! ```

#[cfg(feature = "align")]
mod align;
mod moments;
mod part;
#[cfg(feature = "align")]
mod plane;

use image::math::Rect;
use image::{GrayImage, RgbImage, imageops};

use moments::Moments;
use part::{grey, parts};

use crate::error::{Error, Result};
use crate::structures::ReferenceAlign;

/// A reference that correlates less with its image than this shows something else. As they are, the
/// references of DeepPCB's 1,000 boards have 0.44 at least, but for three that are blank, and those of
/// another kind of board 0.23 at most (of 200 pairs). A neighbour on the same plate can fit as well as the
/// right one, so it is not found out.
const SMALLEST_FIT: f64 = 0.3;
/// An image is looked at in parts of at least so many pixels a side, and less than twice as many.
const PART: u32 = 640;

/// The image and its reference as one picture: red is the image, green the reference, blue their absolute
/// difference, all of them grey values. This is what a detector with
/// [`ReferenceInput::Difference`](crate::ReferenceInput::Difference) takes.
///
/// # Errors
///
/// [`Error::Reference`] if the two differ in size, or show different things.
pub fn pair(image: &RgbImage, reference: &RgbImage, align: ReferenceAlign) -> Result<RgbImage> {
    Ok(Aligned::fitting(image, reference, align)?.whole())
}

/// An image and its reference, as it fits best. Any part of the two can be had as a picture.
pub(crate) struct Aligned<'a> {
    image: &'a RgbImage,
    reference: &'a RgbImage,
    /// Where the reference is moved. One that fits as it is, is not made worse.
    #[cfg(feature = "align")]
    blocks: Vec<align::Block>,
    /// What the two have in common.
    moments: Moments,
}

impl<'a> Aligned<'a> {
    /// Brings the reference onto the image.
    ///
    /// # Errors
    ///
    /// [`Error::Reference`] if the two differ in size.
    pub fn new(image: &'a RgbImage, reference: &'a RgbImage, align: ReferenceAlign) -> Result<Self> {
        if image.dimensions() != reference.dimensions() {
            let [(width, height), (other_width, other_height)] =
                [image, reference].map(|image| image.dimensions());
            return Err(Error::Reference(format!(
                "the reference has {other_width} x {other_height} pixels, the image {width} x {height}"
            )));
        }
        #[cfg(feature = "align")]
        if align != ReferenceAlign::Off {
            let (blocks, moments) = align::blocks(image, reference, align == ReferenceAlign::Affine);
            return Ok(Self { image, reference, blocks, moments });
        }
        // Settings that ask for more are refused where the feature `align` is not built in.
        let _ = align;
        let parts = parts(image.dimensions(), PART).into_iter();
        let moments = parts.map(|part| Moments::of(&grey(image, part), &grey(reference, part)));
        Ok(Self {
            image,
            reference,
            #[cfg(feature = "align")]
            blocks: Vec::new(),
            moments: moments.fold(Moments::default(), Moments::and),
        })
    }

    /// As [`new`](Self::new).
    ///
    /// # Errors
    ///
    /// [`Error::Reference`] also if the two show different things.
    pub fn fitting(image: &'a RgbImage, reference: &'a RgbImage, align: ReferenceAlign) -> Result<Self> {
        let aligned = Self::new(image, reference, align)?;
        match aligned.fault() {
            Some(fault) => Err(Error::Reference(fault)),
            None => Ok(aligned),
        }
    }

    /// What is wrong with the reference, if anything is.
    pub fn fault(&self) -> Option<String> {
        let fit = self.moments.correlation();
        (fit < SMALLEST_FIT).then(|| {
            format!(
                "the reference does not show what the image shows: their correlation is {fit:.2}, at least \
                 {SMALLEST_FIT} is expected"
            )
        })
    }

    /// All of the [`pair`].
    pub fn whole(&self) -> RgbImage {
        let (width, height) = self.image.dimensions();
        self.part(Rect { x: 0, y: 0, width, height })
    }

    /// A part of the [`pair`].
    pub fn part(&self, part: Rect) -> RgbImage {
        let image = grey(self.image, part);
        #[cfg_attr(not(feature = "align"), expect(unused_mut, reason = "nothing moves"))]
        let mut reference = grey(self.reference, part);
        #[cfg(feature = "align")]
        self.blocks.iter().for_each(|block| block.paint(self.reference, &image, part, &mut reference));
        joined(&image, &reference)
    }
}

/// A clean image that is its own reference.
pub(super) fn pair_with_itself(image: &RgbImage) -> RgbImage {
    let image = imageops::grayscale(image);
    joined(&image, &image)
}

/// Sets the third channel of a [`pair`] to the difference of the first two.
pub(super) fn update_difference(pair: &mut RgbImage) {
    for pixel in pair.pixels_mut() {
        pixel[2] = pixel[0].abs_diff(pixel[1]);
    }
}

fn joined(image: &GrayImage, reference: &GrayImage) -> RgbImage {
    let (width, height) = image.dimensions();
    let pixels = image.as_raw().iter().zip(reference.as_raw());
    let bytes =
        pixels.flat_map(|(&image, &reference)| [image, reference, image.abs_diff(reference)]).collect();
    RgbImage::from_raw(width, height, bytes).expect("three bytes a pixel")
}

#[cfg(test)]
mod tests;
