//! Which class is mistaken for which.

use serde::Serialize;

use super::image_result::{ImageResult, check_labels};
use super::ranking::highest_first;
use crate::structures::{Annotation, area, intersection, iou};

/// How often an object of one class was found as another.
///
/// Detections at or above a score threshold are paired with ground truths, whatever their classes, where the
/// IoU is above a threshold. The pair with the highest IoU comes first, among equal ones the one with the
/// higher score. Every detection and every ground truth is in one pair at most. A ground truth without a pair
/// counts as found as background, a detection without a pair as background found as its class.
///
/// Crowds and difficult objects are not counted, nor are detections without a pair that lie in one of them by
/// more than the IoU threshold. Apart from these, Ultralytics counts the same way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfusionMatrix {
    /// `counts[true label][detected label]`, `C + 1` rows of `C + 1`; label 0 is the background.
    pub counts: Vec<Vec<u64>>,
}

/// Counts which of the classes `1..=classes` is found as which.
///
/// # Panics
///
/// If a label of an annotation or a detection lies outside `1..=classes`.
pub fn confusion_matrix(
    results: &[ImageResult],
    classes: usize,
    score_threshold: f32,
    iou_threshold: f32,
) -> ConfusionMatrix {
    check_labels(results, classes);
    let mut counts = vec![vec![0; classes + 1]; classes + 1];
    for result in results {
        let (ignored, truths): (Vec<&Annotation>, Vec<&Annotation>) =
            result.annotations.iter().partition(|a| a.is_ignored());
        let mut found: Vec<_> = result.detections.iter().filter(|d| d.score >= score_threshold).collect();
        found.sort_by(|a, b| highest_first(a.score, b.score));

        let mut pairs = Vec::new();
        for (d, detection) in found.iter().enumerate() {
            for (t, truth) in truths.iter().enumerate() {
                pairs.push((iou(&detection.xyxy, &truth.xyxy), d, t));
            }
        }
        pairs.retain(|pair| pair.0 > iou_threshold);
        pairs.sort_by(|a, b| highest_first(a.0, b.0));

        let mut found_free = vec![true; found.len()];
        let mut truth_free = vec![true; truths.len()];
        for (_, d, t) in pairs {
            if found_free[d] && truth_free[t] {
                (found_free[d], truth_free[t]) = (false, false);
                counts[truths[t].label][found[d].label] += 1;
            }
        }
        for (truth, _) in truths.iter().zip(truth_free).filter(|(_, free)| *free) {
            counts[truth.label][0] += 1;
        }
        for (detection, _) in found.iter().zip(found_free).filter(|(_, free)| *free) {
            let limit = iou_threshold * area(&detection.xyxy);
            if !ignored.iter().any(|region| intersection(&detection.xyxy, &region.xyxy) > limit) {
                counts[0][detection.label] += 1;
            }
        }
    }
    ConfusionMatrix { counts }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structures::Detection;

    /// Objects of class 1 at 0 and at 50, of class 2 at 100, a crowd from 200 to 300. Found, by score:
    /// class 2 at 2 (IoU 8/12 with the first, but the next one's is higher), class 1 at 0 (its pair), class 1
    /// at 100 (wrong class), class 2 in the crowd (not counted), and class 1 at 50 below the threshold.
    #[test]
    fn a_matrix_by_hand() {
        let square = |x: f32| [x, 0.0, x + 10.0, 10.0];
        let found = |x, label, score| Detection { xyxy: square(x), label, score };
        let result = ImageResult {
            annotations: vec![
                Annotation::new(square(0.0), 1),
                Annotation::new(square(50.0), 1),
                Annotation::new(square(100.0), 2),
                Annotation { crowd: true, ..Annotation::new([200.0, 0.0, 300.0, 100.0], 1) },
            ],
            detections: vec![
                found(2.0, 2, 0.9),
                found(0.0, 1, 0.8),
                found(100.0, 1, 0.7),
                found(220.0, 2, 0.6),
                found(50.0, 1, 0.4),
            ],
        };
        let matrix = confusion_matrix(&[result], 2, 0.5, 0.5);
        assert_eq!(matrix.counts, [[0, 0, 1], [1, 1, 0], [0, 1, 0]]);
    }
}
