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
/// references of DeepPCB's 1,000 boards have 0.44 at least, but for three that are blank, and those of
/// another kind of board 0.23 at most (of 200 pairs). A neighbour on the same plate can fit as well as the
/// right one, so it is not found out.
const SMALLEST_FIT: f64 = 0.3;

/// The image and its reference as one picture: red is the image, green the reference, blue their absolute
/// difference, all of them grey values. This is what a detector with
/// [`ReferenceInput::Difference`](crate::ReferenceInput::Difference) takes.
///
/// # Errors
///
/// [`Error::Reference`] if the two differ in size, or show different things.
pub fn pair(image: &RgbImage, reference: &RgbImage, align: ReferenceAlign) -> Result<RgbImage> {
    let (pair, fit) = pair_and_fit(image, reference, align)?;
    match fault(fit) {
        Some(fault) => Err(Error::Reference(fault)),
        None => Ok(pair),
    }
}

/// What is wrong with a reference of this correlation, if anything is.
pub(super) fn fault(fit: f64) -> Option<String> {
    (fit < SMALLEST_FIT).then(|| {
        format!(
            "the reference does not show what the image shows: their correlation is {fit:.2}, at least \
             {SMALLEST_FIT} is expected"
        )
    })
}

/// As [`pair`], whether the reference fits or not; and its correlation with the image.
pub(super) fn pair_and_fit(
    image: &RgbImage,
    reference: &RgbImage,
    align: ReferenceAlign,
) -> Result<(RgbImage, f64)> {
    if image.dimensions() != reference.dimensions() {
        let [(width, height), (other_width, other_height)] =
            [image, reference].map(|image| image.dimensions());
        return Err(Error::Reference(format!(
            "the reference has {other_width} x {other_height} pixels, the image {width} x {height}"
        )));
    }
    let [image, reference] = [image, reference].map(imageops::grayscale);
    let (reference, fit) = aligned(&image, reference, align);
    Ok((joined(&image, &reference), fit))
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

/// The reference as it fits best, and its correlation with the image. One that fits as it is, is not made worse.
#[cfg(feature = "align")]
fn aligned(image: &GrayImage, reference: GrayImage, align: ReferenceAlign) -> (GrayImage, f64) {
    let fit = correlation(image, &reference, |_| true);
    let moved = match align {
        ReferenceAlign::Off => None,
        ReferenceAlign::Translation => align::moved(image, &reference, false),
        ReferenceAlign::Affine => align::moved(image, &reference, true),
    };
    let fit_moved = moved.map(|moved| {
        let fit = correlation(image, &moved.reference, |index| moved.covered[index]);
        (moved.reference, fit)
    });
    fit_moved.filter(|(_, fit_moved)| *fit_moved > fit).unwrap_or((reference, fit))
}

/// Settings that ask for more are refused where the feature `align` is not built in.
#[cfg(not(feature = "align"))]
fn aligned(image: &GrayImage, reference: GrayImage, _: ReferenceAlign) -> (GrayImage, f64) {
    let fit = correlation(image, &reference, |_| true);
    (reference, fit)
}

/// Pearson's correlation of the grey values at some places: 1 for equal pictures, also if one is darker; about 0
/// for pictures that have nothing to do with each other. 1 if both are of a single grey, 0 if one is.
fn correlation(image: &GrayImage, reference: &GrayImage, counts: impl Fn(usize) -> bool) -> f64 {
    let mut sums = [0_u64; 6];
    for (index, (&a, &b)) in image.as_raw().iter().zip(reference.as_raw()).enumerate() {
        if counts(index) {
            let (a, b) = (u64::from(a), u64::from(b));
            let terms = [1, a, b, a * a, b * b, a * b];
            sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
        }
    }
    let count = sums[0].max(1) as f64;
    let [_, a, b, aa, bb, ab] = sums.map(|sum| sum as f64 / count);
    let variances = [aa - a * a, bb - b * b];
    match variances.map(|variance| variance <= 1e-9) {
        [true, true] => 1.0,
        [false, false] => (ab - a * b) / (variances[0] * variances[1]).sqrt(),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests;
