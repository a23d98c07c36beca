//! Each step of the detector against torchvision's, on the random and the awkward input recorded in
//! `fixtures/ops.json`.
//!
//! Indices, labels and counts must be equal. Values are the same formulas in the same f32, so they
//! differ by the order of additions only: some rounding errors of 6e-8, where `TOLERANCE` is 1e-5.

mod common;

use std::cell::RefCell;
use std::collections::BTreeSet;

use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use common::Fixture;
use faster_rcnn::internals::model::anchors::{self as anchor_boxes, AnchorConfig};
use faster_rcnn::internals::model::box_coder::BoxCoder;
use faster_rcnn::internals::model::losses::smooth_l1_sum;
use faster_rcnn::internals::model::matcher::{Match, Matcher};
use faster_rcnn::internals::model::roi_heads::{RoiHeadsConfig, RoiOutput, RoiTargets};
use faster_rcnn::internals::model::roi_pool::{level_of, multi_scale_roi_align as pool_levels, rois_of};
use faster_rcnn::internals::model::rpn::{RpnConfig, RpnOutput, RpnTargets};
use faster_rcnn::internals::model::sampler::{BalancedSampler, Sampling};
use faster_rcnn::internals::model::scored_boxes::{NO_BOX, ScoredBox, ScoredBoxes};
use faster_rcnn::internals::model::transform::{ImageList, TransformConfig, resize_box};
use faster_rcnn::ops::{self, RoiAlignOptions};
use faster_rcnn::structures::{Detection, Image, Xyxy, clip, iou};
use serde_json::{Map, Value};

/// Of a value's difference from the recorded one, over 1 plus its size.
const TOLERANCE: f32 = 1e-5;

/// One recorded call.
struct Case<'a> {
    params: &'a Value,
    inputs: Tensors<'a>,
    outputs: Tensors<'a>,
}

/// The recorded tensors of one side of a call; remembers which of them have been looked at.
struct Tensors<'a> {
    keys: &'a Map<String, Value>,
    fixture: &'a Fixture,
    unread: RefCell<BTreeSet<&'a str>>,
}

impl<'a> Case<'a> {
    fn new(recorded: &'a Value, fixture: &'a Fixture) -> Self {
        let tensors = |side: &str| {
            let keys = recorded[side].as_object().unwrap();
            Tensors { keys, fixture, unread: RefCell::new(keys.keys().map(String::as_str).collect()) }
        };
        Self { params: &recorded["params"], inputs: tensors("inputs"), outputs: tensors("outputs") }
    }

    fn number(&self, param: &str) -> f64 {
        self.params[param].as_f64().unwrap_or_else(|| panic!("{param} is not a number"))
    }

    fn flag(&self, param: &str) -> bool {
        self.params[param].as_bool().unwrap()
    }

    fn floats<const N: usize>(&self, param: &str) -> [f32; N] {
        std::array::from_fn(|index| self.params[param][index].as_f64().unwrap() as f32)
    }

    fn size(&self, param: &str) -> (usize, usize) {
        size(&self.params[param])
    }

    fn sizes(&self, param: &str) -> Vec<(usize, usize)> {
        self.params[param].as_array().unwrap().iter().map(size).collect()
    }
}

impl<'a> Tensors<'a> {
    fn has(&self, name: &str) -> bool {
        self.keys.contains_key(name)
    }

    fn key(&self, name: &str) -> &'a Value {
        self.unread.borrow_mut().remove(name);
        self.keys.get(name).unwrap_or_else(|| panic!("no {name} is recorded"))
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.fixture.floats(self.key(name))
    }

    fn boxes(&self, name: &str) -> Vec<Xyxy> {
        self.fixture.boxes(self.key(name))
    }

    fn integers(&self, name: &str) -> Vec<i64> {
        self.floats(name).into_iter().map(|value| value as i64).collect()
    }

    fn tensor<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        let (shape, _) = self.fixture.tensor(self.key(name).as_str().unwrap());
        Tensor::from_data(TensorData::new(self.floats(name), shape), device)
    }

    /// The names `prefix0`, `prefix1`, ..., one an image or a level.
    fn numbered(&self, prefix: &str) -> Vec<String> {
        (0..).map(|index| format!("{prefix}{index}")).take_while(|name| self.has(name)).collect()
    }

    fn boxes_of_images(&self, prefix: &str) -> Vec<Vec<Xyxy>> {
        self.numbered(prefix).iter().map(|name| self.boxes(name)).collect()
    }

    fn assert_close(&self, name: &str, actual: &[f32]) {
        let expected = self.floats(name);
        assert_eq!(actual.len(), expected.len(), "{name}: number of values");
        for (index, (&actual, expected)) in actual.iter().zip(expected).enumerate() {
            let same = actual == expected || actual.is_nan() && expected.is_nan();
            let close = (actual - expected).abs() <= TOLERANCE * (1.0 + expected.abs());
            assert!(same || close, "{name}, value {index}: {actual}, expected {expected}");
        }
    }

    /// The gradient of `input`, zero where the loss does not depend on it.
    fn assert_gradient<const D: usize>(&self, name: &str, input: &Tensor<D>, gradients: &Gradients) {
        let zeros = || input.clone().inner().zeros_like();
        self.assert_close(name, &values(input.grad(gradients).unwrap_or_else(zeros)));
    }
}

