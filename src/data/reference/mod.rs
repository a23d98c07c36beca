//! An image beside its reference: a picture of the same thing without objects, such as a good board.
//!
//! ```text
//! reference ─ align ─ fit? ─┐
//! image ────────────────────┴─ pair: image, reference, |image - reference| ─ detector
//! ```

#[cfg(feature = "align")]
mod align;
#[cfg(feature = "align")]
mod plane;

use image::{GrayImage, RgbImage, imageops};

use crate::error::{Error, Result};
use crate::structures::ReferenceAlign;

/// A reference that correlates less with its image than this shows something else. As they are, the
/// references of DeepPCB's 1,000 boards have 0.44 at least, and those of another kind of board 0.23 at most
/// (of 200 pairs). A neighbour on the same plate can fit as well as the right one, so it is not found out.
const SMALLEST_FIT: f64 = 0.3;

/// The image and its reference as one picture: red is the image, green the reference, blue their absolute
/// difference, all of them grey values. This is what a detector with
/// [`ReferenceInput::Difference`](crate::ReferenceInput::Difference) takes.
///
/// # Errors
///
/// [`Error::Reference`] if the two differ in size, or show different things.
pub fn pair(image: &RgbImage, reference: &RgbImage, align: ReferenceAlign) -> Result<RgbImage> {
    if image.dimensions() != reference.dimensions() {
        let [(width, height), (other_width, other_height)] =
            [image, reference].map(|image| image.dimensions());
        return Err(Error::Reference(format!(
            "the reference has {other_width} x {other_height} pixels, the image {width} x {height}"
        )));
    }
    let [image, reference] = [image, reference].map(imageops::grayscale);
    let moved = aligned(&image, &reference, align);
    let [fit_as_it_is, fit_moved] = [&reference, &moved].map(|reference| correlation(&image, reference));
    // A reference that fits already is not made worse.
    let (reference, fit) =
        if fit_moved > fit_as_it_is { (moved, fit_moved) } else { (reference, fit_as_it_is) };
    if fit < SMALLEST_FIT {
        return Err(Error::Reference(format!(
            "the reference does not show what the image shows: their correlation is {fit:.2}, at least \
             {SMALLEST_FIT} is expected"
        )));
    }
    Ok(joined(&image, &reference))
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

#[cfg(feature = "align")]
fn aligned(image: &GrayImage, reference: &GrayImage, align: ReferenceAlign) -> GrayImage {
    match align {
        ReferenceAlign::Off => reference.clone(),
        ReferenceAlign::Translation => align::by_translation(image, reference),
        ReferenceAlign::Affine => align::by_affine_map(image, reference),
    }
}

/// Settings that ask for more are refused where the feature `align` is not built in.
#[cfg(not(feature = "align"))]
fn aligned(_: &GrayImage, reference: &GrayImage, _: ReferenceAlign) -> GrayImage {
    reference.clone()
}

/// Pearson's correlation of the grey values: 1 for equal pictures, also if one is darker; about 0 for
/// pictures that have nothing to do with each other. 1 if one of them is of a single grey.
fn correlation(image: &GrayImage, reference: &GrayImage) -> f64 {
    let mut sums = [0_u64; 5];
    for (&a, &b) in image.as_raw().iter().zip(reference.as_raw()) {
        let (a, b) = (u64::from(a), u64::from(b));
        sums = [sums[0] + a, sums[1] + b, sums[2] + a * a, sums[3] + b * b, sums[4] + a * b];
    }
    let count = image.as_raw().len() as f64;
    let [a, b, aa, bb, ab] = sums.map(|sum| sum as f64 / count);
    let variances = (aa - a * a) * (bb - b * b);
    if variances <= 0.0 { 1.0 } else { (ab - a * b) / variances.sqrt() }
}

#[cfg(test)]
mod tests;
