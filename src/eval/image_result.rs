//! What every metric is computed from.

use crate::structures::{Annotation, Detection};

/// What is known about one image and what was found in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImageResult {
    /// The ground truth, in the order of its file.
    pub annotations: Vec<Annotation>,
    /// What the model found, in any order. Among equal scores the earlier one goes first.
    pub detections: Vec<Detection>,
}

/// # Panics
///
/// If a label of an annotation or a detection lies outside `1..=classes`.
pub fn check_labels(results: &[ImageResult], classes: usize) {
    for (image, result) in results.iter().enumerate() {
        let annotated = result.annotations.iter().map(|a| ("annotation", a.label));
        let detected = result.detections.iter().map(|d| ("detection", d.label));
        for (what, label) in annotated.chain(detected) {
            assert!(
                (1..=classes).contains(&label),
                "image {image}: label {label} of the {what} is outside 1..={classes}"
            );
        }
    }
}
