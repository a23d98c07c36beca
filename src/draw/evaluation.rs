//! The charts of an evaluation.

use std::path::Path;

use super::{Series, line_chart};
use crate::error::Result;
use crate::eval::{ImageResult, confusion_matrix, precision_recall};

/// A detection and an object are the same one above this IoU.
const IOU_THRESHOLD: f32 = 0.5;

/// Writes `precision_recall.png` (at an IoU of 0.5, all scores) and `confusion_matrix.png` (detections of a
/// score of at least `score_threshold`) into the existing folder `output`. Label `l` is called `names[l - 1]`.
///
/// # Errors
///
/// If a file cannot be written.
///
/// # Panics
///
/// If a label lies outside `1..=names.len()`.
pub fn evaluation(
    output: &Path,
    results: &[ImageResult],
    score_threshold: f32,
    names: &[String],
) -> Result<()> {
    let curves = precision_recall(results, names);
    let mut series: Vec<Series> =
        curves.per_class.into_iter().map(|(name, points)| Series { name, points }).collect();
    if series.len() > 1 {
        series.push(Series { name: "mean".to_string(), points: curves.overall });
    }
    let path = output.join("precision_recall.png");
    line_chart(path, "precision over recall at IoU 0.5", "recall", "precision", &series)?;
    let matrix = confusion_matrix(results, names.len(), score_threshold, IOU_THRESHOLD);
    super::confusion_matrix(output.join("confusion_matrix.png"), &matrix, names)
}
