//! One object has one class.
//!
//! Shape letters: N images, D detections of an image.
//!
//! Mirrors `model/exclusion.rs`.

use super::boxes::{Best, best, largest_below};
use super::graph::{Attribute, Graph, Size, Value};
use super::proto::DataType;
use crate::model::RoiHeadsConfig;

/// Lowers the scores `[N, D]` of detections that share their object with one of another class, and sorts by
/// score again. `labels` are theirs, `[N, D]`.
pub fn exclude(
    graph: &mut Graph,
    config: &RoiHeadsConfig,
    batch: &Size,
    found: &Best,
    labels: &str,
) -> (Best, Value) {
    let name = |part: &str| format!("exclusion.{part}");
    let count = config.detections_per_img;
    let overlaps = overlaps(graph, config, &found.boxes);

    let [across, down] = rows_and_columns(graph, "exclusion.label", labels);
    let same = graph.op("Equal", &name("same"), &[&across, &down]);
    let other = graph.op("Not", &name("other"), &[&same]);
    let places: Vec<i64> = (0..count as i64).collect();
    let place = graph.int_tensor("exclusion.place", &[count, 1], &places);
    let before = graph.ints(&places);
    let better = graph.op("Greater", &name("better"), &[&place, &before]); // [D, D]
    let excludes = graph.op("And", &name("overlaps.other"), &[&overlaps, &other]);
    let excludes = graph.op("And", &name("excludes"), &[&excludes, &better]); // [N, D, D]

    let excludes = graph.cast(&name("excludes.f32"), &excludes, DataType::Float);
    let last = graph.ints(&[-1]);
    let column = graph.op("Unsqueeze", &name("scores"), &[&found.scores, &last]); // [N, D, 1]
    let theirs = graph.op("MatMul", &name("theirs"), &[&excludes, &column]);
    let sum = graph.op("Add", &name("sum"), &[&theirs, &column]);
    let one = graph.float(1.0);
    let sum = graph.op("Max", &name("sum.at_least_1"), &[&sum, &one]);
    let share = graph.op("Div", &name("share"), &[&column, &sum]);
    let scores = graph.reshape(&name("share.row"), &share, &[-1, count as i64]); // [N, D]
    let (least, zero) = (graph.float(config.score_thresh), graph.float(0.0));
    let there = graph.op("Greater", &name("there"), &[&scores, &least]);
    let scores = graph.op("Where", &name("there.scores"), &[&there, &scores, &zero]);

    let sorted =
        best(graph, "exclusion.best", (&scores, &found.boxes), &Size::Fixed(count as i64), batch, count, 0.0);
    let along = [("axis", Attribute::Int(1))];
    let labels = graph.op_with("GatherElements", "exclusion.labels", &[labels, &sorted.indices], &along);
    (sorted, labels)
}

/// Whether two boxes of an image are one object, `[N, D, D]`. Bool.
fn overlaps(graph: &mut Graph, config: &RoiHeadsConfig, boxes: &str) -> Value {
    let name = |part: &str| format!("exclusion.{part}");
    let [low, high] = graph.halves([&name("top_left"), &name("bottom_right")], boxes);
    let [low_across, low_down] = rows_and_columns(graph, "exclusion.top_left", &low);
    let [high_across, high_down] = rows_and_columns(graph, "exclusion.bottom_right", &high);
    let low_both = graph.op("Max", &name("both.top_left"), &[&low_across, &low_down]); // [N, D, D, 2]
    let high_both = graph.op("Min", &name("both.bottom_right"), &[&high_across, &high_down]);
    let sides = graph.op("Sub", &name("both.sides"), &[&high_both, &low_both]);
    let zero = graph.float(0.0);
    let sides = graph.op("Max", &name("both.sides.at_least_0"), &[&sides, &zero]);
    let last = [("axes", Attribute::Ints(vec![-1])), ("keepdims", Attribute::Int(0))];
    let both = graph.op_with("ReduceProd", &name("both"), &[&sides], &last); // [N, D, D]

    let sides = graph.op("Sub", &name("sides"), &[&high, &low]);
    let area = graph.op_with("ReduceProd", &name("area"), &[&sides], &last); // [N, D]
    let [across, down] = rows_and_columns(graph, "exclusion.area", &area);
    let either = graph.op("Add", &name("areas"), &[&across, &down]);
    let either = graph.op("Sub", &name("either"), &[&either, &both]);
    let iou = graph.op("Div", &name("iou"), &[&both, &either]); // NaN where there is no box, above nothing
    let threshold = graph.float(largest_below(config.exclusive_iou));
    graph.op("Greater", &name("overlaps"), &[&iou, &threshold])
}

/// `[N, D, ...]` as `[N, D, 1, ...]` and `[N, 1, D, ...]`.
fn rows_and_columns(graph: &mut Graph, name: &str, value: &str) -> [Value; 2] {
    let [second, first] = [2, 1].map(|axis| graph.ints(&[axis]));
    [("one", second), ("better", first)]
        .map(|(part, axis)| graph.op("Unsqueeze", &format!("{name}.{part}"), &[value, &axis]))
}
