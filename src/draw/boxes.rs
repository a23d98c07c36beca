//! Annotations and detections drawn on their image, to be looked at.

use std::sync::LazyLock;

use ab_glyph::{FontRef, PxScale};
use image::{Rgb, RgbImage, imageops};
use imageproc::{
    drawing::{draw_filled_rect_mut, draw_hollow_rect_mut, draw_text_mut, text_size},
    rect::Rect,
};

use super::style::{FONT_FILE, colour};
use crate::structures::{Annotation, Detection, Xyxy, clip, intersection};

static FONT: LazyLock<FontRef> =
    LazyLock::new(|| FontRef::try_from_slice(FONT_FILE).expect("the font is part of the program"));

/// Longer side, in pixels, below which an image is enlarged before anything is drawn on it.
const READABLE_SIDE: u32 = 400;

/// The image with a thin frame around every detection, and its class and score on a tag: `open 0.97`.
///
/// Label `l` is called `names[l - 1]`, or `class l` where there is no such name. Frames are drawn around
/// their boxes, so the inside of a box can be seen. Tags are drawn outside of all boxes where there is room.
/// An image whose longer side is below 400 pixels is first enlarged by a whole number.
pub fn draw_detections(image: &RgbImage, detections: &[Detection], names: &[impl AsRef<str>]) -> RgbImage {
    let mut marks: Vec<(f32, Mark)> = detections
        .iter()
        .map(|d| (d.score, Mark::new(d.xyxy, d.label, format!("{} {:.2}", name(names, d.label), d.score))))
        .collect();
    // Detections with high scores get the best places for their tags.
    marks.sort_by(|a, b| b.0.total_cmp(&a.0));
    draw(image, marks.into_iter().map(|(_, mark)| mark).collect())
}

/// The image with a thin frame around every annotation and its class on a tag, as in [`draw_detections`].
pub fn draw_annotations(image: &RgbImage, annotations: &[Annotation], names: &[impl AsRef<str>]) -> RgbImage {
    let note = |a: &Annotation| match (a.crowd, a.difficult) {
        (true, _) => " (crowd)",
        (_, true) => " (difficult)",
        _ => "",
    };
    let text = |a: &Annotation| name(names, a.label) + note(a);
    draw(image, annotations.iter().map(|a| Mark::new(a.xyxy, a.label, text(a))).collect())
}

/// Images in a row, left to right, each below its title, on white.
pub fn side_by_side(panels: &[(&str, &RgbImage)]) -> RgbImage {
    let height = panels.iter().map(|(_, image)| image.height()).max().unwrap_or(0);
    let width: u32 = panels.iter().map(|(_, image)| image.width()).sum();
    let text = text_height(height) * 1.3;
    let (gap, strip) = ((text / 2.0) as u32, (text * 1.6) as u32);
    let gaps = gap * (panels.len() as u32 + 1);
    let mut row = RgbImage::from_pixel(width + gaps, height + strip + gap, Rgb([255; 3]));
    let mut x = gap;
    for (title, image) in panels {
        imageops::replace(&mut row, *image, x.into(), strip.into());
        // A frame, because an image may be white at its border.
        let around = Rect::at(x as i32 - 1, strip as i32 - 1).of_size(image.width() + 2, image.height() + 2);
        draw_hollow_rect_mut(&mut row, around, Rgb([190; 3]));
        draw_text_mut(
            &mut row,
            Rgb([30; 3]),
            x as i32,
            (text * 0.3) as i32,
            PxScale::from(text),
            &*FONT,
            title,
        );
        x += image.width() + gap;
    }
    row
}

fn name(names: &[impl AsRef<str>], label: usize) -> String {
    let name = label.checked_sub(1).and_then(|index| names.get(index));
    name.map_or_else(|| format!("class {label}"), |name| name.as_ref().to_string())
}

/// A box to be drawn and what its tag says.
struct Mark {
    xyxy: Xyxy,
    colour: Rgb<u8>,
    text: String,
}

impl Mark {
    fn new(xyxy: Xyxy, label: usize, text: String) -> Self {
        Self { xyxy, colour: Rgb(colour(label.saturating_sub(1))), text }
    }
}

fn text_height(image_side: u32) -> f32 {
    (image_side as f32 / 40.0).max(14.0)
}

