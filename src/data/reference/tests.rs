//! References that are moved, turned, dark, noisy or of another board.

use image::{GrayImage, RgbImage, imageops};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::data::synthetic::{SyntheticConfig, board};

/// A board with defects and the same without.
fn boards(index: u64) -> (GrayImage, GrayImage) {
    let (with_defects, without, _) = board(&SyntheticConfig { size: 640, seed: 5 }, index);
    // As a camera sees them: with edges that are not sharper than a pixel.
    (imageops::blur(&with_defects, 0.8), imageops::blur(&without, 0.8))
}

fn colour(image: &GrayImage) -> RgbImage {
    image::DynamicImage::ImageLuma8(image.clone()).into_rgb8()
}

/// What another photograph of the same thing shows: moved by `x`, `y`, turned by `degrees` and scaled about
/// the middle, darker and noisy.
fn photograph(
    image: &GrayImage,
    [x, y]: [f32; 2],
    degrees: f32,
    scale: f32,
    noise: f32,
    seed: u64,
) -> GrayImage {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (sin, cos) = degrees.to_radians().sin_cos();
    let middle = image.width() as f32 / 2.0;
    GrayImage::from_fn(image.width(), image.height(), |to_x, to_y| {
        let (dx, dy) = (to_x as f32 - middle - x, to_y as f32 - middle - y);
        let (from_x, from_y) =
            ((cos * dx + sin * dy) / scale + middle, (cos * dy - sin * dx) / scale + middle);
        let value =
            imageops::interpolate_bilinear(image, from_x, from_y).map_or(128.0, |pixel| f32::from(pixel[0]));
        let value = 0.7 * value + 20.0 + rng.random_range(-noise..=noise);
        [value.clamp(0.0, 255.0) as u8].into()
    })
}

/// The reference as it is compared with the image.
#[cfg(feature = "align")]
fn aligned(image: &GrayImage, reference: &GrayImage, align: ReferenceAlign) -> GrayImage {
    let pair = pair(&colour(image), &colour(reference), align).unwrap();
    GrayImage::from_fn(pair.width(), pair.height(), |x, y| [pair.get_pixel(x, y)[1]].into())
}

/// The part of the pixels away from the border that differ by more than a quarter of the range, beyond what
/// light does.
#[cfg(feature = "align")]
fn differing(image: &GrayImage, reference: &GrayImage) -> f64 {
    let inner = |image: &GrayImage| imageops::crop_imm(image, 48, 48, 544, 544).to_image();
    let (image, reference) = (inner(image), inner(reference));
    let expected = image.as_raw().iter().map(|&value| 0.7 * f32::from(value) + 20.0);
    let pairs = expected.zip(reference.as_raw());
    let differ = pairs.filter(|(expected, value)| (expected - f32::from(**value)).abs() > 64.0 * 0.7).count();
    differ as f64 / image.as_raw().len() as f64
}

#[cfg(feature = "align")]
#[test]
fn a_reference_is_brought_onto_its_image() {
    let cases = [
        ([0.0, 0.0], 0.0, 1.0),
        ([7.3, -4.6], 0.0, 1.0),
        ([-31.0, 30.0], 0.0, 1.0),
        ([3.0, 5.0], 0.7, 1.0),
        ([-12.0, 20.0], -2.9, 1.0),
        ([10.0, -25.0], 2.2, 1.01),
        ([0.0, 4.0], -1.0, 0.985),
    ];
    for index in 0..3 {
        let (image, clean) = boards(index);
        let defects = differing(&photograph(&image, [0.0; 2], 0.0, 1.0, 0.0, 0), &clean);
        let unmoved = differing(&image, &photograph(&clean, [0.0; 2], 0.0, 1.0, 10.0, 1));
        println!("board {index}: {unmoved:.4} differ where nothing moved ({defects:.4})");
        for (shift, degrees, scale) in cases {
            let reference = photograph(&clean, shift, degrees, scale, 10.0, 1);
            let before = differing(&image, &reference);
            let [of_shift, of_map] = [ReferenceAlign::Translation, ReferenceAlign::Affine]
                .map(|align| differing(&image, &aligned(&image, &reference, align)));
            println!("  {shift:?} px, {degrees} degrees, x {scale}: {before:.4} {of_shift:.4} {of_map:.4}");
            assert!(of_map < unmoved + 0.004, "{of_map}");
            if degrees == 0.0 && scale == 1.0 {
                assert!(of_shift < unmoved + 0.004, "{of_shift}");
            }
        }
    }
}