/// `[height, width]`
fn size(value: &Value) -> (usize, usize) {
    (value[0].as_u64().unwrap() as usize, value[1].as_u64().unwrap() as usize)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

/// A test for each recorded operation, which runs all its cases.
macro_rules! compare_with_torchvision {
    ($($operation:ident,)*) => {
        mod torchvision {
            $(
                #[test]
                fn $operation() {
                    super::run(stringify!($operation), super::$operation);
                }
            )*
        }

        #[test]
        fn every_recorded_operation_is_compared() {
            let compared = BTreeSet::from([$(stringify!($operation)),*]);
            let fixture = Fixture::open("ops");
            let cases = fixture.json["cases"].as_object().unwrap();
            let recorded = cases.keys().map(|name| name.split('/').next().unwrap()).collect();
            assert_eq!(compared, recorded);
        }
    };
}

compare_with_torchvision! {
    box_coder_encode, box_coder_decode, box_iou, clip_boxes_to_image, remove_small_boxes,
    matcher, assign_targets_to_anchors, assign_targets_to_proposals, sampler_counts,
    cell_anchors, anchors, level_mapper, nms, batched_nms, roi_align, multi_scale_roi_align,
    transform, smooth_l1, fastrcnn_loss, rpn_loss, filter_proposals, postprocess_detections,
}

fn run(operation: &str, check: fn(&Case)) {
    let fixture = Fixture::open("ops");
    for (name, recorded) in fixture.json["cases"].as_object().unwrap() {
        if name.split('/').next() == Some(operation) {
            println!("{name}");
            let case = Case::new(recorded, &fixture);
            check(&case);
            for side in [case.inputs, case.outputs] {
                let unread = side.unread.into_inner();
                assert!(unread.is_empty(), "{name}: {unread:?} recorded but not compared");
            }
        }
    }
}

fn coder(case: &Case) -> BoxCoder {
    BoxCoder { weights: case.floats("weights") }
}

fn box_coder_encode(case: &Case) {
    let (targets, proposals) = (case.inputs.boxes("reference_boxes"), case.inputs.boxes("proposals"));
    let encode = |(target, proposal)| coder(case).encode(target, proposal);
    case.outputs.assert_close("deltas", &targets.iter().zip(&proposals).flat_map(encode).collect::<Vec<_>>());
}

fn box_coder_decode(case: &Case) {
    let (deltas, proposals) = (case.inputs.boxes("deltas"), case.inputs.boxes("proposals"));
    let classes = deltas.len() / proposals.len().max(1);
    let references = proposals.iter().flat_map(|proposal| std::iter::repeat_n(*proposal, classes));
    let boxes = |boxes: Vec<Xyxy>| {
        Tensor::from_data(TensorData::new(boxes.concat(), [1, boxes.len(), 4]), &Device::flex())
    };
    let decoded = coder(case).decode(boxes(deltas.clone()), boxes(references.collect()));
    case.outputs.assert_close("boxes", &values(decoded));
}

/// Where both boxes are empty torchvision has NaN, this library zero.
fn box_iou(case: &Case) {
    let (a, b, expected) = (case.inputs.boxes("a"), case.inputs.boxes("b"), case.outputs.floats("iou"));
    let pairs = a.iter().flat_map(|a| b.iter().map(move |b| (a, b)));
    for ((a, b), expected) in pairs.zip(expected) {
        let expected = if expected.is_nan() { 0.0 } else { expected };
        assert!((iou(a, b) - expected).abs() <= TOLERANCE, "{a:?} {b:?}: expected {expected}");
    }
}

/// Boxes clipped to an image of a size, those with a side below `min_size` without a score.
fn clipped(boxes: &[Xyxy], size: (usize, usize), min_size: f32) -> ScoredBoxes {
    let boxes = TensorData::new(boxes.concat(), [1, boxes.len(), 4]);
    let boxes = Tensor::<3>::from_data(boxes, &Device::flex());
    let scores = Tensor::ones([1, boxes.dims()[1]], &boxes.device());
    ScoredBoxes { boxes, scores }.clip(&[size], min_size)
}

fn clip_boxes_to_image(case: &Case) {
    let size = (case.number("height") as usize, case.number("width") as usize);
    let boxes = case.inputs.boxes("boxes");
    case.outputs.assert_close("boxes", &values(clipped(&boxes, size, 0.0).boxes));
    let on_the_host: Vec<f32> = boxes.iter().flat_map(|box_| clip(box_, size)).collect();
    assert_eq!(on_the_host, values(clipped(&boxes, size, 0.0).boxes));
}

fn remove_small_boxes(case: &Case) {
    let boxes = case.inputs.boxes("boxes");
    let far = (1 << 20, 1 << 20);
    let scores = values(clipped(&boxes, far, case.number("min_size") as f32).scores);
    let kept = (0_i64..).zip(scores).filter(|(_, score)| *score >= 0.0).map(|(index, _)| index);
    assert_eq!(kept.collect::<Vec<_>>(), case.outputs.integers("keep"));
}

/// torchvision's codes: the index of the ground truth, -1 for background, -2 for neither.
fn code(match_: &Match) -> i64 {
    match match_ {
        Match::Object(truth) => *truth as i64,
        Match::Background => -1,
        Match::Between => -2,
    }
}

fn matcher(case: &Case) {
    let matcher = Matcher {
        fg_iou_thresh: case.number("high") as f32,
        bg_iou_thresh: case.number("low") as f32,
        allow_low_quality_matches: case.flag("allow_low_quality"),
    };
    let (quality, expected) = (case.inputs.floats("quality"), case.outputs.integers("matches"));
    let candidates = expected.len();
    let matches = matcher.assign_by(quality.len() / candidates, candidates, |truth, candidate| {
        quality[truth * candidates + candidate]
    });
    assert_eq!(matches.iter().map(code).collect::<Vec<_>>(), expected);
}

fn assign(case: &Case, candidates: &str, allow_low_quality_matches: bool) -> (Vec<Xyxy>, Vec<Match>) {
    let matcher = Matcher {
        fg_iou_thresh: case.number("fg") as f32,
        bg_iou_thresh: case.number("bg") as f32,
        allow_low_quality_matches,
    };
    let truths = case.inputs.boxes("gt_boxes");
    let matches = matcher.assign(&truths, &case.inputs.boxes(candidates));
    (truths, matches)
}

fn assign_targets_to_anchors(case: &Case) {
    let (truths, matches) = assign(case, "anchors", true);
    let labels: Vec<i64> = matches.iter().map(|m| [-1, 0, 1][(code(m) + 2).min(2) as usize]).collect();
    assert_eq!(labels, case.outputs.integers("labels"));
    // Where there is no match torchvision gives the first ground truth, or zeros without any.
    let matched = |m: &Match| truths.get(code(m).max(0) as usize).copied().unwrap_or_default();
    case.outputs.assert_close("matched_gt_boxes", &matches.iter().flat_map(matched).collect::<Vec<_>>());
}

fn assign_targets_to_proposals(case: &Case) {
    let (_, matches) = assign(case, "proposals", false);
    let indices: Vec<i64> = matches.iter().map(|m| code(m).max(0)).collect();
    assert_eq!(indices, case.outputs.integers("matched_idxs"));
    let labels = case.inputs.integers("gt_labels");
    let label = |m: &Match| if let Match::Object(truth) = m { labels[*truth] } else { 0 };
    assert_eq!(matches.iter().map(label).collect::<Vec<_>>(), case.outputs.integers("labels"));
}

fn sampler_counts(case: &Case) {
    for row in case.outputs.integers("table").as_chunks::<6>().0 {
        let [batch_size, percent, positives, negatives, expected @ ..] = *row;
        let sampler = BalancedSampler::new(batch_size as usize, percent as f64 / 100.0);
        let mut matches = vec![Match::Object(0); positives as usize];
        matches.resize(matches.len() + negatives as usize, Match::Background);
        matches.resize(matches.len() + 11, Match::Between);
        for mut sampling in [Sampling::First, Sampling::seeded([1])] {
            let sample = sampler.sample(&matches, 0, &mut sampling);
            assert_eq!([sample.positive.len() as i64, sample.negative.len() as i64], expected, "{row:?}");
            assert!(sample.positive.iter().all(|&index| matches[index] == Match::Object(0)));
            assert!(sample.negative.iter().all(|&index| matches[index] == Match::Background));
            assert!(sample.all().is_sorted_by(|a, b| a < b), "chosen without replacement");
        }
    }
}

fn cell_anchors(case: &Case) {
    let list = |value: &Value| -> Vec<f32> {
        value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect()
    };
    let (sizes, ratios) = (&case.params["sizes"], &case.params["ratios"]);
    for (level, name) in case.outputs.numbered("level").iter().enumerate() {
        // One list for all levels, or a list a level.
        let ratios = if ratios[level].is_array() { &ratios[level] } else { ratios };
        case.outputs
            .assert_close(name, &anchor_boxes::cell_anchors(&list(&sizes[level]), &list(ratios)).concat());
    }
}

fn anchors(case: &Case) {
    let levels = AnchorConfig::default().anchors(&case.sizes("grids"), case.size("padded_image"));
    let anchors = levels.concat();
    assert_eq!(anchors.len(), case.number("count") as usize);
    if case.outputs.has("anchors") {
        return case.outputs.assert_close("anchors", &anchors.concat());
    }
    let rows: Vec<f32> =
        anchors.iter().step_by(case.number("row_stride") as usize).flatten().copied().collect();
    case.outputs.assert_close("rows", &rows);
    let sum = |column: usize| anchors.iter().map(|anchor| f64::from(anchor[column])).sum::<f64>() as f32;
    case.outputs.assert_close("column_sums", &[0, 1, 2, 3].map(sum));
}

/// The recorded levels count from the lowest one. A narrower pyramid takes the boxes of the levels it
/// lacks at its ends.
fn level_mapper(case: &Case) {
    let (lowest, highest) = (case.number("k_min") as i32, case.number("k_max") as i32);
    let level = |box_: &Xyxy| i64::from(level_of(box_).clamp(lowest, highest) - lowest);
    assert_eq!(
        case.inputs.boxes("boxes").iter().map(level).collect::<Vec<_>>(),
        case.outputs.integers("levels")
    );
}

/// The indices of the boxes that stay, by falling score.
fn suppress(case: &Case, groups: Vec<i64>) -> Vec<i64> {
    let device = Device::flex();
    let scores = case.inputs.floats("scores");
    let groups = Tensor::<2, Int>::from_data(TensorData::new(groups, [1, scores.len()]), &device);
    let boxes = case.inputs.tensor::<2>("boxes", &device).unsqueeze();
    let scores_ = case.inputs.tensor::<1>("scores", &device).unsqueeze();
    let keep = ops::batched_nms(boxes, scores_, groups, case.number("iou_threshold")).into_data();
    let mut kept: Vec<i64> =
        (0..).zip(keep.iter::<i64>()).filter(|kept| kept.1 == 1).map(|kept| kept.0).collect();
    kept.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]));
    kept
}

