//! Region proposal network: P2..P6 to the boxes that the RoI heads look at.
//!
//! Shape letters: N images, A anchors per cell, T anchors of all levels, K those that enter suppression,
//! P proposals.
//!
//! Mirrors `model/rpn.rs` and `model/anchors.rs`.

use super::boxes::{Best, Decode, Suppress, best, only};
use super::graph::{Graph, Size, Value};
use super::input::{Images, range};
use super::layers::Weights;
use super::proto::DataType;
use crate::error::Result;
use crate::model::anchors::cell_anchors;
use crate::model::rpn::MIN_SIZE;
use crate::model::{AnchorConfig, FasterRcnnConfig, RpnConfig};
use crate::structures::Xyxy;

/// The score of an entry without a box.
pub const NO_BOX: f32 = -1.0;

/// What the network says of the anchors of one level.
struct Level {
    /// `[N, k]`
    logits: Value,
    /// Of the `k` best anchors among those of all levels, `[N, k]`.
    indices: Value,
    /// k
    count: Size,
    /// Of all its anchors, `[N, T of the level, 4]`.
    deltas: Value,
    /// Rows of cells.
    height: Size,
    /// Columns of cells.
    width: Size,
}

/// P boxes of each image: scores `[N, P]`, [`NO_BOX`] where there is none, and boxes `[N, P, 4]`.
///
/// # Errors
///
/// As [`Weights::conv`].
pub fn proposals(
    graph: &mut Graph,
    weights: &mut Weights,
    config: &FasterRcnnConfig,
    pyramid: &[Value],
    images: &Images,
) -> Result<Best> {
    let levels = levels(graph, weights, config, pyramid, images)?;
    let parts = |part: fn(&Level) -> &Value| -> Vec<Value> { levels.iter().map(part).cloned().collect() };
    let logits = graph.concat("rpn.logits", &parts(|level| &level.logits), 1); // [N, K]
    let indices = graph.concat("rpn.indices", &parts(|level| &level.indices), 1); // [N, K]
    let deltas = graph.concat("rpn.all_deltas", &parts(|level| &level.deltas), 1); // [N, T, 4]
    let deltas = graph.rows_of_images("rpn.deltas", &deltas, &indices); // [N, K, 4]
    let anchors = anchors(graph, &config.anchors, &levels, images); // [T, 4]
    let anchors = graph.gather("rpn.anchors", &anchors, &indices, 0); // [N, K, 4]
    let [centres, sizes] = graph.halves(["rpn.anchors.centres", "rpn.anchors.sizes"], &anchors);

    let RpnConfig { nms_thresh, score_thresh, post_nms_top_n_test: count, .. } = config.rpn;
    let one = graph.ints(&[1]);
    let corners = graph.op("Unsqueeze", "rpn.corners", &[&images.corners, &one]); // [N, 1, 4]
    let decode = Decode { name: "rpn.decode", weights: [1.0; 4], corners: &corners, min_size: MIN_SIZE };
    let decoded = decode.apply(graph, &deltas, &centres, &sizes);
    let scores = graph.op("Sigmoid", "rpn.objectness", &[&logits]);
    let absent = graph.float(NO_BOX);
    let mut counts = decoded.large;
    if score_thresh > 0.0 {
        let threshold = graph.float(score_thresh);
        let likely = graph.op("GreaterOrEqual", "rpn.likely", &[&scores, &threshold]);
        counts = graph.op("And", "rpn.likely_and_large", &[&counts, &likely]);
    }
    let scores = graph.op("Where", "rpn.scores", &[&counts, &scores, &absent]);

    // A box is suppressed by those of its own level only.
    let row = graph.op("Unsqueeze", "rpn.scores.row", &[&scores, &one]); // [N, 1, K]
    let own_level = own_level(graph, &levels); // [5, K]
    let by_level = graph.op("Where", "rpn.scores.by_level", &[&own_level, &row, &absent]); // [N, 5, K]
    let suppress = Suppress { name: "rpn", iou_threshold: nms_thresh, score_threshold: NO_BOX / 2.0, count };
    let kept = suppress.apply(graph, &decoded.boxes, &by_level);
    let scores = only(graph, "rpn.scores.kept", &scores, &kept, NO_BOX);
    let slots = total(graph, "rpn.slots", levels.iter().map(|level| &level.count));
    Ok(best(graph, "proposals", (&scores, &decoded.boxes), &slots, &images.batch, count, NO_BOX))
}

