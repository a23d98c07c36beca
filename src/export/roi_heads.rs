//! RoI heads: proposals to detections.
//!
//! Shape letters: N images, P proposals of each, K proposals of all images that are there, C classes with
//! background, D detections of an image.
//!
//! Mirrors `model/roi_heads.rs`, `model/roi_pool.rs` and `model/box_head.rs`.

use super::boxes::{Best, Decode, Suppress, best, only};
use super::exclusion::exclude;
use super::graph::{Attribute, Graph, Size, Value};
use super::input::Images;
use super::layers::Weights;
use super::proto::DataType;
use super::rpn::NO_BOX;
use crate::error::Result;
use crate::model::roi_heads::MIN_SIZE;
use crate::model::roi_pool::MIN_AREAS;
use crate::model::{BoxHeadKind, FasterRcnnConfig, NormKind, RoiHeadsConfig};

/// The proposals that are there, by the level that they are pooled from.
struct Rois {
    /// Of each among all proposals, `[K]`.
    indices: Value,
    /// `[K, 4]`
    boxes: Value,
    /// The image of each, `[K]`.
    images: Value,
    /// `[K, channels, size, size]`
    pooled: Value,
}

/// The outputs of the graph: `num_detections` `[N]`, `boxes` `[N, D, 4]`, `scores` and `labels` `[N, D]`.
///
/// # Errors
///
/// As [`Weights::conv`].
pub fn detections(
    graph: &mut Graph,
    weights: &mut Weights,
    config: &FasterRcnnConfig,
    pyramid: &[Value],
    proposals: &Best,
    images: &Images,
) -> Result<()> {
    let count = config.rpn.post_nms_top_n_test;
    let (rois_config, objects) = (&config.roi_heads, config.num_classes as i64 - 1);
    let rois = pool(graph, rois_config, pyramid, proposals, count);
    let features = box_head(graph, weights, rois_config.box_head, &rois.pooled)?;
    let logits = weights.linear(graph, "roi_heads.box_predictor.cls_score")?;
    let logits = logits.apply(graph, "roi_heads.box_predictor.cls_score", &features); // [K, C]
    let deltas = weights.linear(graph, "roi_heads.box_predictor.bbox_pred")?;
    let deltas = deltas.apply(graph, "roi_heads.box_predictor.bbox_pred", &features); // [K, C * 4]

    let scores = graph.op_with("Softmax", "roi_heads.softmax", &[&logits], &[("axis", Attribute::Int(1))]);
    let scores = without_background(graph, "roi_heads.objects", &scores, 1); // [K, C - 1]
    let deltas = without_background(graph, "roi_heads.deltas", &deltas, 4);
    let deltas = graph.reshape("roi_heads.deltas.by_class", &deltas, &[0, objects, 4]); // [K, C - 1, 4]
    let (scores, boxes) = candidates(graph, rois_config, images, &rois, &scores, &deltas);

    // To the places of the proposals. Where there is no proposal, scores are zero, which is above no
    // threshold.
    let slots = graph.size_mul("roi_heads.slots", &images.batch, &Size::Fixed(count as i64));
    let one = graph.ints(&[1]);
    let indices = graph.op("Unsqueeze", "roi_heads.rows", &[&rois.indices, &one]); // [K, 1]
    let mut place = |name: &str, values: &str, row: &[i64]| {
        let sides: Vec<Size> =
            [slots.clone()].into_iter().chain(row.iter().copied().map(Size::Fixed)).collect();
        let shape = graph.shape(&format!("{name}.shape"), &sides);
        let nothing = graph.filled(&format!("{name}.nothing"), &shape, 0.0);
        graph.op("ScatterND", &format!("{name}.slots"), &[&nothing, &indices, values])
    };
    let scores = place("roi_heads.scores", &scores, &[objects]); // [N * P, C - 1]
    let boxes = place("roi_heads.boxes", &boxes, &[objects, 4]); // [N * P, C - 1, 4]
    let scores = suppress(graph, rois_config, count as i64, objects, &scores, &boxes); // [N, P * (C - 1)]
    let boxes = graph.reshape("roi_heads.boxes.flat", &boxes, &[-1, count as i64 * objects, 4]);
    outputs(graph, rois_config, objects, images, (&scores, &boxes), Size::Fixed(count as i64 * objects));
    Ok(())
}

/// Drops the first class of `[K, C * width]`.
fn without_background(graph: &mut Graph, name: &str, values: &str, width: i64) -> Value {
    let (start, end, axis) = (graph.ints(&[width]), graph.ints(&[i64::MAX]), graph.ints(&[1]));
    graph.op("Slice", name, &[values, &start, &end, &axis])
}