fn nms(case: &Case) {
    let groups = vec![0; case.inputs.floats("scores").len()];
    assert_eq!(suppress(case, groups), case.outputs.integers("keep"));
}

fn batched_nms(case: &Case) {
    assert_eq!(suppress(case, case.inputs.integers("classes")), case.outputs.integers("keep"));
}

fn roi_align(case: &Case) {
    let device = Device::flex().autodiff();
    let features = case.inputs.tensor::<4>("input", &device).require_grad();
    let options = RoiAlignOptions {
        output_size: case.size("output_size"),
        spatial_scale: case.number("spatial_scale") as f32,
        // To torchvision every ratio below 1 means: as many samples as the bin has pixels.
        sampling_ratio: case.number("sampling_ratio").max(0.0) as usize,
        aligned: case.flag("aligned"),
    };
    let output = ops::roi_align(features.clone(), case.inputs.tensor("rois", &device), options);
    case.outputs.assert_close("output", &values(output.clone()));
    let gradients = (output * case.inputs.tensor("grad_output", &device)).sum().backward();
    case.outputs.assert_gradient("grad_input", &features, &gradients);
}

fn multi_scale_roi_align(case: &Case) {
    let device = Device::flex().autodiff();
    let maps: Vec<Tensor<4>> = case
        .inputs
        .numbered("map")
        .iter()
        .map(|name| case.inputs.tensor(name, &device).require_grad())
        .collect();
    let boxes = case.inputs.boxes_of_images("boxes");
    let (size, sampling_ratio) = (case.size("output_size").0, case.number("sampling_ratio") as usize);
    let rois = rois_of(&boxes, &device);
    let output = pool_levels(&maps, rois, size, sampling_ratio);
    case.outputs.assert_close("output", &values(output.clone()));
    if case.outputs.has("levels") {
        let levels: Vec<i64> = boxes.concat().iter().map(|box_| i64::from(level_of(box_)) - 2).collect();
        assert_eq!(levels, case.outputs.integers("levels"));
        let gradients = (output * case.inputs.tensor("grad_output", &device)).sum().backward();
        for (map, name) in maps.iter().zip(case.outputs.numbered("grad_map")) {
            case.outputs.assert_gradient(&name, map, &gradients);
        }
    }
}

