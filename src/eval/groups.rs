//! The metrics of groups of images, each by itself.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::coco::CocoMetrics;
use super::deep_pcb::DeepPcbMetrics;
use super::image_result::ImageResult;
use super::operating_points::{EscapePoint, escape_point};
use super::per_class::cell;
use crate::structures::Xyxy;

/// The metrics of one group of images, such as those of one kind of board, camera or day.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupMetrics {
    /// Number of its images.
    pub images: usize,
    /// Number of their objects, without crowds and difficult ones.
    pub objects: usize,
    /// Average precision and recall as pycocotools computes them.
    pub coco: CocoMetrics,
    /// Average precision and F-score as DeepPCB's evaluation script computes them. The F-score has a
    /// threshold of its own.
    pub deep_pcb: DeepPcbMetrics,
    /// Detections with at least this score count for the next three; all groups have the same.
    pub threshold: f32,
    /// Part of the objects that escape; `None` where there are none.
    pub escapes: Option<f64>,
    /// False calls an image.
    pub false_calls: f64,
    /// Part of the clean images or windows that alarm; `None` where there are none.
    pub alarms: Option<f64>,
}

/// The images of one group, and their clean regions.
#[derive(Default)]
struct Members {
    results: Vec<ImageResult>,
    clean: Vec<Vec<Xyxy>>,
}

impl Members {
    fn metrics(&self, class_names: &[String], threshold: f32) -> GroupMetrics {
        let Self { results, clean } = self;
        let annotations = results.iter().flat_map(|result| &result.annotations);
        let objects = annotations.filter(|annotation| !annotation.is_ignored()).count();
        let EscapePoint { escapes, false_calls, alarms } = escape_point(results, clean, threshold);
        GroupMetrics {
            images: results.len(),
            objects,
            coco: CocoMetrics::new(results, class_names),
            deep_pcb: DeepPcbMetrics::new(results, class_names),
            threshold,
            escapes: (objects > 0).then_some(escapes),
            false_calls,
            alarms,
        }
    }
}

/// The metrics of each group, in the order of their names; an image without a group is left out.
pub fn group_metrics(
    results: &[ImageResult],
    clean: &[Vec<Xyxy>],
    groups: &[Option<&str>],
    class_names: &[String],
    threshold: f32,
) -> Vec<(String, GroupMetrics)> {
    let counts = [clean.len(), groups.len()];
    assert_eq!(counts, [results.len(); 2], "there must be the clean regions and the group of each image");
    let mut members = BTreeMap::<&str, Members>::new();
    for ((result, clean), group) in results.iter().zip(clean).zip(groups) {
        if let Some(group) = group {
            let members = members.entry(group).or_default();
            members.results.push(result.clone());
            members.clean.push(clean.clone());
        }
    }
    let metrics =
        |(name, members): (&str, Members)| (name.to_string(), members.metrics(class_names, threshold));
    members.into_iter().map(metrics).collect()
}

/// Writes a table with a row for each group.
pub fn write_table(f: &mut fmt::Formatter<'_>, groups: &[(String, GroupMetrics)]) -> fmt::Result {
    let widths = groups.iter().map(|(name, _)| name.chars().count());
    let width = widths.chain(["group".len()]).max().unwrap_or(0);
    writeln!(
        f,
        "{:width$} images objects     AP   AP50   AP33    mAP F-score escapes false calls alarms",
        "group"
    )?;
    for (name, group) in groups {
        let GroupMetrics { images, objects, coco, deep_pcb, false_calls, .. } = group;
        write!(f, "{name:width$} {images:>6} {objects:>7}")?;
        for value in [coco.overall.ap, coco.overall.ap50, deep_pcb.class_mean_ap, deep_pcb.map] {
            write!(f, " {:>6}", cell(value))?;
        }
        let [f_score, escapes, alarms] = [deep_pcb.f_score, group.escapes, group.alarms].map(cell);
        writeln!(f, " {f_score:>7} {escapes:>7} {false_calls:>11.3} {alarms:>6}")?;
    }
    let threshold = groups.first().map_or(0.0, |(_, group)| group.threshold);
    write!(
        f,
        "The last three columns are at score >= {threshold:.3}; false calls are per image. The F-score is at \
         the group's own best threshold."
    )
}
