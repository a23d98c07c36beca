//! Assigns ground truth to anchors or proposals by overlap.
//!
//! Source: [Ren et al. 2015](https://arxiv.org/abs/1506.01497), torchvision `_utils.Matcher`.

use rayon::prelude::*;

use crate::structures::{Xyxy, iou};

/// What a candidate box is trained as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// An object: the index of its ground truth.
    Object(usize),
    /// Background: overlaps too little.
    Background,
    /// Neither; left out of training.
    Between,
}

/// Thresholds of the assignment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Matcher {
    /// IoU from which a candidate is an object.
    pub foreground_iou: f32,
    /// IoU below which it is background.
    pub background_iou: f32,
    /// Each ground truth's best candidates become objects however little they overlap.
    pub allow_low_quality: bool,
}

impl Matcher {
    /// One [`Match`] a candidate. Without ground truth all is background. Of equally good ground
    /// truths the first counts.
    pub fn assign(&self, ground_truth: &[Xyxy], candidates: &[Xyxy]) -> Vec<Match> {
        let best: Vec<(usize, f32)> = candidates.par_iter().map(|box_| best_of(box_, ground_truth)).collect();
        let mut matches: Vec<Match> = best
            .iter()
            .map(|&(index, iou)| match iou {
                iou if ground_truth.is_empty() || iou < self.background_iou => Match::Background,
                iou if iou < self.foreground_iou => Match::Between,
                _ => Match::Object(index),
            })
            .collect();
        if self.allow_low_quality {
            // A candidate that is the best of any ground truth goes to its own best, which need not
            // be that one: torchvision's rule.
            for ground_truth in ground_truth {
                let overlaps: Vec<f32> = candidates.par_iter().map(|box_| iou(ground_truth, box_)).collect();
                let highest = overlaps.iter().copied().fold(0.0, f32::max);
                for (index, _) in overlaps.iter().enumerate().filter(|&(_, &overlap)| overlap == highest) {
                    matches[index] = Match::Object(best[index].0);
                }
            }
        }
        matches
    }
}

fn best_of(box_: &Xyxy, ground_truth: &[Xyxy]) -> (usize, f32) {
    let mut best = (0, f32::NEG_INFINITY);
    for (index, other) in ground_truth.iter().enumerate() {
        let overlap = iou(other, box_);
        if overlap > best.1 {
            best = (index, overlap);
        }
    }
    best
}
