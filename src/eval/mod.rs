//! How good the detections are: [COCO's average precision](CocoMetrics), [DeepPCB's own
//! metric](DeepPcbMetrics), [precision-recall curves](precision_recall) and a
//! [confusion matrix](confusion_matrix()).
//!
//! Stands behind the line of the crate's front page: `Detections` come in, numbers go out. Nothing here
//! knows of models or files. Where there is no ground truth a number is unknown: `None`, JSON's `null`,
//! `-` in the table (pycocotools prints -1).

use std::{cmp::Ordering, fmt};

use rayon::prelude::*;
use serde::{Serialize, Serializer};

use crate::structures::{Annotation, Detection};

mod coco;
mod confusion;
mod deep_pcb;

pub use coco::{CocoMetrics, CocoStats, PrecisionRecall, precision_recall};
pub use confusion::{ConfusionMatrix, confusion_matrix};
pub use deep_pcb::{DeepPcbClass, DeepPcbMetrics};

/// What is known and what was found in one image.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImageResult {
    /// The ground truth, in the order of its file.
    pub annotations: Vec<Annotation>,
    /// What the model found, in any order; among equal scores the earlier one goes first.
    pub detections: Vec<Detection>,
}

/// Every metric of one set of images. Printed it is a table, one row per class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Average precision and recall as pycocotools computes them.
    pub coco: CocoMetrics,
    /// Average precision and F-score as DeepPCB's evaluation script computes them.
    pub deep_pcb: DeepPcbMetrics,
}

/// Evaluates the detections of a set of images; label `l` is called `class_names[l - 1]`.
///
/// The order of the images matters where scores tie: the earlier image goes first.
///
/// # Panics
///
/// If a label of an annotation or a detection lies outside `1..=class_names.len()`.
pub fn evaluate(results: &[ImageResult], class_names: &[String]) -> Evaluation {
    check_labels(results, class_names.len());
    Evaluation {
        coco: CocoMetrics::of(results, class_names),
        deep_pcb: DeepPcbMetrics::of(results, class_names),
    }
}

fn check_labels(results: &[ImageResult], classes: usize) {
    for (image, result) in results.iter().enumerate() {
        let annotated = result.annotations.iter().map(|a| ("annotation", a.label));
        let detected = result.detections.iter().map(|d| ("detection", d.label));
        for (what, label) in annotated.chain(detected) {
            assert!(
                (1..=classes).contains(&label),
                "image {image}: label {label} of an {what} is outside 1..={classes}"
            );
        }
    }
}

/// What `f` gives for every label, beside the label's name; the classes are worked on in parallel.
fn for_each_class<T: Send>(class_names: &[String], f: impl Fn(usize) -> T + Sync) -> Vec<(String, T)> {
    class_names.par_iter().enumerate().map(|(index, name)| (name.clone(), f(index + 1))).collect()
}

/// Highest score first, NaN last. With a stable sort the order of Python's `argsort(-scores, kind="stable")`.
fn falling(a: f32, b: f32) -> Ordering {
    a.is_nan().cmp(&b.is_nan()).then(b.partial_cmp(&a).unwrap_or(Ordering::Equal))
}

/// Mean of what is known; `None` where nothing is.
fn mean_of_known(values: impl IntoIterator<Item = Option<f64>>) -> Option<f64> {
    let known: Vec<f64> = values.into_iter().flatten().collect();
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}