fn transform(case: &Case) {
    if case.outputs.has("table") {
        return resized_sizes(&case.outputs.integers("table"));
    }
    let config = TransformConfig {
        min_size: case.number("min_size") as usize,
        max_size: case.number("max_size") as usize,
        ..TransformConfig::default()
    };
    if let Some(batches) = case.params["batches"].as_array() {
        return batches.iter().for_each(|recorded| padded_batch(&config, recorded));
    }

    let (device, padded) = (Device::flex(), case.size("padded_size"));
    let (shape, _) = case.inputs.fixture.tensor(case.inputs.key("image").as_str().unwrap());
    let original = (shape[1], shape[2]);
    let batch = config.batch(&[Image::new(case.inputs.floats("image"), original)], &device);
    let resized = case.size("image_size");
    assert_eq!((batch.padded_size(), batch.resized_sizes[0]), (padded, resized));
    let image = batch.tensor.clone().slice([0..1, 0..3, 0..resized.0, 0..resized.1]);
    case.outputs.assert_close("resized", &values(image.clone()));
    // All around it is zero.
    let energy = |tensor: Tensor<4>| tensor.powi_scalar(2).sum().into_scalar::<f64>();
    let (whole, image) = (energy(batch.tensor), energy(image));
    assert!((whole - image).abs() <= f64::from(TOLERANCE) * image);

    let move_all = |boxes: Vec<Xyxy>, from, to| -> Vec<f32> {
        boxes.iter().flat_map(|box_| resize_box(box_, from, to)).collect()
    };
    case.outputs.assert_close("boxes", &move_all(case.inputs.boxes("boxes"), original, resized));
    let back = move_all(case.inputs.boxes("detected_boxes"), resized, original);
    case.outputs.assert_close("detected_boxes_in_original", &back);
}

