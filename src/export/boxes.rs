//! What both stages do with boxes: move them, clip them, suppress near duplicates, and take the best.
//!
//! Mirrors `model/box_coder.rs` and `model/scored_boxes.rs`.

use super::graph::{Attribute, Graph, Size, Value};
use crate::model::box_coder::MAX_LOG_RATIO;

/// Moves boxes by deltas, and clips them to their images.
pub struct Decode<'a> {
    /// What the names of the nodes begin with.
    pub name: &'a str,
    /// Factors of dx, dy, dw, dh.
    pub weights: [f32; 4],
    /// Width and height twice, the last axis of 4: the corner of each image.
    pub corners: &'a str,
    /// Boxes with a shorter side do not count.
    pub min_size: f32,
}

/// Boxes after [`Decode::apply`].
pub struct Decoded {
    /// As the deltas: x1, y1, x2, y2.
    pub boxes: Value,
    /// As the boxes, but the last axis: whether it is large enough. Bool.
    pub large: Value,
}

impl Decode<'_> {
    /// `deltas` have a last axis of 4. `centres` and `sizes` of the references have one of 2: x and y, width
    /// and height.
    pub fn apply(&self, graph: &mut Graph, deltas: &str, centres: &str, sizes: &str) -> Decoded {
        let name = |part: &str| format!("{}.{part}", self.name);
        let deltas = match self.weights {
            [1.0, 1.0, 1.0, 1.0] => deltas.to_string(),
            weights => {
                let weights = graph.floats(&weights);
                graph.op("Div", &name("unweighted"), &[deltas, &weights])
            }
        };
        let [shift, log_ratio] = graph.halves([&name("shift"), &name("log_ratio")], &deltas);
        let shift = graph.op("Mul", &name("shift.pixels"), &[&shift, sizes]);
        let centres = graph.op("Add", &name("centres"), &[&shift, centres]);
        let (limit, half) = (graph.float(MAX_LOG_RATIO), graph.float(0.5));
        let log_ratio = graph.op("Min", &name("log_ratio.limited"), &[&log_ratio, &limit]);
        let ratio = graph.op("Exp", &name("ratio"), &[&log_ratio]);
        let sizes = graph.op("Mul", &name("sizes"), &[&ratio, sizes]);
        let reach = graph.op("Mul", &name("reach"), &[&sizes, &half]);
        let low = graph.op("Sub", &name("low"), &[&centres, &reach]);
        let high = graph.op("Add", &name("high"), &[&centres, &reach]);
        let boxes = graph.concat(&name("corners"), &[low, high], -1);

        let zero = graph.float(0.0);
        let boxes = graph.op("Max", &name("at_least_0"), &[&boxes, &zero]);
        let boxes = graph.op("Min", &name("boxes"), &[&boxes, self.corners]);
        let [low, high] = graph.halves([&name("top_left"), &name("bottom_right")], &boxes);
        let sides = graph.op("Sub", &name("sides"), &[&high, &low]);
        let last = [("axes", Attribute::Ints(vec![-1])), ("keepdims", Attribute::Int(0))];
        let side = graph.op_with("ReduceMin", &name("side"), &[&sides], &last);
        let min_size = graph.float(self.min_size);
        let large = graph.op("GreaterOrEqual", &name("large"), &[&side, &min_size]);
        Decoded { boxes, large }
    }
}

/// Non-maximum suppression.
pub struct Suppress<'a> {
    /// What the names of the nodes begin with.
    pub name: &'a str,
    /// Of two boxes with an IoU above this, the one of the lower score is dropped.
    pub iou_threshold: f64,
    /// Boxes with a score up to this are not there.
    pub score_threshold: f32,
    /// The most boxes of a group that stay.
    pub count: usize,
}

impl Suppress<'_> {
    /// The rows and boxes that stay, `[S, 2]`, of `[R, K, 4]` with scores of `[R, G, K]` in G groups.
    pub fn apply(&self, graph: &mut Graph, boxes: &str, scores: &str) -> Value {
        let name = |part: &str| format!("{}.{part}", self.name);
        let count = graph.ints(&[self.count as i64]);
        let iou = graph.floats(&[largest_below(self.iou_threshold)]);
        let score = graph.floats(&[self.score_threshold]);
        let selected = graph.op("NonMaxSuppression", &name("nms"), &[boxes, scores, &count, &iou, &score]);
        let columns = graph.ints(&[0, 2]);
        graph.gather(&name("kept"), &selected, &columns, 1)
    }
}

/// The largest f32 that is not above the threshold. An IoU, which is f32, is above the one exactly if it is
/// above the other.
pub fn largest_below(threshold: f64) -> f32 {
    let nearest = threshold as f32;
    if f64::from(nearest) > threshold { nearest.next_down() } else { nearest }
}

/// `[R, K]` scores of the boxes at `kept`, `[S, 2]`; elsewhere `absent`.
pub fn only(graph: &mut Graph, name: &str, scores: &str, kept: &str, absent: f32) -> Value {
    let shape = graph.op("Shape", &format!("{name}.shape"), &[scores]);
    let nothing = graph.filled(&format!("{name}.nothing"), &shape, absent);
    let values = graph.op("GatherND", &format!("{name}.values"), &[scores, kept]); // [S]
    graph.op("ScatterND", name, &[&nothing, kept, &values])
}

/// The best boxes of each image.
pub struct Best {
    /// By falling score, `[N, count]`.
    pub scores: Value,
    /// `[N, count, 4]`
    pub boxes: Value,
    /// `[N, count]`, among the boxes before. Of an entry without a box, anything.
    pub indices: Value,
}

/// The `count` best of `[N, K]` scores with `[N, K, 4]` boxes. If `slots`, K, may be less, entries with a
/// score of `absent` fill the rest.
pub fn best(
    graph: &mut Graph,
    name: &str,
    (scores, boxes): (&str, &str),
    slots: &Size,
    batch: &Size,
    count: usize,
    absent: f32,
) -> Best {
    let wanted = count as i64;
    let (mut scores, mut boxes) = (scores.to_string(), boxes.to_string());
    if slots.fixed().is_none_or(|slots| slots < wanted) {
        let shape = graph.shape(&format!("{name}.more.shape"), &[batch.clone(), Size::Fixed(wanted)]);
        let more = graph.filled(&format!("{name}.more.scores"), &shape, absent);
        scores = graph.concat(&format!("{name}.padded.scores"), &[scores, more], 1);
        let sides = [batch.clone(), Size::Fixed(wanted), Size::Fixed(4)];
        let shape = graph.shape(&format!("{name}.more.boxes.shape"), &sides);
        let more = graph.filled(&format!("{name}.more.boxes"), &shape, 0.0);
        boxes = graph.concat(&format!("{name}.padded.boxes"), &[boxes, more], 1);
    }
    let [scores, indices] = graph.top_k(&format!("{name}.top_k"), &scores, &Size::Fixed(wanted));
    let boxes = graph.rows_of_images(&format!("{name}.boxes"), &boxes, &indices);
    Best { scores, boxes, indices }
}

#[cfg(test)]
mod tests {
    use super::largest_below;

    #[test]
    fn an_iou_is_above_both_thresholds_or_above_none() {
        for threshold in [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0 / 3.0, 1.0] {
            let single = largest_below(threshold);
            for iou in [single.next_down(), single, single.next_up()] {
                assert_eq!(iou > single, f64::from(iou) > threshold, "{iou} of {threshold}");
            }
        }
    }
}