/// Pools each proposal from the level that suits its size.
fn pool(
    graph: &mut Graph,
    config: &RoiHeadsConfig,
    pyramid: &[Value],
    proposals: &Best,
    count: usize,
) -> Rois {
    let boxes = graph.reshape("rois", &proposals.boxes, &[-1, 4]); // [N * P, 4]
    let level = levels(graph, &boxes, &proposals.scores);
    let per_image = graph.int(count as i64);
    let (mut indices, mut rois, mut images, mut pooled) = (vec![], vec![], vec![], vec![]);
    for (index, map) in pyramid.iter().take(MIN_AREAS.len() + 1).enumerate() {
        let name = |part: &str| format!("rois.p{}.{part}", index + 2);
        let number = graph.int(index as i64 + 1);
        let here = graph.op("Equal", &name("here"), &[&level, &number]);
        let places = graph.op("NonZero", &name("places"), &[&here]); // [1, K of the level]
        let places = graph.reshape(&name("indices"), &places, &[-1]);
        let boxes = graph.gather(&name("boxes"), &boxes, &places, 0);
        let image = graph.op("Div", &name("images"), &[&places, &per_image]);
        let attributes = [
            ("coordinate_transformation_mode", Attribute::Text("output_half_pixel")),
            ("output_height", Attribute::Int(config.output_size as i64)),
            ("output_width", Attribute::Int(config.output_size as i64)),
            ("sampling_ratio", Attribute::Int(config.sampling_ratio as i64)),
            ("spatial_scale", Attribute::Float(0.25 / (1 << index) as f32)),
        ];
        pooled.push(graph.op_with("RoiAlign", &name("pooled"), &[map, &boxes, &image], &attributes));
        indices.push(places);
        rois.push(boxes);
        images.push(image);
    }
    Rois {
        indices: graph.concat("rois.indices", &indices, 0),
        boxes: graph.concat("rois.boxes", &rois, 0),
        images: graph.concat("rois.images", &images, 0),
        pooled: graph.concat("rois.pooled", &pooled, 0),
    }
}

/// `[N * P]`: 1 for P2 up to 4 for P5, 0 for an entry without a box.
fn levels(graph: &mut Graph, boxes: &str, scores: &str) -> Value {
    let [low, high] = graph.halves(["rois.top_left", "rois.bottom_right"], boxes);
    let sides = graph.op("Sub", "rois.sides", &[&high, &low]);
    let last = [("axes", Attribute::Ints(vec![1])), ("keepdims", Attribute::Int(1))];
    let area = graph.op_with("ReduceProd", "rois.area", &[&sides], &last); // [N * P, 1]
    let scores = graph.reshape("rois.scores", scores, &[-1, 1]);
    let (absent, zero) = (graph.float(NO_BOX), graph.float(0.0));
    let there = graph.op("GreaterOrEqual", "rois.there", &[&scores, &zero]);
    let area = graph.op("Where", "rois.area.there", &[&there, &area, &absent]);
    let [p3, p4, p5] = *MIN_AREAS;
    let least = graph.floats(&[0.0, p3, p4, p5]);
    let reached = graph.op("GreaterOrEqual", "rois.reached", &[&area, &least]); // [N * P, 4]
    let reached = graph.cast("rois.reached.i64", &reached, DataType::Int64);
    let axis = graph.ints(&[1]);
    graph.op_with("ReduceSum", "rois.level", &[&reached, &axis], &[("keepdims", Attribute::Int(0))])
}

/// `[K, channels, size, size]` to one vector of each.
fn box_head(graph: &mut Graph, weights: &mut Weights, kind: BoxHeadKind, pooled: &str) -> Result<Value> {
    let mut x = pooled.to_string();
    let layers: &[&str] = match kind {
        BoxHeadKind::TwoMlp => &["fc6", "fc7"],
        BoxHeadKind::FourConv => {
            for layer in 0..4 {
                let [conv, bn] = [0, 1].map(|part| format!("roi_heads.box_head.{layer}.{part}"));
                x = weights.conv(graph, &conv, Some((NormKind::Batch, &bn)), 1)?.apply(graph, &conv, &x);
                x = graph.op("Relu", &format!("roi_heads.box_head.{layer}.2"), &[&x]);
            }
            &["5"]
        }
    };
    x = graph.op("Flatten", "roi_heads.box_head.flat", &[&x]);
    for layer in layers {
        let name = format!("roi_heads.box_head.{layer}");
        x = weights.linear(graph, &name)?.apply(graph, &name, &x);
        x = graph.op("Relu", &format!("{name}.relu"), &[&x]);
    }
    Ok(x)
}

