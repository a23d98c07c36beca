//! Large images by overlapping windows.
//!
//! ```text
//! image ─ windows ─ detector ─ boxes in the image's pixels ─ one box an object
//! ```
//!
//! An object that is 4 pixels smaller than the overlap is whole in some window, so what a window cuts is only
//! second choice:
//!
//! 1. Of all detections that no window cuts, non-maximum suppression by class keeps the best ones.
//! 2. A detection that touches a border inside the image is cut. By falling score it is kept, too, unless at
//!    least half of it lies in a kept one of its class, or half of another kept cut one lies in it.

use image::math::Rect;

use crate::model::Tiles;
use crate::structures::{Detection, Xyxy, area, intersection, iou};

/// A detection that ends this near to a border of its window is cut by it, in pixels of the image.
const BORDER: f32 = 2.0;
/// A cut detection of which this part lies in a kept one is a part of the same object.
const SAME: f32 = 0.5;

impl Tiles {
    /// The windows of an image of `(width, height)`, row by row. A smaller image is one window. The last
    /// windows end at the border, and the others are spread evenly.
    pub(super) fn windows(&self, (width, height): (u32, u32)) -> Vec<Rect> {
        let row = |(y, height)| self.along(width).map(move |(x, width)| Rect { x, y, width, height });
        self.along(height).flat_map(row).collect()
    }

    /// Start and length of each window along a side.
    fn along(&self, side: u32) -> impl Iterator<Item = (u32, u32)> {
        let size = self.size.min(side as usize);
        let rest = side as usize - size;
        let steps = rest.div_ceil(self.size - self.overlap);
        (0..=steps).map(move |step| ((step * rest / steps.max(1)) as u32, size as u32))
    }
}

/// The detections of all windows as those of one image of `(width, height)`.
pub(super) fn merge(
    found: impl Iterator<Item = (Rect, Vec<Detection>)>,
    (width, height): (u32, u32),
    nms_thresh: f64,
) -> Vec<Detection> {
    let (mut whole, mut cut) = (Vec::new(), Vec::new());
    for (window, detections) in found {
        let (end_x, end_y) = (window.x + window.width, window.y + window.height);
        let [left, top, right, bottom] = [window.x, window.y, end_x, end_y].map(|v| v as f32);
        for Detection { xyxy: [x1, y1, x2, y2], label, score } in detections {
            let xyxy = [x1 + left, y1 + top, x2 + left, y2 + top];
            let is_cut = xyxy[0] < left + BORDER && window.x > 0
                || xyxy[1] < top + BORDER && window.y > 0
                || xyxy[2] > right - BORDER && end_x < width
                || xyxy[3] > bottom - BORDER && end_y < height;
            let detection = Detection { xyxy, label, score };
            if is_cut { cut.push(detection) } else { whole.push(detection) }
        }
    }
    let mut kept = best(whole, |a, b| f64::from(iou(a, b)) > nms_thresh);
    cut.retain(|cut| {
        let is_part = |whole: &Detection| intersection(&whole.xyxy, &cut.xyxy) >= SAME * area(&cut.xyxy);
        !kept.iter().any(|whole| whole.label == cut.label && is_part(whole))
    });
    kept.extend(best(cut, |a, b| intersection(a, b) >= SAME * area(b).min(area(a))));
    kept.sort_by(|a, b| b.score.total_cmp(&a.score));
    kept
}

/// Each detection, by falling score, that is not the same as a better one of its class.
fn best(mut found: Vec<Detection>, same: impl Fn(&Xyxy, &Xyxy) -> bool) -> Vec<Detection> {
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Detection> = Vec::new();
    for detection in found {
        let is_new =
            |other: &Detection| other.label != detection.label || !same(&other.xyxy, &detection.xyxy);
        if kept.iter().all(is_new) {
            kept.push(detection);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_the_image_and_overlap_enough() {
        for (size, overlap) in [(640, 64), (100, 0), (64, 32), (512, 100)] {
            let tiles = Tiles { size, overlap };
            tiles.validate().unwrap();
            for side in [1, size - 1, size, size + 1, 3 * size, 5 * size + 3] {
                let windows: Vec<(usize, usize)> = tiles
                    .along(side as u32)
                    .map(|(start, length)| (start as usize, (start + length) as usize))
                    .collect();
                assert_eq!((windows[0].0, windows.last().unwrap().1), (0, side));
                assert!(windows.iter().all(|(start, end)| end - start == size.min(side)));
                let enough = |pair: &[(usize, usize)]| pair[1].0 + overlap <= pair[0].1;
                assert!(windows.windows(2).all(enough), "{size} {overlap} {side}: {windows:?}");
            }
        }
        assert_eq!(Tiles { size: 640, overlap: 64 }.windows((3200, 3200)).len(), 36);
        for (size, overlap) in [(0, 0), (31, 0), (64, 33), (1 << 20, 0)] {
            assert!(Tiles { size, overlap }.validate().is_err());
        }
    }

    fn at(x1: f32, x2: f32, label: usize, score: f32) -> Detection {
        Detection { xyxy: [x1, 10.0, x2, 20.0], label, score }
    }

    /// Two windows of 100 pixels side by side, the second one from 60 on, in an image of 160 x 100.
    #[test]
    fn an_object_is_found_once_and_a_cut_one_only_where_it_is_nowhere_whole() {
        let windows = Tiles { size: 100, overlap: 40 }.windows((160, 100));
        assert_eq!(windows, [0, 60].map(|x| Rect { x, y: 0, width: 100, height: 100 }));
        let merged = |left: Vec<Detection>, right: Vec<Detection>| {
            merge(windows.iter().copied().zip([left, right]), (160, 100), 0.5)
        };
        // Whole in both windows: the better one stays.
        assert_eq!(
            merged(vec![at(65.0, 90.0, 1, 0.8)], vec![at(5.0, 30.0, 1, 0.9)]),
            [at(65.0, 90.0, 1, 0.9)]
        );
        // Cut on the left with a better score, whole on the right.
        assert_eq!(
            merged(vec![at(90.0, 100.0, 1, 0.99)], vec![at(30.0, 55.0, 1, 0.6)]),
            [at(90.0, 115.0, 1, 0.6)]
        );
        // A small one that is whole does not stand for a large one that is cut.
        let nested = merged(vec![at(20.0, 100.0, 1, 0.99), at(40.0, 50.0, 1, 0.06)], vec![]);
        assert_eq!(nested, [at(20.0, 100.0, 1, 0.99), at(40.0, 50.0, 1, 0.06)]);
        // Of another class both stay; by falling score.
        let both = merged(vec![at(90.0, 100.0, 2, 0.99)], vec![at(30.0, 55.0, 1, 0.6)]);
        assert_eq!(both, [at(90.0, 100.0, 2, 0.99), at(90.0, 115.0, 1, 0.6)]);
        // Larger than the overlap: cut everywhere, so the best part stays, and the parts beside it.
        let parts = merged(vec![at(20.0, 100.0, 1, 0.7)], vec![at(0.0, 90.0, 1, 0.9)]);
        assert_eq!(parts, [at(60.0, 150.0, 1, 0.9), at(20.0, 100.0, 1, 0.7)][..1]);
        // At the image's own border nothing is cut.
        assert_eq!(merged(vec![at(0.0, 10.0, 1, 0.5)], vec![]), [at(0.0, 10.0, 1, 0.5)]);
    }
}
