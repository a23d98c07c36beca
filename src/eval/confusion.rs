//! Which class is taken for which.

use serde::Serialize;

use super::{ImageResult, falling};
use crate::structures::{Annotation, area, intersection, iou};

/// How often an object of one class was found as another.
///
/// Detections at or above a score threshold and ground truths with an IoU above a threshold are paired
/// whatever their classes, the pair of the highest IoU first, each at most once. Among pairs of equal IoU the
/// one of the higher score goes first. A ground truth left over was taken for background, and so was
/// background for the class of a detection left over. Crowd annotations, and detections left over of which
/// more than the IoU threshold lies in one, are not counted. This is how Ultralytics counts, but for crowds.
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
    super::check_labels(results, classes);
    let mut counts = vec![vec![0; classes + 1]; classes + 1];
    for result in results {
        let (crowds, truths): (Vec<&Annotation>, Vec<&Annotation>) =
            result.annotations.iter().partition(|a| a.crowd);
        let mut found: Vec<_> = result.detections.iter().filter(|d| d.score >= score_threshold).collect();
        found.sort_by(|a, b| falling(a.score, b.score));

        let mut pairs = Vec::new();
        for (d, detection) in found.iter().enumerate() {
            for (t, truth) in truths.iter().enumerate() {
                pairs.push((iou(&detection.xyxy, &truth.xyxy), d, t));
            }
        }
        pairs.retain(|pair| pair.0 > iou_threshold);
        pairs.sort_by(|a, b| falling(a.0, b.0));

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
            if !crowds.iter().any(|crowd| intersection(&detection.xyxy, &crowd.xyxy) > limit) {
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
                Annotation { xyxy: [200.0, 0.0, 300.0, 100.0], label: 1, crowd: true, area: None },
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