/// Runs the layers, which all levels share, and takes the best anchors of each level.
fn levels(
    graph: &mut Graph,
    weights: &mut Weights,
    config: &FasterRcnnConfig,
    pyramid: &[Value],
    images: &Images,
) -> Result<Vec<Level>> {
    let hidden = |layer| format!("rpn.head.conv.{layer}.0");
    let mut convs = Vec::new();
    for layer in 0..config.rpn.conv_depth {
        convs.push(weights.conv(graph, &hidden(layer), None, 1)?);
    }
    let cls_logits = weights.conv(graph, "rpn.head.cls_logits", None, 1)?;
    let bbox_pred = weights.conv(graph, "rpn.head.bbox_pred", None, 1)?;
    let per_cell = Size::Fixed(config.anchors.aspect_ratios.len() as i64);

    let (mut levels, mut start) = (Vec::<Level>::new(), Size::Fixed(0));
    for (index, map) in pyramid.iter().enumerate() {
        let name = |part: &str| format!("rpn.p{}.{part}", index + 2);
        let mut x = map.clone();
        for (layer, conv) in convs.iter().enumerate() {
            let conv = conv.apply(graph, &name(&format!("conv.{layer}")), &x);
            x = graph.op("Relu", &name(&format!("relu.{layer}")), &[&conv]);
        }
        let logits = cls_logits.apply(graph, &name("cls_logits"), &x); // [N, A, H, W]
        let logits = graph.transpose(&name("cls_logits.last"), &logits, &[0, 2, 3, 1]);
        let logits = graph.reshape(&name("logits"), &logits, &[0, -1]); // [N, H * W * A]
        let deltas = bbox_pred.apply(graph, &name("bbox_pred"), &x); // [N, A * 4, H, W]
        let deltas = graph.transpose(&name("bbox_pred.last"), &deltas, &[0, 2, 3, 1]);
        let deltas = graph.reshape(&name("deltas"), &deltas, &[0, -1, 4]); // [N, H * W * A, 4]

        let (height, width) = match levels.last().filter(|_| index == 4) {
            Some(p5) => (half(graph, &name("height"), &p5.height), half(graph, &name("width"), &p5.width)),
            None => {
                let stride = Size::Fixed(4 << index);
                let height = graph.size_div(&name("height"), &images.height, &stride);
                (height, graph.size_div(&name("width"), &images.width, &stride))
            }
        };
        let cells = graph.size_mul(&name("cells"), &height, &width);
        let anchors = graph.size_mul(&name("anchor_count"), &cells, &per_cell);
        let most = Size::Fixed(config.rpn.pre_nms_top_n_test as i64);
        let count = graph.size_min(&name("count"), &anchors, &most);
        let [logits, mut indices] = graph.top_k(&name("top_k"), &logits, &count);
        if start != Size::Fixed(0) {
            let start = graph.size_value(&start);
            indices = graph.op("Add", &name("indices"), &[&indices, &start]);
        }
        start = graph.size_add(&name("end"), &start, &anchors);
        levels.push(Level { logits, indices, count, deltas, height, width });
    }
    Ok(levels)
}

/// Half of it, rounded up.
fn half(graph: &mut Graph, name: &str, size: &Size) -> Size {
    let more = graph.size_add(&format!("{name}.more"), size, &Size::Fixed(1));
    graph.size_div(name, &more, &Size::Fixed(2))
}

fn total<'a>(graph: &mut Graph, name: &str, mut sizes: impl Iterator<Item = &'a Size>) -> Size {
    let first = sizes.next().expect("there are levels").clone();
    sizes.enumerate().fold(first, |sum, (index, size)| graph.size_add(&format!("{name}.{index}"), &sum, size))
}