fn resized_sizes(table: &[i64]) {
    for row in table.as_chunks::<6>().0 {
        let [height, width, min_size, max_size, resized @ ..] = row.map(|side| side as usize);
        let config = TransformConfig { min_size, max_size, ..TransformConfig::default() };
        let actual: [usize; 2] = config.resized_size((height, width)).into();
        assert_eq!(actual, resized, "{height}x{width} to {min_size}, {max_size}");
    }
}

fn padded_batch(config: &TransformConfig, recorded: &Value) {
    let sizes = |name: &str| -> Vec<_> { recorded[name].as_array().unwrap().iter().map(size).collect() };
    let blank = |size: (usize, usize)| Image::new(vec![0.0; 3 * size.0 * size.1], size);
    let images: Vec<Image> = sizes("sizes").into_iter().map(blank).collect();
    let batch = config.batch(&images, &Device::flex());
    assert_eq!(batch.resized_sizes, sizes("resized"));
    let padded = recorded["padded"].as_array().unwrap().iter().map(|side| side.as_u64().unwrap() as usize);
    assert_eq!(batch.tensor.dims().to_vec(), padded.collect::<Vec<_>>());
}

fn smooth_l1(case: &Case) {
    let device = Device::flex().autodiff();
    let input = case.inputs.tensor::<1>("input", &device).require_grad();
    let target: Tensor<1> = case.inputs.tensor("target", &device);
    let loss = smooth_l1_sum(input.clone().unsqueeze(), target.unsqueeze(), case.number("beta") as f32);
    case.outputs.assert_close("loss", &values(loss.clone()));
    case.outputs.assert_gradient("grad_input", &input, &loss.backward());
}

