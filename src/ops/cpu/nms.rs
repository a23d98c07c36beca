//! Greedy non-maximum suppression.
//!
//! Each group is sorted by falling score and swept once: a kept box suppresses the later boxes it
//! overlaps. Quadratic in the boxes that stay of a group, which the detector's limits keep near a
//! thousand; groups are independent and run in parallel.

use rayon::prelude::*;

use super::top_k::falling;
use crate::structures::Xyxy;

pub(super) fn batched_nms(boxes: &[Xyxy], scores: &[f32], groups: &[i64], iou_threshold: f32) -> Vec<bool> {
    let mut order: Vec<usize> = (0..boxes.len()).collect();
    // A stable sort: of equal scores the earlier box goes first.
    order.sort_by_key(|&i| (groups[i], falling(scores[i])));

    let kept: Vec<Vec<usize>> = order
        .par_chunk_by(|&a, &b| groups[a] == groups[b])
        .map(|group| sweep(group, boxes, iou_threshold))
        .collect();

    let mut keep = vec![false; boxes.len()];
    for index in kept.into_iter().flatten() {
        keep[index] = true;
    }
    keep
}

/// The indices that stay, of those in `order` (falling score).
fn sweep(order: &[usize], boxes: &[Xyxy], iou_threshold: f32) -> Vec<usize> {
    let mut kept: Vec<usize> = Vec::new();
    // Side by side in memory, so that the inner loop vectorises.
    let mut kept_boxes: Vec<(Xyxy, f32)> = Vec::new();
    for &index in order {
        let [x1, y1, x2, y2] = boxes[index];
        let area = (x2 - x1) * (y2 - y1);
        let overlaps = |(other, other_area): &(Xyxy, f32)| {
            let width = (x2.min(other[2]) - x1.max(other[0])).max(0.0);
            let height = (y2.min(other[3]) - y1.max(other[1])).max(0.0);
            let intersection = width * height;
            // Not above the threshold when the union is empty (0 / 0) or a corner is NaN.
            intersection / (other_area + area - intersection) > iou_threshold
        };
        if !kept_boxes.iter().any(overlaps) {
            kept.push(index);
            kept_boxes.push((boxes[index], area));
        }
    }
    kept
}
