//! The charts of an evaluation.

use std::path::Path;

use super::chart::{Series, line_chart};
use super::confusion_matrix::plot_confusion_matrix;
use crate::error::Result;
use crate::eval::{EscapePoint, ImageResult, OperatingPoints, confusion_matrix, precision_recall};

/// Above this IoU a detection and an object can be a pair.
const IOU_THRESHOLD: f32 = 0.5;

/// Writes two charts into the existing folder `output`: `precision_recall.png`, at an IoU of 0.5 and over all
/// scores, and `confusion_matrix.png`, of the detections with a score of at least `score_threshold`. Label
/// `l` is called `names[l - 1]`.
///
/// # Errors
///
/// If a file cannot be written.
///
/// # Panics
///
/// If a label lies outside `1..=names.len()`.
pub fn plot_evaluation(
    output: impl AsRef<Path>,
    results: &[ImageResult],
    score_threshold: f32,
    names: &[impl AsRef<str>],
) -> Result<()> {
    let output = output.as_ref();
    let curves = precision_recall(results, names);
    let mut series: Vec<Series> =
        curves.per_class.into_iter().map(|(name, points)| Series { name, points }).collect();
    if series.len() > 1 {
        series.push(Series { name: "mean".to_string(), points: curves.overall });
    }
    let path = output.join("precision_recall.png");
    line_chart(path, "precision over recall at IoU 0.5", "recall", "precision", &series)?;
    let matrix = confusion_matrix(results, names.len(), score_threshold, IOU_THRESHOLD);
    plot_confusion_matrix(output.join("confusion_matrix.png"), &matrix, names)
}

/// The most false calls an image that `escapes.png` shows.
const MOST_FALSE_CALLS: f64 = 2.0;

/// Writes charts into the existing folder `output`: `escapes.png`, the part of the objects that escapes over
/// false calls an image; `alarms.png`, the same over the part of the clean images or windows that alarm, if
/// there are any; `reliability.png`, the part of the detections that is correct over their scores.
///
/// # Errors
///
/// If a file cannot be written.
pub fn plot_operating_points(
    output: impl AsRef<Path>,
    curve: &[EscapePoint],
    points: &OperatingPoints,
) -> Result<()> {
    let output = output.as_ref();
    let over = |part: fn(&EscapePoint) -> Option<f64>, most: f64| {
        let points = curve.iter().filter_map(|point| Some((part(point)?, point.escapes)));
        [Series { name: String::new(), points: points.filter(|(x, _)| *x <= most).collect() }]
    };
    let y = "part that escapes";
    let escapes = over(|point| Some(point.false_calls), MOST_FALSE_CALLS);
    line_chart(output.join("escapes.png"), "escapes over false calls", "false calls an image", y, &escapes)?;
    if curve.iter().any(|point| point.alarms.is_some()) {
        let (x, alarms) = ("part of the clean that alarms", over(|point| point.alarms, 1.0));
        line_chart(output.join("alarms.png"), "escapes over alarms", x, y, &alarms)?;
    }
    let bins = points.overall.reliability.iter().map(|bin| (bin.score, bin.correct)).collect();
    let reliability = [
        Series { name: "measured".to_string(), points: bins },
        Series { name: "calibrated".to_string(), points: vec![(0.0, 0.0), (1.0, 1.0)] },
    ];
    line_chart(output.join("reliability.png"), "reliability of scores", "score", "part correct", &reliability)
}