/// A large board is made up of pieces that do not lie quite alike, as under a lens or in a panel.
#[cfg(feature = "align")]
#[test]
fn every_block_of_a_large_image_has_a_map_of_its_own() {
    let side = 640;
    let [mut large, mut reference] = [0; 2].map(|_| GrayImage::new(3 * side, 2 * side));
    let places = [(0, 0, 0), (1, 1, 0), (2, 2, 0), (3, 0, 1), (4, 1, 1), (5, 2, 1)];
    for (index, x, y) in places {
        let (image, clean) = boards(index);
        let shift = [x as f32 * 2.0 - 9.0, y as f32 * 3.0 + 4.0];
        let moved = photograph(&clean, shift, 0.3 * x as f32 - 0.2, 1.0, 10.0, index);
        imageops::replace(&mut large, &image, (x * side).into(), (y * side).into());
        imageops::replace(&mut reference, &moved, (x * side).into(), (y * side).into());
    }
    let found = aligned(&large, &reference, ReferenceAlign::Affine);
    for (index, x, y) in places {
        let piece = |image: &GrayImage| imageops::crop_imm(image, x * side, y * side, side, side).to_image();
        let (image, clean) = boards(index);
        let unmoved = differing(&image, &photograph(&clean, [0.0; 2], 0.0, 1.0, 10.0, index));
        let before = differing(&image, &piece(&reference));
        let after = differing(&image, &piece(&found));
        println!("piece {index}: {before:.4} {after:.4}, {unmoved:.4} where nothing moved");
        assert!(after < unmoved + 0.004, "{after}");
    }

    // Any part is that part of the whole, also across blocks.
    let (large, reference) = (colour(&large), colour(&reference));
    let aligned = Aligned::new(&large, &reference, ReferenceAlign::Affine).unwrap();
    let whole = aligned.whole();
    for (x, y, width, height) in
        [(0, 0, 640, 640), (600, 500, 640, 640), (1910, 3, 10, 1277), (639, 639, 2, 2)]
    {
        let part = imageops::crop_imm(&whole, x, y, width, height).to_image();
        assert!(aligned.part(Rect { x, y, width, height }) == part, "{x} {y} {width} {height}");
    }
}

#[test]
fn a_reference_of_another_board_is_an_error_that_says_how_badly_it_fits() {
    let (image, clean) = boards(0);
    let dark = photograph(&clean, [0.0; 2], 0.0, 0.0_f32.exp(), 25.0, 2);
    let aligns = [ReferenceAlign::Off, ReferenceAlign::Translation, ReferenceAlign::Affine];
    for align in &aligns[..if cfg!(feature = "align") { 3 } else { 1 }] {
        pair(&colour(&image), &colour(&dark), *align).unwrap();
        for other in 1..4 {
            let error = pair(&colour(&image), &colour(&boards(other).1), *align).unwrap_err();
            assert!(
                matches!(&error, Error::Reference(message) if message.contains("correlation is")),
                "{error}"
            );
        }
    }
    // A picture without anything to do with the image is no reference, at any size: where it is moved far away,
    // what it does not show counts for nothing.
    for side in [64, 128, 320] {
        let image = imageops::crop_imm(&image, 0, 0, side, side).to_image();
        for seed in 0..20 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let blocks: Vec<u8> = (0..64 * 64).map(|_| rng.random_range(0..2) * 255).collect();
            let other = GrayImage::from_fn(side, side, |x, y| [blocks[(y / 9 * 64 + x / 9) as usize]].into());
            for align in &aligns[..if cfg!(feature = "align") { 3 } else { 1 }] {
                assert!(pair(&colour(&image), &colour(&other), *align).is_err(), "{side} {seed} {align:?}");
            }
        }
    }
    let flat = RgbImage::from_pixel(640, 640, [0; 3].into());
    assert!(pair(&colour(&image), &flat, ReferenceAlign::Off).is_err());
    let small = RgbImage::new(320, 640);
    let error = pair(&colour(&image), &small, ReferenceAlign::Off).unwrap_err();
    assert_eq!(error.to_string(), "the reference has 320 x 640 pixels, the image 640 x 640");
}

#[test]
fn a_pair_holds_both_and_their_difference() {
    let (image, clean) = boards(0);
    let joined = pair(&colour(&image), &colour(&clean), ReferenceAlign::Off).unwrap();
    for ((pixel, a), b) in joined.pixels().zip(image.as_raw()).zip(clean.as_raw()) {
        assert_eq!(pixel.0, [*a, *b, a.abs_diff(*b)]);
    }
    assert!(pair_with_itself(&colour(&clean)).pixels().all(|pixel| pixel[0] == pixel[1] && pixel[2] == 0));
    // Of a single grey, as a blank board is: nothing says that they differ.
    let blank = RgbImage::from_pixel(64, 64, [90; 3].into());
    for align in [ReferenceAlign::Off, ReferenceAlign::Translation, ReferenceAlign::Affine] {
        pair(&blank, &RgbImage::from_pixel(64, 64, [80; 3].into()), align).unwrap();
    }
    for side in [1, 2, 9, 33] {
        let tiny = RgbImage::from_fn(side, 2 * side, |x, y| [(x * 40 + y * 3) as u8; 3].into());
        pair(&tiny, &tiny, ReferenceAlign::Affine).unwrap();
    }
}
