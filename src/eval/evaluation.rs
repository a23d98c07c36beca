//! Every metric at once, as a table and as JSON.

use std::fmt;

use serde::Serialize;

use super::coco::{CocoMetrics, CocoStats};
use super::deep_pcb::DeepPcbMetrics;
use super::groups::{GroupMetrics, group_metrics, write_table};
use super::image_result::{ImageResult, check_labels};
use super::operating_points::OperatingPoints;
use super::per_class::{as_map, cell, owned};
use crate::structures::Xyxy;

/// The metrics of one set of images. Printed, it is a table with a row for each class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Average precision and recall as pycocotools computes them.
    pub coco: CocoMetrics,
    /// Average precision and F-score as DeepPCB's evaluation script computes them.
    pub deep_pcb: DeepPcbMetrics,
    /// Which threshold to ship, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<OperatingPoints>,
    /// The metrics of groups of the images, where that was asked for, in the order of the groups' names.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "as_map")]
    pub groups: Vec<(String, GroupMetrics)>,
}

/// Evaluates the detections of a set of images. Label `l` is called `class_names[l - 1]`.
///
/// The order of the images matters where scores tie: the earlier image goes first.
///
/// # Panics
///
/// If a label of an annotation or a detection lies outside `1..=class_names.len()`.
pub fn evaluate(results: &[ImageResult], class_names: &[impl AsRef<str>]) -> Evaluation {
    check_labels(results, class_names.len());
    let class_names = owned(class_names);
    Evaluation {
        coco: CocoMetrics::new(results, &class_names),
        deep_pcb: DeepPcbMetrics::new(results, &class_names),
        thresholds: None,
        groups: Vec::new(),
    }
}

impl Evaluation {
    /// With thresholds, from [`operating_points`](super::operating_points).
    #[must_use]
    pub fn with_thresholds(self, thresholds: OperatingPoints) -> Self {
        Self { thresholds: Some(thresholds), ..self }
    }

    /// With the metrics of each group of images by itself. `results` are those that were evaluated, `clean`
    /// and `groups` have the clean regions, as in [`operating_points`](super::operating_points), and the
    /// group of each; an image without a group is left out. What escapes and alarms is counted at
    /// `threshold`.
    ///
    /// # Panics
    ///
    /// If there are not the regions and the group of each image.
    #[must_use]
    pub fn with_groups(
        self,
        results: &[ImageResult],
        clean: &[Vec<Xyxy>],
        groups: &[Option<&str>],
        threshold: f32,
    ) -> Self {
        let class_names: Vec<String> = self.coco.per_class.iter().map(|(name, _)| name.clone()).collect();
        Self { groups: group_metrics(results, clean, groups, &class_names, threshold), ..self }
    }

