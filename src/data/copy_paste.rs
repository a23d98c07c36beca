//! Objects of one image pasted into another one, where they fit in: more objects an image, in more places.
//!
//! Source: [Ghiasi et al. 2020](https://arxiv.org/abs/2012.07177), "Simple Copy-Paste". Here an object brings
//! a rectangle of its surroundings along, and goes where the lines around it go on.

use image::{GenericImage, GenericImageView, RgbImage};
use rand::{Rng, RngExt};

use crate::structures::{Annotation, Xyxy, intersection};

/// So many pixels around an object's box come with it.
const MARGIN: f32 = 6.0;
/// Places that are tried for an object.
const PLACES: usize = 512;
/// The largest mean difference along the border of what is pasted, of 255.
const FITS: u64 = 12;

/// Pastes up to `most` objects of another image into this one, and adds their boxes. No object covers another
/// one. An object for which no place fits is left out.
pub(super) fn paste(
    image: &mut RgbImage,
    annotations: &mut Vec<Annotation>,
    (donor, objects): (&RgbImage, &[Annotation]),
    most: usize,
    rng: &mut impl Rng,
) {
    for _ in 0..rng.random_range(0..=most) {
        if objects.is_empty() {
            return;
        }
        let object = objects[rng.random_range(0..objects.len())];
        let Some(part) = surroundings(&object, objects, donor) else { continue };
        let Some([x, y]) = best_place(image, annotations, donor, part, rng) else { continue };
        let Rectangle { left, top, width, height } = part;
        image.copy_from(&*donor.view(left, top, width, height), x, y).expect("the place is inside the image");
        let [dx, dy] = [x as f32 - left as f32, y as f32 - top as f32];
        let [x1, y1, x2, y2] = object.xyxy;
        annotations.push(Annotation { xyxy: [x1 + dx, y1 + dy, x2 + dx, y2 + dy], ..object });
    }
}

/// A part of an image, in pixels.
#[derive(Debug, Clone, Copy)]
struct Rectangle {
    left: u32,
    top: u32,
    width: u32,
    height: u32,
}

/// An object with its margin; `None` where it is at the border, in a crowd, or touches another object.
fn surroundings(object: &Annotation, objects: &[Annotation], donor: &RgbImage) -> Option<Rectangle> {
    let [x1, y1, x2, y2] = object.xyxy;
    let [left, top] = [x1, y1].map(|side| (side - MARGIN).floor());
    let [right, bottom] = [x2, y2].map(|side| (side + MARGIN).ceil());
    let inside =
        left >= 0.0 && top >= 0.0 && right <= donor.width() as f32 && bottom <= donor.height() as f32;
    let touching = objects.iter().filter(|other| touch(&other.xyxy, &[left, top, right, bottom])).count();
    (inside && !object.is_ignored() && touching == 1).then_some(Rectangle {
        left: left as u32,
        top: top as u32,
        width: (right - left) as u32,
        height: (bottom - top) as u32,
    })
}

fn touch(a: &Xyxy, b: &Xyxy) -> bool {
    intersection(a, b) > 0.0
}

