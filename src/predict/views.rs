//! An image turned and mirrored: a detector errs in other ways on each view, so all of them together know
//! more than one.
//!
//! ```text
//! image ─ views ─ detector ─ boxes turned back ─ one box an object
//! ```
//!
//! By falling score, each detection of any view joins the object of its class that it overlaps most, if their
//! IoU is above the threshold of non-maximum suppression; else it is a new object. The score of an object is
//! the mean of what each view says, at best, and 0 where a view says nothing. Its box is the mean of the
//! boxes, weighted by their scores. This is known as test-time augmentation.

use crate::structures::{Corners, Detection, Image, Xyxy, clip, iou};

/// Detections of a view with a lower score than this count as none, unless lower ones are asked for.
pub(super) const LEAST_SCORE: f32 = 0.05;

/// How an image is turned: mirrored along its diagonal, and then from left to right and from top to bottom.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    transposed: bool,
    mirrored: [bool; 2],
}

impl View {
    /// 1, 2, 4 or 8 views, which begin with the image as it is: also mirrored from left to right, also from
    /// top to bottom (both is half a turn), also along the diagonal (so by quarter turns, too).
    pub fn all(count: usize) -> impl Iterator<Item = Self> {
        let of =
            |index: usize| Self { transposed: index & 4 != 0, mirrored: [index & 1 != 0, index & 2 != 0] };
        (0..count).map(of)
    }

    pub fn of(self, image: &Image) -> Image {
        image.turned(self.transposed, self.mirrored)
    }

    /// A box of the view, as edges of pixels, in an image of `(height, width)`.
    fn back(self, [x1, y1, x2, y2]: Xyxy, (height, width): (usize, usize)) -> Xyxy {
        let sides = [height as f32, width as f32];
        let [down, across] = if self.transposed { [sides[1], sides[0]] } else { sides };
        let back =
            |start, end, side, mirrored| if mirrored { (side - end, side - start) } else { (start, end) };
        let (x1, x2) = back(x1, x2, across, self.mirrored[0]);
        let (y1, y2) = back(y1, y2, down, self.mirrored[1]);
        if self.transposed { [y1, x1, y2, x2] } else { [x1, y1, x2, y2] }
    }
}

/// An object that some views show.
struct Object {
    /// The detection with the highest score.
    first: Detection,
    /// The highest score of each view.
    scores: Vec<f32>,
    /// Sum of the boxes, weighted by score, and of the scores.
    boxes: [f32; 4],
    weight: f32,
}

impl Object {
    fn add(&mut self, view: usize, found: &Detection) {
        self.scores[view] = self.scores[view].max(found.score);
        self.boxes.iter_mut().zip(found.xyxy).for_each(|(sum, side)| *sum += found.score * side);
        self.weight += found.score;
    }

    fn detection(&self) -> Detection {
        let score = self.scores.iter().sum::<f32>() / self.scores.len() as f32;
        let xyxy = if self.weight > 0.0 { self.boxes.map(|sum| sum / self.weight) } else { self.first.xyxy };
        Detection { xyxy, label: self.first.label, score }
    }
}