/// Writes pairs as a JSON object that keeps their order, which for classes is the order of their labels.
fn as_map<T: Serialize, S: Serializer>(pairs: &[(String, T)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, value)| (name, value)))
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cell = |value: Option<f64>| value.map_or("-".to_string(), |v| format!("{v:.3}"));
        let row = |name: &str, coco: &CocoStats, deep_pcb: Option<f64>| {
            let mut cells = coco.columns().map(|(_, value)| cell(value)).to_vec();
            cells.push(cell(deep_pcb));
            (name.to_string(), cells)
        };
        let mut titles = self.coco.overall.columns().map(|(title, _)| title.to_string()).to_vec();
        titles.push("AP33".to_string());

        let mut rows = vec![("class".to_string(), titles)];
        rows.push(row("mean", &self.coco.overall, self.deep_pcb.class_mean_ap));
        for ((name, coco), (_, deep_pcb)) in self.coco.per_class.iter().zip(&self.deep_pcb.per_class) {
            rows.push(row(name, coco, deep_pcb.ap));
        }
        let name_width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, cells) in rows {
            write!(f, "{name:name_width$}")?;
            for cell in cells {
                write!(f, " {cell:>6}")?;
            }
            writeln!(f)?;
        }
        writeln!(
            f,
            "COCO: AP, AR at IoU .50:.95, AP50, AP75; small < 32^2 < medium < 96^2 < large. AP33: IoU > 0.33."
        )?;
        write!(
            f,
            "DeepPCB: mAP {}, F-score {} (precision {}, recall {}) at score >= {}",
            cell(self.deep_pcb.map),
            cell(self.deep_pcb.f_score),
            cell(self.deep_pcb.precision),
            cell(self.deep_pcb.recall),
            cell(self.deep_pcb.threshold.map(f64::from)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results() -> Vec<ImageResult> {
        let xyxy = [0.0, 0.0, 20.0, 20.0];
        vec![ImageResult {
            annotations: vec![Annotation::new(xyxy, 1)],
            detections: vec![Detection { xyxy, label: 1, score: 0.75 }],
        }]
    }

    #[test]
    fn the_table_and_the_json_show_what_is_known_and_what_is_not() {
        let evaluation = evaluate(&results(), &["open".to_string(), "pin-hole".to_string()]);
        let expected = "\
class        AP   AP50   AP75  small medium  large    AR1   AR10  AR100   AP33
mean      1.000  1.000  1.000  1.000      -      -  1.000  1.000  1.000  1.000
open      1.000  1.000  1.000  1.000      -      -  1.000  1.000  1.000  1.000
pin-hole      -      -      -      -      -      -      -      -      -      -
COCO: AP, AR at IoU .50:.95, AP50, AP75; small < 32^2 < medium < 96^2 < large. AP33: IoU > 0.33.
DeepPCB: mAP 1.000, F-score 1.000 (precision 1.000, recall 1.000) at score >= 0.750";
        assert_eq!(evaluation.to_string(), expected);

        let known = r#""ap":1.0,"ap50":1.0,"ap75":1.0,"ap_small":1.0,"ap_medium":null,"ap_large":null,"ar1":1.0,"ar10":1.0,"ar100":1.0"#;
        let unknown = known.replace("1.0", "null");
        let coco = format!(r#"{{{known},"per_class":{{"open":{{{known}}},"pin-hole":{{{unknown}}}}}}}"#);
        let deep_pcb = r#"{"map":1.0,"class_mean_ap":1.0,"f_score":1.0,"precision":1.0,"recall":1.0,"threshold":0.75,"per_class":{"open":{"ap":1.0},"pin-hole":{"ap":null}}}"#;
        let json = serde_json::to_string(&evaluation).expect("plain data");
        assert_eq!(json, format!(r#"{{"coco":{coco},"deep_pcb":{deep_pcb}}}"#));
    }

    #[test]
    #[should_panic(expected = "image 0: label 1 of an annotation is outside 1..=0")]
    fn a_label_without_a_name_is_refused() {
        evaluate(&results(), &[]);
    }

    #[test]
    fn scores_fall_and_nan_comes_last() {
        let mut scores = [f32::NAN, 0.0, 0.5, f32::NAN, 1.0, -0.0];
        scores.sort_by(|a, b| falling(*a, *b));
        assert_eq!(scores[..4], [1.0, 0.5, 0.0, -0.0]);
        assert!(scores[2].is_sign_positive(), "0.0 and -0.0 tie, so they keep their order");
    }
}