fn fastrcnn_loss(case: &Case) {
    let device = Device::flex().autodiff();
    let class_logits = case.inputs.tensor::<2>("class_logits", &device).require_grad();
    let box_deltas = case.inputs.tensor::<2>("box_regression", &device).require_grad();
    let labels = case.inputs.numbered("labels").into_iter().flat_map(|name| case.inputs.integers(&name));
    let targets = RoiTargets {
        proposals: Vec::new(),
        labels: labels.map(|label| label as usize).collect(),
        regression: case.inputs.boxes_of_images("regression_targets").concat(),
    };
    let output = RoiOutput { class_logits: class_logits.clone(), box_deltas: box_deltas.clone() };
    let losses = output.losses(&targets);
    case.outputs.assert_close("loss_classifier", &values(losses.loss_classifier.clone()));
    case.outputs.assert_close("loss_box_reg", &values(losses.loss_box_reg.clone()));
    let gradients = (losses.loss_classifier + losses.loss_box_reg * 2.0).backward();
    case.outputs.assert_gradient("grad_class_logits", &class_logits, &gradients);
    case.outputs.assert_gradient("grad_box_regression", &box_deltas, &gradients);
}

fn rpn_loss(case: &Case) {
    let batch_size = case.number("batch_size_per_image") as usize;
    let sampler = BalancedSampler::new(batch_size, case.number("positive_fraction"));
    let regression = case.inputs.boxes_of_images("regression_targets");
    let mut targets = RpnTargets { anchors: Vec::new(), regression: Vec::new() };
    for (image, regression) in regression.iter().enumerate() {
        let label = |label: i64| match label {
            1 => Match::Object(0),
            0 => Match::Background,
            _ => Match::Between,
        };
        let labels = case.inputs.integers(&format!("labels{image}"));
        let matches: Vec<Match> = labels.into_iter().map(label).collect();
        let sample = sampler.sample(&matches, 0, &mut Sampling::First);
        for (name, chosen) in [("pos", &sample.positive), ("neg", &sample.negative)] {
            let chosen: Vec<i64> = chosen.iter().map(|&index| index as i64).collect();
            assert_eq!(chosen, case.outputs.integers(&format!("sampled_{name}{image}")));
        }
        for index in sample.all() {
            targets.anchors.push(image * regression.len() + index);
            targets.regression.push((matches[index] == Match::Object(0)).then_some(regression[index]));
        }
    }

    let device = Device::flex().autodiff();
    let objectness = case.inputs.tensor::<2>("objectness", &device).require_grad(); // [N*T, 1]
    let deltas = case.inputs.tensor::<2>("deltas", &device).require_grad(); // [N*T, 4]
    let (images, anchors) = (regression.len(), regression[0].len());
    let output = RpnOutput {
        objectness: objectness.clone().reshape([images, anchors]),
        deltas: deltas.clone().reshape([images, anchors, 4]),
    };
    let losses = output.losses(&targets);
    case.outputs.assert_close("loss_objectness", &values(losses.loss_objectness.clone()));
    case.outputs.assert_close("loss_rpn_box_reg", &values(losses.loss_rpn_box_reg.clone()));
    let gradients = (losses.loss_objectness + losses.loss_rpn_box_reg * 2.0).backward();
    case.outputs.assert_gradient("grad_objectness", &objectness, &gradients);
    case.outputs.assert_gradient("grad_deltas", &deltas, &gradients);
}

