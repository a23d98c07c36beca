//! Greedy non-maximum suppression.
//!
//! Boxes are sorted by group and falling score, and each group is swept: a box that stays suppresses the
//! later ones it overlaps.
//!
//! ```text
//! for each group, in parallel:
//!     for each batch of boxes, by falling score:
//!         left = those that overlap no box that stays so far       in parallel, 16 comparisons at once
//!         for each of left, in turn:
//!             it stays if it overlaps none of this batch that stays
//! ```
//!
//! The time is quadratic in the boxes of a group that stay; the detector's limits keep them near a thousand.

use std::array;

use rayon::prelude::*;

use super::simd::vectorized;
use super::top_k::falling;
use crate::structures::Xyxy;

/// Boxes of a step of the sweep: they are compared with all that stay so far.
const BATCH: usize = 256;
/// Boxes of a step that one task compares.
const PART: usize = 32;
/// Boxes that one box is compared with at a time.
const LANES: usize = 16;

/// Sixteen boxes that stay: x1, y1, x2, y2 and area of each. Where there are fewer, the first one is
/// repeated.
type Block = [[f32; LANES]; 5];

pub(super) fn batched_nms(boxes: &[Xyxy], scores: &[f32], groups: &[i64], iou_threshold: f32) -> Vec<bool> {
    let mut order: Vec<usize> = (0..boxes.len()).collect();
    // A stable sort: of equal scores the earlier box goes first.
    order.par_sort_by_key(|&i| (groups[i], falling(scores[i])));

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
    let mut blocks: Vec<Block> = Vec::new();
    for batch in order.chunks(BATCH) {
        let left = batch.par_chunks(PART).flat_map_iter(|part| {
            vectorized(
                #[inline(always)]
                || {
                    let stays = |&&index: &&usize| !overlaps(&boxes[index], &blocks, iou_threshold);
                    part.iter().filter(stays).copied().collect::<Vec<_>>()
                },
            )
        });
        let left: Vec<usize> = left.collect();
        let first = blocks.len();
        vectorized(
            #[inline(always)]
            || {
                let mut count = 0;
                for &index in &left {
                    if overlaps(&boxes[index], &blocks[first..], iou_threshold) {
                        continue;
                    }
                    let [x1, y1, x2, y2] = boxes[index];
                    let values = [x1, y1, x2, y2, (x2 - x1) * (y2 - y1)];
                    match count % LANES {
                        0 => blocks.push(values.map(|value| [value; LANES])),
                        lane => {
                            let block = blocks.last_mut().expect("a block was begun");
                            block.iter_mut().zip(values).for_each(|(lanes, value)| lanes[lane] = value);
                        }
                    }
                    count += 1;
                    kept.push(index);
                }
            },
        );
    }
    kept
}

/// Whether the IoU with any box of the blocks is above the threshold.
#[inline(always)]
fn overlaps(&[x1, y1, x2, y2]: &Xyxy, blocks: &[Block], iou_threshold: f32) -> bool {
    let area = (x2 - x1) * (y2 - y1);
    let (min, max) = (|a: f32, b: f32| if a < b { a } else { b }, |a: f32, b: f32| if a > b { a } else { b });
    blocks.iter().any(|[left, top, right, bottom, areas]| {
        let above: [bool; LANES] = array::from_fn(|lane| {
            let width = max(min(x2, right[lane]) - max(x1, left[lane]), 0.0);
            let height = max(min(y2, bottom[lane]) - max(y1, top[lane]), 0.0);
            let intersection = width * height;
            // Not above the threshold when the union is empty (0 / 0) or a corner is NaN.
            intersection / (areas[lane] + area - intersection) > iou_threshold
        });
        above.into_iter().fold(false, |any, above| any | above)
    })
}
