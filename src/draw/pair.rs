//! What a detector got right and wrong, on sheets to be looked at: is it the detector's fault, or the label's?

use image::{Rgb, RgbImage, imageops};

use super::boxes::{draw_annotations, draw_detections, side_by_side};
use crate::eval::Pair;
use crate::structures::{Annotation, Detection, Xyxy};

/// Pictures in a row of the sheet.
const ROW: usize = 4;
/// Pixels around the boxes that are shown, too.
const SURROUNDINGS: f32 = 24.0;

/// A hit or a mistake on its image: on the left what the label says, on the right what was found, with the
/// surroundings.
pub fn draw_pair(image: &RgbImage, pair: &Pair, names: &[impl AsRef<str>]) -> RgbImage {
    let boxes = [pair.object.map(|object| object.xyxy), pair.found.map(|found| found.xyxy)];
    let around = |[x1, y1, x2, y2]: Xyxy, [a, b, c, d]: Xyxy| [x1.min(a), y1.min(b), x2.max(c), y2.max(d)];
    let [x1, y1, x2, y2] = boxes.into_iter().flatten().reduce(around).unwrap_or_default();
    let corner = [x1, y1].map(|side| (side - SURROUNDINGS).max(0.0).floor());
    let [left, top] = corner.map(|side| side as u32);
    let [right, bottom] = [x2, y2].map(|side| (side + SURROUNDINGS).ceil() as u32);
    let (width, height) = (right.min(image.width()), bottom.min(image.height()));
    let (width, height) = (width.saturating_sub(left), height.saturating_sub(top));
    let part = imageops::crop_imm(image, left, top, width, height).to_image();
    let moved = |[x1, y1, x2, y2]: Xyxy| [x1 - corner[0], y1 - corner[1], x2 - corner[0], y2 - corner[1]];
    let objects = pair.object.map(|object| Annotation { xyxy: moved(object.xyxy), ..object });
    let found = pair.found.map(|found| Detection { xyxy: moved(found.xyxy), ..found });
    side_by_side(&[
        ("label", &draw_annotations(&part, objects.as_slice(), names)),
        ("found", &draw_detections(&part, found.as_slice(), names)),
    ])
}

/// Pictures in rows, on white.
pub fn sheet(pictures: &[RgbImage]) -> RgbImage {
    let rows: Vec<&[RgbImage]> = pictures.chunks(ROW).collect();
    let height_of = |row: &&[RgbImage]| row.iter().map(RgbImage::height).max().unwrap_or(0);
    let width = rows.iter().map(|row| row.iter().map(RgbImage::width).sum::<u32>()).max().unwrap_or(0);
    let mut sheet = RgbImage::from_pixel(width, rows.iter().map(height_of).sum(), Rgb([255; 3]));
    let mut top = 0;
    for row in rows {
        let mut left = 0;
        for picture in row {
            imageops::replace(&mut sheet, picture, left, top);
            left += i64::from(picture.width());
        }
        top += i64::from(height_of(&row));
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_has_the_surroundings_of_each_mistake() {
        let red = Rgb([255, 0, 0]);
        let mut image = RgbImage::from_pixel(640, 640, Rgb([255; 3]));
        // Beside the object, and far from it.
        image.put_pixel(120, 110, red);
        image.put_pixel(400, 400, red);
        let object = Annotation::new([100.0, 100.0, 110.0, 120.0], 1);
        let found = Detection { xyxy: [630.0, 630.0, 640.0, 640.0], label: 2, score: 0.9 };
        let mistakes = [
            Pair { object: Some(object), found: None },
            Pair { object: None, found: Some(found) },
            Pair { object: Some(object), found: Some(Detection { xyxy: object.xyxy, ..found }) },
        ];
        let pictures: Vec<_> =
            mistakes.iter().map(|mistake| draw_pair(&image, mistake, &["open", "short"])).collect();
        let reds = |picture: &RgbImage| picture.pixels().filter(|pixel| **pixel == red).count();
        let [miss, false_call, wrong_class] = [0, 1, 2].map(|index| &pictures[index]);
        assert!(reds(miss) > 1 && reds(miss) == reds(wrong_class));
        assert_eq!(reds(false_call), 0);
        let five = [&pictures[..], &pictures[..2]].concat();
        let all = sheet(&five);
        assert_eq!(reds(&all), five.iter().map(reds).sum::<usize>());
        assert_eq!(all.height(), five[..4].iter().map(RgbImage::height).max().unwrap() + five[4].height());
        assert_eq!(sheet(&[]).dimensions(), (0, 0));
    }
}
