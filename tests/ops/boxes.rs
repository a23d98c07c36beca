//! Boxes, matching, sampling, anchors and NMS.

use crate::*;

pub fn coder(case: &Case) -> BoxCoder {
    BoxCoder { weights: case.floats("weights") }
}

pub fn box_coder_encode(case: &Case) {
    let (targets, proposals) = (case.inputs.boxes("reference_boxes"), case.inputs.boxes("proposals"));
    let encode = |(target, proposal)| coder(case).encode(target, proposal);
    case.outputs.assert_close("deltas", &targets.iter().zip(&proposals).flat_map(encode).collect::<Vec<_>>());
}

pub fn box_coder_decode(case: &Case) {
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
pub fn box_iou(case: &Case) {
    let (a, b, expected) = (case.inputs.boxes("a"), case.inputs.boxes("b"), case.outputs.floats("iou"));
    let pairs = a.iter().flat_map(|a| b.iter().map(move |b| (a, b)));
    for ((a, b), expected) in pairs.zip(expected) {
        let expected = if expected.is_nan() { 0.0 } else { expected };
        assert!((iou(a, b) - expected).abs() <= TOLERANCE, "{a:?} {b:?}: expected {expected}");
    }
}

/// Boxes clipped to an image of a size, those with a side below `min_size` without a score.
pub fn clipped(boxes: &[Xyxy], size: (usize, usize), min_size: f32) -> ScoredBoxes {
    let boxes = TensorData::new(boxes.concat(), [1, boxes.len(), 4]);
    let boxes = Tensor::<3>::from_data(boxes, &Device::flex());
    let scores = Tensor::ones([1, boxes.dims()[1]], &boxes.device());
    ScoredBoxes { boxes, scores }.clip(&[size], min_size)
}

pub fn clip_boxes_to_image(case: &Case) {
    let size = (case.number("height") as usize, case.number("width") as usize);
    let boxes = case.inputs.boxes("boxes");
    case.outputs.assert_close("boxes", &values(clipped(&boxes, size, 0.0).boxes));
    let on_the_host: Vec<f32> = boxes.iter().flat_map(|box_| clip(box_, size)).collect();
    assert_eq!(on_the_host, values(clipped(&boxes, size, 0.0).boxes));
}

pub fn remove_small_boxes(case: &Case) {
    let boxes = case.inputs.boxes("boxes");
    let far = (1 << 20, 1 << 20);
    let scores = values(clipped(&boxes, far, case.number("min_size") as f32).scores);
    let kept = (0_i64..).zip(scores).filter(|(_, score)| *score >= 0.0).map(|(index, _)| index);
    assert_eq!(kept.collect::<Vec<_>>(), case.outputs.integers("keep"));
}

/// torchvision's codes: the index of the ground truth, -1 for background, -2 for neither.
pub fn code(match_: &Match) -> i64 {
    match match_ {
        Match::Object(truth) => *truth as i64,
        Match::Background => -1,
        Match::Between => -2,
    }
}

pub fn matcher(case: &Case) {
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

pub fn assign(case: &Case, candidates: &str, allow_low_quality_matches: bool) -> (Vec<Xyxy>, Vec<Match>) {
    let matcher = Matcher {
        fg_iou_thresh: case.number("fg") as f32,
        bg_iou_thresh: case.number("bg") as f32,
        allow_low_quality_matches,
    };
    let truths = case.inputs.boxes("gt_boxes");
    let matches = matcher.assign(&truths, &case.inputs.boxes(candidates));
    (truths, matches)
}

pub fn assign_targets_to_anchors(case: &Case) {
    let (truths, matches) = assign(case, "anchors", true);
    let labels: Vec<i64> = matches.iter().map(|m| [-1, 0, 1][(code(m) + 2).min(2) as usize]).collect();
    assert_eq!(labels, case.outputs.integers("labels"));
    // Where there is no match torchvision gives the first ground truth, or zeros without any.
    let matched = |m: &Match| truths.get(code(m).max(0) as usize).copied().unwrap_or_default();
    case.outputs.assert_close("matched_gt_boxes", &matches.iter().flat_map(matched).collect::<Vec<_>>());
}

pub fn assign_targets_to_proposals(case: &Case) {
    let (_, matches) = assign(case, "proposals", false);
    let indices: Vec<i64> = matches.iter().map(|m| code(m).max(0)).collect();
    assert_eq!(indices, case.outputs.integers("matched_idxs"));
    let labels = case.inputs.integers("gt_labels");
    let label = |m: &Match| if let Match::Object(truth) = m { labels[*truth] } else { 0 };
    assert_eq!(matches.iter().map(label).collect::<Vec<_>>(), case.outputs.integers("labels"));
}

pub fn sampler_counts(case: &Case) {
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

pub fn cell_anchors(case: &Case) {
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

pub fn anchors(case: &Case) {
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
pub fn level_mapper(case: &Case) {
    let (lowest, highest) = (case.number("k_min") as i32, case.number("k_max") as i32);
    let level = |box_: &Xyxy| i64::from(level_of(box_).clamp(lowest, highest) - lowest);
    assert_eq!(
        case.inputs.boxes("boxes").iter().map(level).collect::<Vec<_>>(),
        case.outputs.integers("levels")
    );
}

/// The indices of the boxes that stay, by falling score.
pub fn suppress(case: &Case, groups: Vec<i64>) -> Vec<i64> {
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

pub fn nms(case: &Case) {
    let groups = vec![0; case.inputs.floats("scores").len()];
    assert_eq!(suppress(case, groups), case.outputs.integers("keep"));
}

pub fn batched_nms(case: &Case) {
    assert_eq!(suppress(case, case.inputs.integers("classes")), case.outputs.integers("keep"));
}