fn filter_proposals(case: &Case) {
    let device = Device::flex();
    let objectness = case.inputs.tensor::<2>("objectness", &device); // [N, T]
    let [images, total] = objectness.dims();
    // The recorded boxes are decoded ones: those of the first image serve as anchors, from which the
    // deltas lead to each image's.
    let boxes = case.inputs.boxes("proposals");
    let anchors = &boxes[..total];
    let coder = BoxCoder { weights: [1.0; 4] };
    let deltas: Vec<f32> = boxes
        .iter()
        .enumerate()
        .flat_map(|(index, box_)| coder.encode(box_, &anchors[index % total]))
        .collect();
    let deltas = Tensor::from_data(TensorData::new(deltas, [images, total, 4]), &device);

    let mut rest = anchors;
    let levels = case.params["num_anchors_per_level"].as_array().unwrap().iter().map(|count| {
        let (level, after) = rest.split_at(count.as_u64().unwrap() as usize);
        rest = after;
        level.to_vec()
    });
    let config = RpnConfig {
        pre_nms_top_n_test: case.number("pre_nms_top_n") as usize,
        post_nms_top_n_test: case.number("post_nms_top_n") as usize,
        nms_thresh: case.number("nms_thresh"),
        score_thresh: case.number("score_thresh") as f32,
        ..RpnConfig::default()
    };
    let levels: Vec<Vec<Xyxy>> = levels.collect();
    let sizes = case.sizes("image_shapes");
    let proposals = RpnOutput { objectness, deltas }.proposals(&levels, &sizes, &config, false);
    for (image, proposals) in proposals.to_vec().iter().enumerate() {
        let (boxes, scores): (Vec<Xyxy>, Vec<f32>) =
            proposals.iter().map(|ScoredBox { xyxy, score }| (*xyxy, *score)).unzip();
        case.outputs.assert_close(&format!("boxes{image}"), &boxes.concat());
        case.outputs.assert_close(&format!("scores{image}"), &scores);
    }
}

/// Each image's values with `filler` behind, all `length` long: `[images, length]`.
fn padded(images: &[Vec<f32>], length: usize, filler: f32) -> Tensor<2> {
    let pad = |values: &Vec<f32>| {
        let mut values = values.clone();
        values.resize(length, filler);
        values
    };
    let values: Vec<f32> = images.iter().flat_map(pad).collect();
    Tensor::from_data(TensorData::new(values, [images.len(), length]), &Device::flex())
}

fn postprocess_detections(case: &Case) {
    let config = RoiHeadsConfig {
        bbox_reg_weights: case.floats("bbox_reg_weights"),
        score_thresh: case.number("score_thresh") as f32,
        nms_thresh: case.number("nms_thresh"),
        detections_per_img: case.number("detections_per_img") as usize,
        ..RoiHeadsConfig::default()
    };
    // As many slots in each image: one with fewer proposals has empty ones.
    let proposals = case.inputs.boxes_of_images("proposals");
    let (images, counts) = (proposals.len(), proposals.iter().map(Vec::len));
    let (all, slots) = (counts.clone().sum::<usize>(), counts.clone().max().unwrap());
    let rows = |name: &str| {
        let mut rest = case.inputs.floats(name);
        let columns = rest.len() / all;
        let split = |count| {
            let after = rest.split_off(count * columns);
            std::mem::replace(&mut rest, after)
        };
        let split: Vec<Vec<f32>> = counts.clone().map(split).collect();
        padded(&split, slots * columns, 0.0).reshape([images * slots, columns])
    };
    let output = RoiOutput { class_logits: rows("class_logits"), box_deltas: rows("box_regression") };
    let boxes: Vec<Vec<f32>> = proposals.iter().map(|boxes| boxes.concat()).collect();
    let scores: Vec<Vec<f32>> = counts.clone().map(|count| vec![1.0; count]).collect();
    let proposals = ScoredBoxes {
        boxes: padded(&boxes, slots * 4, 0.0).reshape([images, slots, 4]),
        scores: padded(&scores, slots, NO_BOX),
    };
    let sizes = case.sizes("image_shapes");
    let found = output.detections(&proposals, &sizes, &config);
    // The recorded ones are in pixels of the resized image, so here that is the original, too.
    let tensor = Tensor::zeros([images, 3, 1, 1], &Device::flex());
    let batch = ImageList { tensor, resized_sizes: sizes.clone(), original_sizes: sizes };
    for (image, detections) in found.download(&batch).detections.iter().enumerate() {
        let of = |value: fn(&Detection) -> f32| detections.iter().map(value).collect::<Vec<_>>();
        let boxes: Vec<f32> = detections.iter().flat_map(|detection| detection.xyxy).collect();
        case.outputs.assert_close(&format!("boxes{image}"), &boxes);
        case.outputs.assert_close(&format!("scores{image}"), &of(|detection| detection.score));
        case.outputs.assert_close(&format!("labels{image}"), &of(|detection| detection.label as f32));
    }
}