    /// The cells of the printed table, one row for the titles, one for the mean and one for each class.
    fn rows(&self) -> Vec<(&str, Vec<String>)> {
        let row = |coco: &CocoStats, deep_pcb: Option<f64>| {
            let mut cells = coco.columns().map(|(_, value)| cell(value)).to_vec();
            cells.push(cell(deep_pcb));
            cells
        };
        let mut titles = self.coco.overall.columns().map(|(title, _)| title.to_string()).to_vec();
        titles.push("AP33".to_string());
        let mut rows = vec![("class", titles)];
        rows.push(("mean", row(&self.coco.overall, self.deep_pcb.class_mean_ap)));
        for ((name, coco), (_, deep_pcb)) in self.coco.per_class.iter().zip(&self.deep_pcb.per_class) {
            rows.push((name, row(coco, deep_pcb.ap)));
        }
        rows
    }
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
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
        )?;
        if !self.groups.is_empty() {
            write!(f, "\n\n")?;
            write_table(f, &self.groups)?;
        }
        match &self.thresholds {
            None => Ok(()),
            Some(thresholds) => write!(f, "\n\n{thresholds}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structures::{Annotation, Detection};

    fn results() -> Vec<ImageResult> {
        let xyxy = [0.0, 0.0, 20.0, 20.0];
        vec![ImageResult {
            annotations: vec![Annotation::new(xyxy, 1)],
            detections: vec![Detection { xyxy, label: 1, score: 0.75 }],
        }]
    }

    #[test]
    fn the_table_and_the_json_show_what_is_known_and_what_is_not() {
        let evaluation = evaluate(&results(), &["open", "pin-hole"]);
        let expected = "\
class        AP   AP50   AP75  small medium  large    AR1   AR10  AR100   AP33
mean      1.000  1.000  1.000  1.000      -      -  1.000  1.000  1.000  1.000
open      1.000  1.000  1.000  1.000      -      -  1.000  1.000  1.000  1.000
pin-hole      -      -      -      -      -      -      -      -      -      -
COCO: AP, AR at IoU .50:.95, AP50, AP75; small < 32^2 < medium < 96^2 < large. AP33: IoU > 0.33.
DeepPCB: mAP 1.000, F-score 1.000 (precision 1.000, recall 1.000) at score >= 0.750";
        assert_eq!(evaluation.to_string(), expected);

        let known = concat!(
            r#""ap":1.0,"ap50":1.0,"ap75":1.0,"ap_small":1.0,"ap_medium":null,"ap_large":null,"#,
            r#""ar1":1.0,"ar10":1.0,"ar100":1.0"#
        );
        let unknown = known.replace("1.0", "null");
        let coco = format!(r#"{{{known},"per_class":{{"open":{{{known}}},"pin-hole":{{{unknown}}}}}}}"#);
        let deep_pcb = concat!(
            r#"{"map":1.0,"class_mean_ap":1.0,"f_score":1.0,"precision":1.0,"recall":1.0,"threshold":0.75,"#,
            r#""per_class":{"open":{"ap":1.0},"pin-hole":{"ap":null}}}"#
        );
        let json = serde_json::to_string(&evaluation).expect("plain data");
        assert_eq!(json, format!(r#"{{"coco":{coco},"deep_pcb":{deep_pcb}}}"#));
    }

    /// The second image has a miss and a false call at 0.5; the third is in no group.
    #[test]
    fn groups_have_their_own_metrics_at_one_threshold() {
        let found = |score| Detection { xyxy: [40.0, 40.0, 60.0, 60.0], label: 1, score };
        let mut results = vec![results().remove(0); 3];
        results[1].detections = vec![found(0.9), found(0.1)];
        results[2].detections.clear();
        let regions = [vec![], vec![[30.0, 30.0, 70.0, 70.0], [0.0, 30.0, 30.0, 70.0]], vec![]];
        let groups = [Some("b"), Some("a"), None];
        let evaluation = evaluate(&results, &["open"]).with_groups(&results, &regions, &groups, 0.5);
        let expected = "
group images objects     AP   AP50   AP33    mAP F-score escapes false calls alarms
a          1       1  0.000  0.000  0.000  0.000   0.000   1.000       1.000  0.500
b          1       1  1.000  1.000  1.000  1.000   1.000   0.000       0.000      -
The last three columns are at score >= 0.500; false calls are per image. \
The F-score is at the group's own best threshold.";
        let printed = evaluation.to_string();
        assert!(printed.ends_with(&format!("\n{expected}")), "{printed}");
        let json = serde_json::to_value(&evaluation).unwrap();
        let names: Vec<&String> = json["groups"].as_object().unwrap().keys().collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(json["groups"]["b"]["deep_pcb"]["threshold"], 0.75);
        assert_eq!(json["groups"]["b"]["alarms"], serde_json::Value::Null);
    }

    /// Images without objects: every detection is wrong, but no share of it is known.
    #[test]
    fn without_ground_truth_every_number_is_unknown() {
        let nothing_known = ImageResult { annotations: vec![], ..results().remove(0) };
        for results in [vec![nothing_known], vec![ImageResult::default()], vec![]] {
            let json = serde_json::to_value(evaluate(&results, &["open"])).unwrap();
            for metric in ["coco", "deep_pcb"] {
                for (name, value) in json[metric].as_object().unwrap() {
                    let known = if name == "per_class" { &value["open"]["ap"] } else { value };
                    assert!(known.is_null(), "{metric}.{name}: {known}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "image 0: label 1 of the annotation is outside 1..=0")]
    fn a_label_without_a_name_is_refused() {
        evaluate(&results(), &[""; 0]);
    }
}