/// Which of the K boxes are of which level: `[5, K]`, bool.
fn own_level(graph: &mut Graph, levels: &[Level]) -> Value {
    let counts: Option<Vec<i64>> = levels.iter().map(|level| level.count.fixed()).collect();
    if let Some(counts) = counts {
        let of_box = || counts.iter().enumerate().flat_map(|(level, count)| (0..*count).map(move |_| level));
        let flags: Vec<bool> =
            (0..counts.len()).flat_map(|row| of_box().map(move |level| level == row)).collect();
        return graph.flag_tensor("rpn.own_level", &[counts.len(), flags.len() / counts.len()], &flags);
    }
    let mut of_box = Vec::new();
    for (index, level) in levels.iter().enumerate() {
        let (number, count) = (graph.ints(&[index as i64]), graph.size_value(&level.count));
        of_box.push(graph.op("Expand", &format!("rpn.p{}.number", index + 2), &[&number, &count]));
    }
    let of_box = graph.concat("rpn.level", &of_box, 0); // [K]
    let numbers: Vec<i64> = (0..levels.len() as i64).collect();
    let numbers = graph.int_tensor("levels", &[levels.len(), 1], &numbers);
    graph.op("Equal", "rpn.own_level", &[&of_box, &numbers])
}

/// All anchors as centre and size, `[T, 4]`: x, y, width, height. Order within a level: row, column, aspect
/// ratio.
fn anchors(graph: &mut Graph, config: &AnchorConfig, levels: &[Level], images: &Images) -> Value {
    let sides = |height: &Size, width: &Size| Some((height.fixed()? as usize, width.fixed()? as usize));
    let maps: Option<Vec<_>> = levels.iter().map(|level| sides(&level.height, &level.width)).collect();
    if let (Some(maps), Some(padded)) = (maps, sides(&images.height, &images.width)) {
        let anchors = config.anchors(&maps, padded).concat();
        let table: Vec<f32> = anchors.iter().flat_map(centre_and_size).collect();
        return graph.float_tensor("rpn.all_anchors", &[anchors.len(), 4], &table);
    }
    let mut tables = Vec::new();
    for (index, (level, &size)) in levels.iter().zip(&config.sizes).enumerate() {
        let cell = cell_anchors(&[size], &config.aspect_ratios);
        let table: Vec<f32> = cell.iter().flat_map(centre_and_size).collect();
        let name = format!("rpn.p{}.anchors", index + 2);
        let mut places = graph.float_tensor(&format!("{name}.cell"), &[1, cell.len(), 4], &table);
        let axes = [
            ("y", &images.height, &level.height, [0.0, 1.0, 0.0, 0.0], [-1, 1, 1, 1]),
            ("x", &images.width, &level.width, [1.0, 0.0, 0.0, 0.0], [1, -1, 1, 1]),
        ];
        for (axis, padded, cells, direction, shape) in axes {
            let name = format!("{name}.{axis}");
            let stride = graph.size_div(&format!("{name}.stride"), padded, cells);
            let stride = graph.size_value(&stride);
            let steps = range(graph, &name, cells);
            let steps = graph.op("Mul", &format!("{name}.steps"), &[&steps, &stride]);
            let steps = graph.reshape(&format!("{name}.axis"), &steps, &shape);
            let steps = graph.cast(&format!("{name}.f32"), &steps, DataType::Float);
            let direction = graph.floats(&direction);
            let shift = graph.op("Mul", &format!("{name}.shift"), &[&steps, &direction]);
            places = graph.op("Add", &name, &[&places, &shift]); // [H, W, A, 4] in the end
        }
        tables.push(graph.reshape(&name, &places, &[-1, 4]));
    }
    graph.concat("rpn.all_anchors", &tables, 0)
}

fn centre_and_size([x1, y1, x2, y2]: &Xyxy) -> [f32; 4] {
    [(x1 + x2) / 2.0, (y1 + y2) / 2.0, x2 - x1, y2 - y1]
}
