//! Which detection stands for which object, whatever their classes.

use super::image_result::ImageResult;
use super::ranking::highest_first;
use crate::structures::{Annotation, Detection, area, intersection, iou};

/// An object and the detection that found it; an object without a detection is a miss, a detection without an
/// object a false call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// The object, unless there is none.
    pub object: Option<Annotation>,
    /// What was found, unless nothing was.
    pub found: Option<Detection>,
}

impl Pair {
    /// Whether the object was found as what it is.
    pub fn is_right(&self) -> bool {
        self.object.map(|object| object.label) == self.found.map(|found| found.label)
    }
}

/// Detections at or above a score threshold are paired with objects, whatever their classes, where the IoU is
/// above a threshold. The pair with the highest IoU comes first, among equal ones the one with the higher
/// score. Every detection and every object is in one pair at most; then come the objects and the detections
/// without one.
///
/// Crowds and difficult objects are left out, and so are detections without a pair that lie in one of them by
/// more than the IoU threshold. Apart from these, Ultralytics pairs the same way.
pub fn pairs(result: &ImageResult, score_threshold: f32, iou_threshold: f32) -> Vec<Pair> {
    let (ignored, objects): (Vec<&Annotation>, Vec<&Annotation>) =
        result.annotations.iter().partition(|a| a.is_ignored());
    let mut found: Vec<_> = result.detections.iter().filter(|d| d.score >= score_threshold).collect();
    found.sort_by(|a, b| highest_first(a.score, b.score));

    let mut near = Vec::new();
    for (d, detection) in found.iter().enumerate() {
        for (o, object) in objects.iter().enumerate() {
            near.push((iou(&detection.xyxy, &object.xyxy), d, o));
        }
    }
    near.retain(|pair| pair.0 > iou_threshold);
    near.sort_by(|a, b| highest_first(a.0, b.0));

    let mut pairs = Vec::new();
    let mut found_free = vec![true; found.len()];
    let mut object_free = vec![true; objects.len()];
    for (_, d, o) in near {
        if found_free[d] && object_free[o] {
            (found_free[d], object_free[o]) = (false, false);
            pairs.push(Pair { object: Some(*objects[o]), found: Some(*found[d]) });
        }
    }
    for (object, _) in objects.iter().zip(object_free).filter(|(_, free)| *free) {
        pairs.push(Pair { object: Some(**object), found: None });
    }
    for (detection, _) in found.iter().zip(found_free).filter(|(_, free)| *free) {
        let limit = iou_threshold * area(&detection.xyxy);
        if !ignored.iter().any(|region| intersection(&detection.xyxy, &region.xyxy) > limit) {
            pairs.push(Pair { object: None, found: Some(**detection) });
        }
    }
    pairs
}
