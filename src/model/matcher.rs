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
    /// A candidate is an object from this IoU with a ground truth.
    pub fg_iou_thresh: f32,
    /// A candidate is background below this IoU with every ground truth.
    pub bg_iou_thresh: f32,
    /// The best candidates of each ground truth become objects however little they overlap it.
    pub allow_low_quality_matches: bool,
}

impl Matcher {
    /// One [`Match`] per candidate, by IoU. Without ground truth all is background. Among equally good ground
    /// truths, the first is taken.
    pub fn assign(&self, ground_truth: &[Xyxy], candidates: &[Xyxy]) -> Vec<Match> {
        self.assign_by(ground_truth.len(), candidates.len(), |truth, candidate| {
            iou(&ground_truth[truth], &candidates[candidate])
        })
    }

    /// The same with any measure of how well a ground truth and a candidate agree, both given by index.
    pub fn assign_by(
        &self,
        ground_truths: usize,
        candidates: usize,
        quality: impl Fn(usize, usize) -> f32 + Sync,
    ) -> Vec<Match> {
        let best_of = |candidate: usize| {
            let mut best = (0, f32::NEG_INFINITY);
            for truth in 0..ground_truths {
                let quality = quality(truth, candidate);
                if quality > best.1 {
                    best = (truth, quality);
                }
            }
            best
        };
        let best: Vec<(usize, f32)> = (0..candidates).into_par_iter().map(best_of).collect();
        let mut matches: Vec<Match> = best
            .iter()
            .map(|&(truth, quality)| match quality {
                quality if ground_truths == 0 || quality < self.bg_iou_thresh => Match::Background,
                quality if quality < self.fg_iou_thresh => Match::Between,
                _ => Match::Object(truth),
            })
            .collect();
        if self.allow_low_quality_matches {
            // torchvision's rule: a candidate that is the best of any ground truth is matched to its own best
            // ground truth, which may be another one.
            for truth in 0..ground_truths {
                let qualities: Vec<f32> =
                    (0..candidates).into_par_iter().map(|candidate| quality(truth, candidate)).collect();
                let highest = qualities.iter().copied().fold(0.0, f32::max);
                for (index, _) in qualities.iter().enumerate().filter(|&(_, &quality)| quality == highest) {
                    matches[index] = Match::Object(best[index].0);
                }
            }
        }
        matches
    }
}