/// The place, of some that are drawn, where the border of the part differs least from what is there.
fn best_place(
    image: &RgbImage,
    annotations: &[Annotation],
    donor: &RgbImage,
    part: Rectangle,
    rng: &mut impl Rng,
) -> Option<[u32; 2]> {
    let Rectangle { left, top, width, height } = part;
    let [most_x, most_y] = [image.width().checked_sub(width)?, image.height().checked_sub(height)?];
    let across = (0..width).flat_map(|x| [[x, 0], [x, height - 1]]);
    let down = (1..height - 1).flat_map(|y| [[0, y], [width - 1, y]]);
    let border: Vec<([u32; 2], [u8; 3])> =
        across.chain(down).map(|[x, y]| ([x, y], donor.get_pixel(left + x, top + y).0)).collect();
    let difference = |[x, y]: [u32; 2]| -> u64 {
        let at = |&([dx, dy], expected): &([u32; 2], [u8; 3])| {
            let found = image.get_pixel(x + dx, y + dy).0;
            found
                .iter()
                .zip(expected)
                .map(|(&found, expected)| u64::from(found.abs_diff(expected)))
                .sum::<u64>()
        };
        border.iter().map(at).sum()
    };
    let is_free = |[x, y]: [u32; 2]| {
        let [x, y] = [x as f32, y as f32];
        let place = [x, y, x + width as f32, y + height as f32];
        !annotations.iter().any(|annotation| touch(&annotation.xyxy, &place))
    };
    let places = (0..PLACES).map(|_| [rng.random_range(0..=most_x), rng.random_range(0..=most_y)]);
    let free: Vec<[u32; 2]> = places.filter(|place| is_free(*place)).collect();
    let best = free.into_iter().map(|place| (difference(place), place)).min()?;
    (best.0 <= FITS * 3 * border.len() as u64).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const COPPER: Rgb<u8> = Rgb([255; 3]);

    /// A board of horizontal tracks of 6 pixels, 16 pixels apart.
    fn tracks(side: u32) -> RgbImage {
        RgbImage::from_fn(side, side, |_, y| if y % 16 < 6 { COPPER } else { Rgb([0; 3]) })
    }

    /// The same with a gap in a track, and its box.
    fn open() -> (RgbImage, Annotation) {
        let mut donor = tracks(64);
        for y in 16..22 {
            for x in 30..38 {
                donor.put_pixel(x, y, Rgb([0; 3]));
            }
        }
        (donor, Annotation::new([29.0, 15.0, 39.0, 23.0], 3))
    }

    #[test]
    fn objects_go_where_the_lines_around_them_go_on() {
        let (donor, object) = open();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut image, mut annotations) = (tracks(128), vec![Annotation::new([0.0, 0.0, 60.0, 60.0], 1)]);
        for _ in 0..20 {
            paste(&mut image, &mut annotations, (&donor, &[object]), 3, &mut rng);
        }
        assert!(annotations.len() > 5, "{annotations:?}");
        let clean = tracks(128);
        let mut expected = clean.clone();
        for (index, annotation) in annotations.iter().enumerate().skip(1) {
            let [x1, y1, x2, y2] = annotation.xyxy;
            assert_eq!((annotation.label, x2 - x1, y2 - y1), (3, 10.0, 8.0));
            // On a track, as in the donor.
            assert_eq!((y1 as u32 + 1) % 16, 0, "{annotation:?}");
            for other in &annotations[..index] {
                assert!(!touch(&other.xyxy, &annotation.xyxy), "{other:?} {annotation:?}");
            }
            for y in 0..6 {
                for x in 0..8 {
                    expected.put_pixel(x1 as u32 + 1 + x, y1 as u32 + 1 + y, Rgb([0; 3]));
                }
            }
        }
        // The gaps are all that changed.
        assert_eq!(image, expected);
        assert_ne!(image, clean);
    }

    #[test]
    fn what_fits_nowhere_stays_out() {
        let (donor, object) = open();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut untouched = |image: &RgbImage, donor: &RgbImage, objects: &[Annotation]| {
            let (mut pasted, mut annotations) = (image.clone(), Vec::new());
            for _ in 0..10 {
                paste(&mut pasted, &mut annotations, (donor, objects), 2, &mut rng);
            }
            annotations.is_empty() && pasted == *image
        };
        // Other surroundings, a smaller image, no objects.
        assert!(untouched(&RgbImage::from_pixel(128, 128, COPPER), &donor, &[object]));
        assert!(untouched(&tracks(16), &donor, &[object]));
        assert!(untouched(&tracks(128), &donor, &[]));
        // At the donor's border, a crowd, two that touch.
        let at_border = Annotation::new([2.0, 15.0, 12.0, 23.0], 3);
        assert!(untouched(&tracks(128), &donor, &[at_border]));
        assert!(untouched(&tracks(128), &donor, &[Annotation { crowd: true, ..object }]));
        assert!(untouched(&tracks(128), &donor, &[object, Annotation::new([38.0, 18.0, 44.0, 24.0], 2)]));
        assert!(!untouched(&tracks(128), &donor, &[object]));
    }
}