/// Scores `[K, C - 1]`, zero where the box is too small, and boxes `[K, C - 1, 4]`, for each class of each
/// proposal.
fn candidates(
    graph: &mut Graph,
    config: &RoiHeadsConfig,
    images: &Images,
    rois: &Rois,
    scores: &str,
    deltas: &str,
) -> (Value, Value) {
    let [low, high] = graph.halves(["rois.low", "rois.high"], &rois.boxes);
    let (one, half) = (graph.ints(&[1]), graph.float(0.5));
    let sizes = graph.op("Sub", "rois.sizes", &[&high, &low]);
    let reach = graph.op("Mul", "rois.reach", &[&sizes, &half]);
    let centres = graph.op("Add", "rois.centres", &[&low, &reach]);
    let sizes = graph.op("Unsqueeze", "rois.sizes.row", &[&sizes, &one]); // [K, 1, 2]
    let centres = graph.op("Unsqueeze", "rois.centres.row", &[&centres, &one]); // [K, 1, 2]
    // The corners of one image, or of each proposal's.
    let corners = match images.one_size {
        true => images.corners.clone(),
        false => graph.gather("rois.corners", &images.corners, &rois.images, 0),
    };
    let corners = graph.op("Unsqueeze", "rois.corners.row", &[&corners, &one]); // [K, 1, 4] or [1, 1, 4]
    let decode = Decode {
        name: "roi_heads.decode",
        weights: config.bbox_reg_weights,
        corners: &corners,
        min_size: MIN_SIZE,
    };
    let decoded = decode.apply(graph, deltas, &centres, &sizes);
    let zero = graph.float(0.0);
    let scores = graph.op("Where", "roi_heads.scores", &[&decoded.large, scores, &zero]);
    (scores, decoded.boxes)
}

/// Scores of `[N * P, C - 1]` after suppression within each class of each image: `[N, P * (C - 1)]`, zero
/// where the box is dropped.
fn suppress(
    graph: &mut Graph,
    config: &RoiHeadsConfig,
    proposals: i64,
    objects: i64,
    scores: &str,
    boxes: &str,
) -> Value {
    // A row of each class of each image.
    let name = |part: &str| format!("roi_heads.by_class.{part}");
    let scores = graph.reshape(&name("scores.images"), scores, &[-1, proposals, objects]);
    let scores = graph.transpose(&name("scores.classes"), &scores, &[0, 2, 1]);
    let scores = graph.reshape(&name("scores"), &scores, &[-1, proposals]); // [N * (C - 1), P]
    let boxes = graph.reshape(&name("boxes.images"), boxes, &[-1, proposals, objects, 4]);
    let boxes = graph.transpose(&name("boxes.classes"), &boxes, &[0, 2, 1, 3]);
    let boxes = graph.reshape(&name("boxes"), &boxes, &[-1, proposals, 4]); // [N * (C - 1), P, 4]
    let suppress = Suppress {
        name: "roi_heads",
        iou_threshold: config.nms_thresh,
        score_threshold: config.score_thresh,
        count: config.detections_per_img,
    };
    let one = graph.ints(&[1]);
    let groups = graph.op("Unsqueeze", &name("scores.group"), &[&scores, &one]); // [N * (C - 1), 1, P]
    let kept = suppress.apply(graph, &boxes, &groups);
    let scores = only(graph, "roi_heads.scores.kept", &scores, &kept, 0.0);
    let scores = graph.reshape("roi_heads.scores.classes", &scores, &[-1, objects, proposals]);
    let scores = graph.transpose("roi_heads.scores.proposals", &scores, &[0, 2, 1]);
    graph.reshape("roi_heads.scores.flat", &scores, &[-1, proposals * objects])
}

/// Takes the best of each image; a score of zero is none.
fn outputs(
    graph: &mut Graph,
    config: &RoiHeadsConfig,
    objects: i64,
    images: &Images,
    found: (&str, &str),
    slots: Size,
) {
    let count = config.detections_per_img;
    let mut found = best(graph, "found", found, &slots, &images.batch, count, 0.0);
    let (zero, objects, one) = (graph.float(0.0), graph.int(objects), graph.int(1));
    let class = graph.op("Mod", "found.class", &[&found.indices, &objects]);
    let mut label = graph.op("Add", "found.label", &[&class, &one]);
    if config.exclusive_iou < 1.0 {
        (found, label) = exclude(graph, config, &images.batch, &found, &label);
    }
    let there = graph.op("Greater", "found.there", &[&found.scores, &zero]); // [N, D]
    let there_f32 = graph.cast("found.there.f32", &there, DataType::Float);
    let there = graph.cast("found.there.i64", &there, DataType::Int64);

    let axis = graph.ints(&[1]);
    let no_axis = [("keepdims", Attribute::Int(0))];
    graph.op_with("ReduceSum", "num_detections", &[&there, &axis], &no_axis);
    let last = graph.ints(&[-1]);
    let there_f32 = graph.op("Unsqueeze", "found.there.row", &[&there_f32, &last]); // [N, D, 1]
    graph.op("Mul", "boxes", &[&found.boxes, &there_f32]);
    graph.op("Identity", "scores", &[&found.scores]);
    graph.op("Mul", "labels", &[&label, &there]);

    let batch = ("N", images.batch.fixed().map(|size| size as usize));
    let rows = ("D", Some(count));
    graph.output("num_detections", DataType::Int64, &[batch], "how many detections each image has");
    let doc = "x1, y1, x2, y2 in pixels of `images`, the highest score first; zero after the last one";
    graph.output("boxes", DataType::Float, &[batch, rows, ("4", Some(4))], doc);
    graph.output("scores", DataType::Float, &[batch, rows], "of the boxes; zero after the last one");
    graph.output(
        "labels",
        DataType::Int64,
        &[batch, rows],
        "classes of the boxes, from 1; zero after the last one",
    );
}
