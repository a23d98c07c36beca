//! The curves whose mean is AP50.

use serde::Serialize;

use super::curve::{Class, Curve, RECALLS, iou_threshold, mean, recall_level};
use super::matching::AREAS;
use crate::eval::image_result::{ImageResult, check_labels};
use crate::eval::per_class::{as_map, for_each_class, owned};

/// Precision over recall at IoU .50, `(recall, precision)` at recalls 0, .01, .., 1.
///
/// The precision at a recall is the best one at that or any higher recall, and zero at recalls that are never
/// reached. So the mean of a curve is the AP50 of its class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PrecisionRecall {
    /// Mean of the classes' curves; empty where there is no ground truth at all.
    pub overall: Vec<(f64, f64)>,
    /// Name and curve of every class that has ground truth, in the order of the labels.
    #[serde(serialize_with = "as_map")]
    pub per_class: Vec<(String, Vec<(f64, f64)>)>,
}

/// The precision-recall curves behind AP50.
///
/// # Panics
///
/// If a label of an annotation or a detection lies outside `1..=class_names.len()`.
pub fn precision_recall(results: &[ImageResult], class_names: &[impl AsRef<str>]) -> PrecisionRecall {
    check_labels(results, class_names.len());
    let class_names = owned(class_names);
    let curves =
        for_each_class(&class_names, |label| Class::new(results, label).curve(&AREAS[0], iou_threshold(0)));
    let known: Vec<(String, Curve)> =
        curves.into_iter().filter_map(|(name, curve)| Some((name, curve?))).collect();
    let points =
        |precision: &dyn Fn(usize) -> f64| (0..RECALLS).map(|i| (recall_level(i), precision(i))).collect();
    PrecisionRecall {
        overall: match known.is_empty() {
            true => Vec::new(),
            false => points(&|i| mean(known.iter().map(|(_, curve)| curve.precision[i]))),
        },
        per_class: known
            .iter()
            .map(|(name, curve)| (name.clone(), points(&|i| curve.precision[i])))
            .collect(),
    }
}