/// The detections of all views of an image of `(height, width)`, as those of one, by falling score.
pub(super) fn merge(
    found: &[(View, Vec<Detection>)],
    size: (usize, usize),
    corners: Corners,
    nms_thresh: f64,
) -> Vec<Detection> {
    let of_view = |(index, (view, detections)): (usize, &(View, Vec<Detection>))| {
        let back = |found: &Detection| {
            // A detector may put a last pixel behind the image's own.
            let edges = clip(&view.back(corners.edges_of(found.xyxy), size), size);
            Detection { xyxy: corners.of_edges(edges), ..*found }
        };
        detections.iter().map(|found| (index, back(found))).collect::<Vec<_>>()
    };
    let mut all: Vec<(usize, Detection)> = found.iter().enumerate().flat_map(of_view).collect();
    all.sort_by(|(_, a), (_, b)| b.score.total_cmp(&a.score));
    let mut objects: Vec<Object> = Vec::new();
    for (view, detection) in all {
        let overlapping = objects.iter_mut().filter(|object| object.first.label == detection.label);
        let overlapping =
            overlapping.map(|object| (f64::from(iou(&object.first.xyxy, &detection.xyxy)), object));
        let nearest = overlapping.max_by(|a, b| a.0.total_cmp(&b.0));
        match nearest {
            Some((iou, object)) if iou > nms_thresh => object.add(view, &detection),
            _ => {
                let scores = vec![0.0; found.len()];
                let mut object = Object { first: detection, scores, boxes: [0.0; 4], weight: 0.0 };
                object.add(view, &detection);
                objects.push(object);
            }
        }
    }
    let mut merged: Vec<Detection> = objects.iter().map(Object::detection).collect();
    merged.sort_by(|a, b| b.score.total_cmp(&a.score));
    merged
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;

    #[test]
    fn every_view_differs_and_its_boxes_go_back_to_where_they_were() {
        // A bright rectangle in an image that no turn maps to itself.
        let place = [3.0, 1.0, 8.0, 3.0];
        let inside = |x, y| (3..8).contains(&x) && (1..3).contains(&y);
        let picture = RgbImage::from_fn(12, 7, |x, y| [if inside(x, y) { 255 } else { x as u8 }; 3].into());
        let bytes = Image::from(&picture);
        let floats = Image::new(bytes.data().to_vec(), bytes.size());
        let views: Vec<View> = View::all(8).collect();
        assert_eq!(views[0].of(&bytes), bytes);
        for (index, view) in views.iter().enumerate() {
            let turned = view.of(&bytes);
            assert_eq!(turned, view.of(&floats));
            assert!(views[..index].iter().all(|other| other.of(&bytes) != turned), "{view:?}");
            let (height, width) = turned.size();
            let data = turned.data();
            let bright: Vec<(f32, f32)> = (0..height * width)
                .filter(|pixel| data[*pixel] == 1.0)
                .map(|pixel| ((pixel % width) as f32, (pixel / width) as f32))
                .collect();
            assert_eq!(bright.len(), 10);
            let least = |of: fn(&(f32, f32)) -> f32| bright.iter().map(of).fold(f32::INFINITY, f32::min);
            let most = |of: fn(&(f32, f32)) -> f32| bright.iter().map(of).fold(0.0, f32::max);
            let seen = [least(|p| p.0), least(|p| p.1), most(|p| p.0) + 1.0, most(|p| p.1) + 1.0];
            assert_eq!(view.back(seen, bytes.size()), place, "{view:?}");
            // The first and the last of its pixels; and of all, where a detector may see one too many.
            let merged = |xyxy| {
                let found = [(*view, vec![Detection { xyxy, label: 1, score: 0.5 }])];
                merge(&found, bytes.size(), Corners::Pixels, 0.5)[0].xyxy
            };
            let [x1, y1, x2, y2] = seen;
            let pixels = [place[0], place[1], place[2] - 1.0, place[3] - 1.0];
            assert_eq!(merged([x1, y1, x2 - 1.0, y2 - 1.0]), pixels, "{view:?}");
            let whole = [0.0, 0.0, width as f32, height as f32];
            assert_eq!(merged(whole), [0.0, 0.0, 11.0, 6.0], "{view:?}");
        }
    }

    fn at(x: f32, label: usize, score: f32) -> Detection {
        Detection { xyxy: [x, 10.0, x + 20.0, 30.0], label, score }
    }

    #[test]
    fn an_object_has_the_mean_score_of_the_views_and_the_mean_box() {
        let upright = View { transposed: false, mirrored: [false, false] };
        let merged = |views: [Vec<Detection>; 2]| {
            merge(&views.map(|found| (upright, found)), (100, 100), Corners::Edges, 0.5)
        };
        assert_eq!(merged([vec![at(10.0, 1, 0.75)], vec![at(14.0, 1, 0.25)]]), [at(11.0, 1, 0.5)]);
        // What one view alone sees counts half.
        assert_eq!(merged([vec![at(10.0, 1, 0.5)], vec![]]), [at(10.0, 1, 0.25)]);
        // Other classes and other places are other objects; by falling score.
        assert_eq!(
            merged([vec![at(10.0, 1, 0.5), at(60.0, 1, 0.75)], vec![at(10.0, 2, 1.0)]]),
            [at(10.0, 2, 0.5), at(60.0, 1, 0.375), at(10.0, 1, 0.25)]
        );
        // Of two in reach, the nearer one.
        assert_eq!(
            merged([vec![at(10.0, 1, 1.0), at(22.0, 1, 0.5)], vec![at(20.0, 1, 0.5)]]),
            [at(10.0, 1, 0.5), at(21.0, 1, 0.5)]
        );
    }
}
