//! Which detections of one image are hits.

use std::ops::RangeInclusive;

use crate::eval::image_result::ImageResult;
use crate::eval::ranking::highest_first;
use crate::structures::{Annotation, Detection, Xyxy};

/// How many detections of one image and class count, best first.
pub const MAX_DETECTIONS: [usize; 3] = [1, 10, 100];
/// Areas in square pixels: all, small, medium, large. A border belongs to both sides.
pub const AREAS: [RangeInclusive<f64>; 4] =
    [0.0..=1e10, 0.0..=32.0 * 32.0, 32.0 * 32.0..=96.0 * 96.0, 96.0 * 96.0..=1e10];

/// What a detection turns out to be, given an IoU threshold and a range of areas.
#[derive(Clone, Copy, PartialEq)]
pub enum Outcome {
    Hit,
    Miss,
    /// Belongs to a crowd or to an object of another size: neither hit nor miss.
    Ignored,
}

/// One image, seen by one class.
pub struct ClassImage {
    pub truths: Vec<Truth>,
    /// The best hundred, highest score first.
    pub found: Vec<Found>,
    /// One row for each detection: `[D, G]`, D detections and G ground truths.
    ious: Vec<f64>,
}

/// An object of the ground truth.
pub struct Truth {
    /// In square pixels: COCO's own area of the object, or else that of its box.
    area: f64,
    crowd: bool,
    difficult: bool,
}

impl Truth {
    fn new(annotation: &Annotation) -> Self {
        let area = annotation.area.map_or_else(|| area(&annotation.xyxy), f64::from);
        Self { area, crowd: annotation.crowd, difficult: annotation.difficult }
    }

    pub fn ignored(&self, areas: &RangeInclusive<f64>) -> bool {
        self.crowd || self.difficult || !areas.contains(&self.area)
    }
}

/// A detection.
pub struct Found {
    pub score: f32,
    area: f64,
}

impl Found {
    fn new(detection: &Detection) -> Self {
        Self { score: detection.score, area: area(&detection.xyxy) }
    }
}

impl ClassImage {
    pub fn new(result: &ImageResult, label: usize) -> Self {
        let annotations: Vec<_> = result.annotations.iter().filter(|a| a.label == label).collect();
        let mut detections: Vec<_> = result.detections.iter().filter(|d| d.label == label).collect();
        detections.sort_by(|a, b| highest_first(a.score, b.score));
        detections.truncate(MAX_DETECTIONS[2]);
        let pairs = detections.iter().flat_map(|d| annotations.iter().map(move |a| (d, a)));
        Self {
            ious: pairs.map(|(d, a)| iou(&d.xyxy, &a.xyxy, a.crowd)).collect(),
            truths: annotations.into_iter().map(Truth::new).collect(),
            found: detections.into_iter().map(Found::new).collect(),
        }
    }

    /// The outcome of each detection, best detection first. A detection takes the free object with the
    /// highest IoU, the last one among equals. It takes an object that is to be ignored only if no other
    /// object matches. Any number of detections may take the same crowd,
    /// or the same difficult object, as in VOC's evaluation.
    pub fn outcomes(&self, areas: &RangeInclusive<f64>, iou_threshold: f64) -> Vec<Outcome> {
        let ignored: Vec<bool> = self.truths.iter().map(|truth| truth.ignored(areas)).collect();
        let mut taken = vec![false; self.truths.len()];
        let mut best_of = |detection: usize, among_ignored: bool| {
            let ious = &self.ious[detection * self.truths.len()..][..self.truths.len()];
            let mut best = None;
            let mut best_iou = iou_threshold;
            for (truth, &iou) in ious.iter().enumerate() {
                let free = !taken[truth] || self.truths[truth].crowd || self.truths[truth].difficult;
                if ignored[truth] == among_ignored && free && iou >= best_iou {
                    (best, best_iou) = (Some(truth), iou);
                }
            }
            best.inspect(|&truth| taken[truth] = true)
        };
        let outcome = |(detection, found): (usize, &Found)| {
            if best_of(detection, false).is_some() {
                Outcome::Hit
            } else if best_of(detection, true).is_some() || !areas.contains(&found.area) {
                Outcome::Ignored
            } else {
                Outcome::Miss
            }
        };
        self.found.iter().enumerate().map(outcome).collect()
    }
}

fn area(xyxy: &Xyxy) -> f64 {
    let [x1, y1, x2, y2] = xyxy.map(f64::from);
    (x2 - x1) * (y2 - y1)
}

/// Intersection over union. If the ground truth is a crowd, intersection over the detection's own area.
fn iou(detection: &Xyxy, truth: &Xyxy, crowd: bool) -> f64 {
    let (d, t) = (detection.map(f64::from), truth.map(f64::from));
    let width = d[2].min(t[2]) - d[0].max(t[0]);
    let height = d[3].min(t[3]) - d[1].max(t[1]);
    if width <= 0.0 || height <= 0.0 {
        return 0.0;
    }
    let intersection = width * height;
    let union = if crowd { area(detection) } else { area(detection) + area(truth) - intersection };
    intersection / union
}
