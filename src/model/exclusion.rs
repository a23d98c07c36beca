//! One object has one class.
//!
//! The scores that the RoI heads give to one proposal sum to at most one. But non-maximum suppression looks
//! for the best proposal of each class by itself, so that one object may become a mousebite with a score of
//! 0.9 and an open with 0.8. Then the lower score becomes its share of both:
//!
//! ```text
//! score / max(1, score + higher scores of other classes whose boxes overlap it)
//! ```
//!
//! The best class keeps its score, and all of them do while they sum to at most one. No box is moved.

use crate::structures::{Detection, iou};

/// When detections exclude each other.
#[derive(Debug, Clone, Copy)]
pub struct Exclusion {
    /// Boxes of two classes with an IoU above this are one object; from 1 on, none are.
    pub iou: f64,
    /// Detections whose score is no longer above this are dropped.
    pub score_thresh: f32,
}

impl Exclusion {
    /// Lowers the scores of one image's detections, which are sorted by falling score, and sorts them again.
    pub fn apply(self, found: &mut Vec<Detection>) {
        if self.iou >= 1.0 {
            return;
        }
        let share = |(index, one): (usize, &Detection)| {
            let excludes = |better: &&Detection| {
                better.label != one.label && f64::from(iou(&better.xyxy, &one.xyxy)) > self.iou
            };
            let better: f32 = found[..index].iter().filter(excludes).map(|better| better.score).sum();
            one.score / (one.score + better).max(1.0)
        };
        let scores: Vec<f32> = found.iter().enumerate().map(share).collect();
        found.iter_mut().zip(scores).for_each(|(one, score)| one.score = score);
        found.retain(|one| one.score > self.score_thresh);
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f32, label: usize, score: f32) -> Detection {
        Detection { xyxy: [x, 10.0, x + 20.0, 30.0], label, score }
    }

    fn excluded(mut found: Vec<Detection>) -> Vec<Detection> {
        Exclusion { iou: 0.5, score_thresh: 0.05 }.apply(&mut found);
        found
    }

    #[test]
    fn of_two_classes_of_one_object_the_lower_one_falls() {
        // 0.75 / (0.75 + 1), by falling score, behind one of another place.
        let found = vec![at(10.0, 1, 1.0), at(12.0, 2, 0.75), at(60.0, 2, 0.5)];
        assert_eq!(excluded(found), [at(10.0, 1, 1.0), at(60.0, 2, 0.5), at(12.0, 2, 0.75 / 1.75)]);
        // The third class shares with both, as they were.
        let found = vec![at(10.0, 1, 1.0), at(10.0, 2, 0.75), at(10.0, 3, 0.25)];
        assert_eq!(excluded(found), [at(10.0, 1, 1.0), at(10.0, 2, 0.75 / 1.75), at(10.0, 3, 0.125)]);
    }

    #[test]
    fn scores_that_can_be_true_together_stay() {
        let apart = vec![at(10.0, 1, 1.0), at(24.0, 2, 0.75)]; // an IoU of 6 / 34
        let same_class = vec![at(10.0, 1, 1.0), at(12.0, 1, 0.75)];
        let sum_of_one = vec![at(10.0, 1, 0.625), at(10.0, 2, 0.375)];
        for found in [apart, same_class, sum_of_one] {
            assert_eq!(excluded(found.clone()), found);
        }
    }

    #[test]
    fn what_falls_to_the_threshold_is_dropped() {
        assert_eq!(excluded(vec![at(10.0, 1, 1.0), at(10.0, 2, 0.0520)]), [at(10.0, 1, 1.0)]);
    }

    #[test]
    fn an_iou_of_one_turns_it_off() {
        let found = vec![at(10.0, 1, 1.0), at(10.0, 2, 0.75), at(60.0, 1, 0.01)];
        let mut same = found.clone();
        Exclusion { iou: 1.0, score_thresh: 0.05 }.apply(&mut same);
        assert_eq!(same, found);
    }
}