fn draw(image: &RgbImage, mut marks: Vec<Mark>) -> RgbImage {
    let longer_side = image.width().max(image.height()).max(1);
    let zoom = READABLE_SIDE.div_ceil(longer_side);
    let (width, height) = (image.width() * zoom, image.height() * zoom);
    let mut canvas = imageops::resize(image, width, height, imageops::FilterType::Nearest);

    for mark in &mut marks {
        mark.xyxy = clip(&mark.xyxy.map(|v| (v * zoom as f32).round()), (height as usize, width as usize));
    }
    let thickness = (width.max(height) as f32 / 400.0).round().max(2.0) as i32;
    for mark in marks.iter().rev() {
        let [x1, y1, x2, y2] = mark.xyxy.map(|v| v as i32);
        for outside in 1..=thickness {
            let (x, y) = (x1 - outside, y1 - outside);
            let size = ((x2 - x + outside).max(1) as u32, (y2 - y + outside).max(1) as u32);
            draw_hollow_rect_mut(&mut canvas, Rect::at(x, y).of_size(size.0, size.1), mark.colour);
        }
    }

    let text = text_height(width.max(height));
    let padding = (text / 5.0).round();
    // What a tag should not cover: the boxes with their frames, and earlier tags.
    let frame = thickness as f32;
    let mut occupied: Vec<Xyxy> = marks.iter().map(|m| grow(&m.xyxy, frame)).collect();
    for mark in &marks {
        let (text_width, _) = text_size(PxScale::from(text), &*FONT, &mark.text);
        let size = (text_width as f32 + 2.0 * padding, text.ceil());
        let tag = tag_beside(&grow(&mark.xyxy, frame), size, (width as f32, height as f32), &occupied);
        let [x, y, ..] = tag.map(|v| v as i32);
        draw_filled_rect_mut(&mut canvas, Rect::at(x, y).of_size(size.0 as u32, size.1 as u32), mark.colour);
        let text_x = x + padding as i32;
        draw_text_mut(&mut canvas, Rgb([255; 3]), text_x, y, PxScale::from(text), &*FONT, &mark.text);
        occupied.push(tag);
    }
    canvas
}

fn grow([x1, y1, x2, y2]: &Xyxy, by: f32) -> Xyxy {
    [x1 - by, y1 - by, x2 + by, y2 + by]
}

