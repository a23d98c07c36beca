//! Parts of an image.

use image::math::Rect;
use image::{GrayImage, Pixel, Rgb, RgbImage};

/// The grey values of a part.
pub(super) fn grey(image: &RgbImage, Rect { x, y, width, height }: Rect) -> GrayImage {
    let start = |row: u32| 3 * (row as usize * image.width() as usize + x as usize);
    let rows = (y..y + height).map(|row| &image.as_raw()[start(row)..][..3 * width as usize]);
    let pixels = rows.flat_map(|row| row.as_chunks::<3>().0);
    let values = pixels.map(|pixel| Rgb(*pixel).to_luma()[0]).collect();
    GrayImage::from_raw(width, height, values).expect("a byte a pixel")
}

/// Parts that make up an image of `(width, height)`, each with at least `least` pixels a side, unless the
/// image has less, and with less than twice as many.
pub(super) fn parts((width, height): (u32, u32), least: u32) -> Vec<Rect> {
    let along = |side: u32| {
        let count = (side / least).max(1);
        (0..count).map(move |index| {
            let at = |index: u32| (u64::from(index) * u64::from(side) / u64::from(count)) as u32;
            (at(index), at(index + 1) - at(index))
        })
    };
    let row = |(y, height)| along(width).map(move |(x, width)| Rect { x, y, width, height });
    along(height).flat_map(row).collect()
}

/// What both parts have; none where they do not meet.
#[cfg(feature = "align")]
pub(super) fn intersection(a: Rect, b: Rect) -> Option<Rect> {
    let along = |a: (u32, u32), b: (u32, u32)| {
        let (start, end) = (a.0.max(b.0), (a.0 + a.1).min(b.0 + b.1));
        (start < end).then(|| (start, end - start))
    };
    let (x, width) = along((a.x, a.width), (b.x, b.width))?;
    let (y, height) = along((a.y, a.height), (b.y, b.height))?;
    Some(Rect { x, y, width, height })
}
