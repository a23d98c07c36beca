//! Which class is mistaken for which.

use serde::Serialize;

use super::image_result::{ImageResult, check_labels};
use super::pairs::pairs;

/// How often an object of one class was found as another, by [`pairs`](pairs()). An object without a pair
/// counts as found as background, a detection without a pair as background found as its class.
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
        for pair in pairs(result, score_threshold, iou_threshold) {
            let (object, found) =
                (pair.object.map(|object| object.label), pair.found.map(|found| found.label));
            counts[object.unwrap_or(0)][found.unwrap_or(0)] += 1;
        }
    }
    ConfusionMatrix { counts }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structures::{Annotation, Detection};

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