/// The place beside its box where a tag of `(width, height)` covers least. A tag that would leave the image
/// is moved into it.
fn tag_beside(xyxy: &Xyxy, (width, height): (f32, f32), image: (f32, f32), occupied: &[Xyxy]) -> Xyxy {
    let [x1, y1, x2, y2] = *xyxy;
    let corners = [
        (x1, y1 - height),
        (x2 - width, y1 - height),
        (x1, y2),
        (x2 - width, y2),
        (x2, y1),
        (x1 - width, y1),
        (x2, y2 - height),
        (x1 - width, y2 - height),
    ];
    let inside = |v: f32, size: f32, limit: f32| v.min(limit - size).max(0.0);
    let tags = corners.map(|(x, y)| {
        let (x, y) = (inside(x, width, image.0), inside(y, height, image.1));
        [x, y, x + width, y + height]
    });
    let covered = |tag: &Xyxy| occupied.iter().map(|other| intersection(tag, other)).sum::<f32>();
    let better = |best: Xyxy, tag: Xyxy| if covered(&tag) < covered(&best) { tag } else { best };
    tags.into_iter().reduce(better).expect("there are eight")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structures::area;

    fn names() -> Vec<String> {
        ["open", "short"].map(String::from).to_vec()
    }

    fn found(xyxy: Xyxy, label: usize) -> Detection {
        Detection { xyxy, label, score: 0.97 }
    }

    #[test]
    fn the_inside_of_a_box_stays_as_it_was_and_its_frame_has_its_colour() {
        let image = RgbImage::from_pixel(640, 640, Rgb([255; 3]));
        let drawn = draw_detections(&image, &[found([300.0, 300.0, 315.0, 315.0], 2)], &names());
        assert!((300..315).all(|y| (300..315).all(|x| drawn.get_pixel(x, y) == &Rgb([255; 3]))));
        assert_eq!(drawn.get_pixel(299, 307), &Rgb(colour(1)));
        assert_eq!(drawn.get_pixel(315, 307), &Rgb(colour(1)));
    }

    #[test]
    fn a_tag_stays_in_the_image_and_off_the_boxes() {
        let size = (60.0, 16.0);
        let image = (640.0, 640.0);
        for xyxy in [[0.0, 0.0, 10.0, 10.0], [630.0, 0.0, 640.0, 9.0], [630.0, 630.0, 640.0, 640.0]] {
            let tag = tag_beside(&xyxy, size, image, &[xyxy]);
            assert!(tag[0] >= 0.0 && tag[1] >= 0.0 && tag[2] <= 640.0 && tag[3] <= 640.0, "{tag:?}");
            assert_eq!(intersection(&tag, &xyxy), 0.0);
        }
        // Another box is above this one.
        let (xyxy, above) = ([100.0, 100.0, 120.0, 120.0], [100.0, 80.0, 120.0, 99.0]);
        let tag = tag_beside(&xyxy, size, image, &[xyxy, above]);
        assert_eq!(intersection(&tag, &above), 0.0);
        assert_eq!(area(&tag), 60.0 * 16.0);
    }

    #[test]
    fn small_images_are_enlarged_and_bad_boxes_and_labels_do_no_harm() {
        let bad = [
            found([f32::NAN; 4], 1),
            found([-50.0, -50.0, 1e9, f32::INFINITY], 0),
            found([20.0, 20.0, 10.0, 10.0], 9),
            Detection { score: f32::NAN, ..found([5.0, 5.0, 5.0, 5.0], 2) },
        ];
        let drawn = draw_detections(&RgbImage::new(64, 48), &bad, &names());
        assert_eq!(drawn.dimensions(), (64 * 7, 48 * 7));
        assert_eq!(draw_detections(&RgbImage::new(400, 2), &bad, &names()).dimensions(), (400, 2));
        assert_eq!(draw_detections(&RgbImage::new(0, 0), &bad, &names()).dimensions(), (0, 0));
        let crowd = Annotation { crowd: true, ..Annotation::new([1.0, 2.0, 30.0, 30.0], 1) };
        assert_eq!(draw_annotations(&RgbImage::new(640, 640), &[crowd], &names()).dimensions(), (640, 640));
    }

    #[test]
    fn panels_stand_in_a_row_below_their_titles() {
        let (red, blue) = (Rgb([255, 0, 0]), Rgb([0, 0, 255]));
        let (a, b) = (RgbImage::from_pixel(100, 50, red), RgbImage::from_pixel(60, 80, blue));
        let row = side_by_side(&[("ground truth", &a), ("found", &b)]);
        // Left, top, right and bottom of the pixels that `is_wanted`.
        let extent = |is_wanted: &dyn Fn(u32, u32, &Rgb<u8>) -> bool| {
            let pixels: Vec<_> =
                row.enumerate_pixels().filter(|(x, y, pixel)| is_wanted(*x, *y, pixel)).collect();
            let (columns, rows) = (pixels.iter().map(|p| p.0), pixels.iter().map(|p| p.1));
            let (left, top) = (columns.clone().min().unwrap(), rows.clone().min().unwrap());
            [left, top, columns.max().unwrap() + 1, rows.max().unwrap() + 1]
        };
        let (first, second) = (extent(&|_, _, pixel| *pixel == red), extent(&|_, _, pixel| *pixel == blue));
        assert_eq!((first[2] - first[0], first[3] - first[1]), (100, 50));
        assert_eq!((second[2] - second[0], second[3] - second[1]), (60, 80));
        assert!(first[1] == second[1] && first[2] < second[0], "{first:?} {second:?}");
        assert!(second[2] < row.width() && second[3] < row.height());
        for panel in [first, second] {
            // The frame around a panel is lighter than a title.
            let title =
                extent(&|x, y, pixel| x >= panel[0] && x < panel[2] && y < panel[1] && pixel.0[0] < 150);
            assert!(title[0] - panel[0] < 5 && title[3] < panel[1], "{title:?} {panel:?}");
        }
        assert!(side_by_side(&[]).pixels().all(|pixel| pixel.0 == [255; 3]));
    }
}
