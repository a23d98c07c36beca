//! Whole detectors against torchvision: same weights in, same numbers out, part by part.
//!
//! Tolerances: torchvision's own f32 result differs from its f64 one by 1e-7 to 1e-6 in a part's output, and
//! up to 2e-3 in the gradient of some weights, where the input of a ReLU is so near to zero that it flips
//! (the fixtures hold both figures as `f64_difference`). 1e-4 for values is well above the one; for norms of
//! gradients 1e-3 is at the other.
//!
//! Directions of gradients are compared by sums of all elements with random signs, as
//! `reference/gradients.py` says. Such a sum of a difference is about as large as the difference's norm: five
//! times the 2e-3 is for the chance. A gradient that is transposed or has another sign differs by more than
//! its norm; that four sums of it all lie within 1e-2 of the norm has a chance of 1e-9.

mod common;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use common::{Fixture, fill, gpu, image, relative_error, unit};
use faster_rcnn::internals::model::roi_pool::{multi_scale_roi_align, rois_of};
use faster_rcnn::weights::{NamedTensor, collect};
use faster_rcnn::{
    Annotation, BoxHeadKind, Detection, FasterRcnn, FasterRcnnConfig, Image, Losses, NormKind, ResNetDepth,
    Sampling, Xyxy,
};
use serde_json::Value;

const VALUES: f64 = 1e-4;
const GRADIENTS: f64 = 1e-3;
const SIGNED_SUMS: f64 = 1e-2;

fn config(recorded: &Value) -> FasterRcnnConfig {
    let depth: ResNetDepth = serde_json::from_value(recorded["backbone"].clone()).unwrap();
    let norm = match recorded["norm"].as_str().unwrap() {
        "frozen_batch_norm" => NormKind::FrozenBatch,
        "batch_norm" => NormKind::Batch,
        "group_norm" => NormKind::Group,
        other => panic!("{other}"),
    };
    let mut config = FasterRcnnConfig::new(depth, 7).with_norm(norm).with_trainable_layers(5);
    let integer = |value: &Value| value.as_u64().unwrap() as usize;
    if recorded["version"] == 2 {
        config = config
            .with_fpn_norm(Some(norm))
            .with_box_head(BoxHeadKind::FourConv)
            .with_fpn_channels(integer(&recorded["fpn_channels"]))
            .with_representation_size(integer(&recorded["representation_size"]));
        config.rpn.conv_depth = 2;
    }
    if let Some(min_size) = recorded.get("min_size") {
        config = config.with_image_size(integer(min_size), integer(&recorded["max_size"]));
    }
    for (name, value) in recorded.get("arguments").and_then(Value::as_object).into_iter().flatten() {
        match name.as_str() {
            "rpn_pre_nms_top_n_train" => config.rpn.pre_nms_top_n_train = integer(value),
            "rpn_post_nms_top_n_train" => config.rpn.post_nms_top_n_train = integer(value),
            "rpn_pre_nms_top_n_test" => config.rpn.pre_nms_top_n_test = integer(value),
            "rpn_post_nms_top_n_test" => config.rpn.post_nms_top_n_test = integer(value),
            "box_score_thresh" => config.roi_heads.score_thresh = value.as_f64().unwrap() as f32,
            other => panic!("{other}"),
        }
    }
    config
}

fn images(recorded: &Value) -> Vec<Image> {
    let image = |entry: &Value| {
        let side = |index: usize| entry[index].as_u64().unwrap() as usize;
        image(entry[0].as_str().unwrap(), side(1), side(2))
    };
    recorded["images"].as_array().unwrap().iter().map(image).collect()
}

fn detector(recorded: &Value, device: &Device) -> FasterRcnn {
    fill(config(recorded).init(device), recorded["seed"].as_u64().unwrap())
}

/// The most that a part may differ; prints by how much it does.
fn assert_recorded<const D: usize>(fixture: &Fixture, recorded: &Value, name: &str, actual: Tensor<D>) {
    let shape: Vec<usize> =
        recorded["shape"].as_array().unwrap().iter().map(|side| side.as_u64().unwrap() as usize).collect();
    assert_eq!(actual.dims().to_vec(), shape, "{name}");
    let values: Vec<f32> = actual.into_data().try_into_vec().unwrap();
    let stride = recorded["stride"].as_u64().unwrap() as usize;
    let samples: Vec<f32> = values.iter().copied().step_by(stride).collect();
    let error = relative_error(&samples, &fixture.floats(&recorded["samples"]));
    println!("{name}: {error:.1e}");
    assert!(error <= VALUES, "{name} differs by {error:.1e}");
    // The norm covers the elements between the samples.
    let norm = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    let expected = recorded["l2"].as_f64().unwrap();
    assert!((norm / expected - 1.0).abs() <= VALUES, "{name}: norm {norm}, expected {expected}");
}

/// Every box of either list has one in the other within 0.05 px.
fn assert_same_boxes(actual: &[Xyxy], expected: &[Xyxy]) {
    assert_eq!(actual.len(), expected.len());
    let near = |a: &Xyxy, b: &Xyxy| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 0.05);
    for (from, to) in [(actual, expected), (expected, actual)] {
        for box_ in from {
            assert!(to.iter().any(|other| near(box_, other)), "{box_:?} is on one side only");
        }
    }
}

fn check_inference(fixture: &Fixture, variant: &str, device: &Device) {
    let recorded = &fixture.json["models"][variant];
    let model = detector(&recorded["config"], device);
    let images = model.config().transform.batch(&images(&recorded["config"]), device);
    let eval = &recorded["eval"];
    let check = |name: &str, actual: Tensor<4>| {
        assert_recorded(fixture, &eval["stages"][name], name, actual);
    };
    check("images", images.tensor.clone());
    let stages = model.activations(&images);
    for (name, map) in ["c2", "c3", "c4", "c5"].iter().zip(&stages.maps) {
        check(name, map.clone());
    }
    for (name, map) in ["p2", "p3", "p4", "p5", "p6"].iter().zip(&stages.pyramid) {
        check(name, map.clone());
    }
    let [count, anchors] = stages.rpn.objectness.dims();
    let logits = stages.rpn.objectness.clone().reshape([count * anchors, 1]);
    assert_recorded(fixture, &eval["stages"]["rpn_logits_flat"], "rpn logits", logits);
    let deltas = stages.rpn.deltas.clone().reshape([count * anchors, 4]);
    assert_recorded(fixture, &eval["stages"]["rpn_deltas_flat"], "rpn deltas", deltas);

    let mut proposals = Vec::new();
    let recorded_images = eval["proposals"].as_array().unwrap();
    let actual = stages.proposals.to_vec();
    assert_eq!(actual.len(), recorded_images.len());
    for (actual, expected) in actual.iter().zip(recorded_images) {
        let expected = fixture.boxes(&expected["boxes"]);
        let actual: Vec<Xyxy> = actual.iter().map(|proposal| proposal.xyxy).collect();
        assert_same_boxes(&actual, &expected);
        proposals.push(expected);
    }
    // From here on with the recorded proposals: two of nearly equal score may have swapped places.
    let pooled = multi_scale_roi_align(&stages.pyramid, rois_of(&proposals, device), 7, 2);
    check("pooled", pooled.clone());
    let roi = model.network().roi_heads.classify(pooled);
    assert_recorded(fixture, &eval["stages"]["class_logits"], "class logits", roi.class_logits);
    assert_recorded(fixture, &eval["stages"]["box_deltas"], "box deltas", roi.box_deltas);

    assert_same_detections(&model.detections(&images, &stages), fixture, &eval["detections"]);
}

fn assert_same_detections(detections: &[Vec<Detection>], fixture: &Fixture, recorded: &Value) {
    let recorded = recorded.as_array().unwrap();
    assert_eq!(detections.len(), recorded.len());
    for (actual, expected) in detections.iter().zip(recorded) {
        let boxes = fixture.boxes(&expected["boxes"]);
        let labels = fixture.indices(&expected["labels"]);
        let scores = fixture.floats(&expected["scores"]);
        assert_eq!(actual.len(), boxes.len(), "number of detections");
        assert_eq!(actual.iter().map(|detection| detection.label).collect::<Vec<_>>(), labels);
        for (actual, (box_, score)) in actual.iter().zip(boxes.iter().zip(scores)) {
            let distance = actual.xyxy.iter().zip(box_).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(distance <= 0.05, "box {:?}, expected {box_:?}", actual.xyxy);
            assert!((actual.score - score).abs() <= 1e-4, "score {}, expected {score}", actual.score);
        }
    }
}

/// What is prepared for inference gives what the unprepared detector gives, and what torchvision gives.
fn check_prepared(fixture: &Fixture, variant: &str, device: &Device) {
    let recorded = &fixture.json["models"][variant];
    let model = detector(&recorded["config"], device);
    let images = images(&recorded["config"]);
    let batch = model.config().transform.batch(&images, device);
    let (expected, detections) = (model.activations(&batch), model.forward(&images));
    let prepared = model.prepare();
    let actual = prepared.activations(&batch);
    let maps = actual.maps.iter().chain(&actual.pyramid).zip(expected.maps.iter().chain(&expected.pyramid));
    for (actual, expected) in maps {
        let [actual, expected]: [Vec<f32>; 2] =
            [actual, expected].map(|map| map.clone().into_data().try_into_vec().unwrap());
        let error = relative_error(&actual, &expected);
        assert!(error <= VALUES, "{variant}: a map differs by {error:.1e}");
    }
    let actual = prepared.forward(&images);
    assert_same_detections(&actual, fixture, &recorded["eval"]["detections"]);
    for (actual, expected) in actual.iter().flatten().zip(detections.iter().flatten()) {
        assert_eq!(actual.label, expected.label);
        assert!((actual.score - expected.score).abs() <= 1e-4, "{actual:?}, expected {expected:?}");
    }
}

/// The gradients of all parameters in the layout of torchvision's, in the order of the layers; none of frozen
/// ones.
struct AllGradients<'a> {
    gradients: &'a burn::tensor::Gradients,
    values: Vec<Option<Vec<f32>>>,
}

impl ModuleVisitor for AllGradients<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.values.push(param.val().grad(self.gradients).map(|gradient| {
            // PyTorch stores the weights of linear layers transposed.
            let gradient = if D == 2 { gradient.swap_dims(0, 1) } else { gradient };
            gradient.into_data().try_into_vec().unwrap()
        }));
    }
}

/// The four sums with signs of `reference/gradients.py`.
fn signed_sums(name: &str, gradient: &[f32]) -> [f64; 4] {
    let mut sums = [0.0; 4];
    for (value, u) in gradient.iter().zip(unit(&format!("signs:{name}"))) {
        let bits = (16.0 * u) as u32;
        for (bit, sum) in sums.iter_mut().enumerate() {
            *sum += f64::from(*value) * if bits >> bit & 1 == 0 { 1.0 } else { -1.0 };
        }
    }
    sums
}

/// Compares norm and direction of every parameter's gradient with `GRADIENTS` and `SIGNED_SUMS`.
fn check_gradients(model: &FasterRcnn, gradients: &burn::tensor::Gradients, run: &Value, sums: &Value) {
    let mut visitor = AllGradients { gradients, values: Vec::new() };
    model.visit(&mut visitor);
    let expected = run["gradient_norms"].as_object().unwrap();
    let mut compared = 0;
    let mut worst = [(0.0, String::new()), (0.0, String::new())];
    for (NamedTensor { name, .. }, actual) in collect(model).into_iter().zip(visitor.values) {
        let Some(expected) = expected.get(&name).and_then(Value::as_f64) else {
            assert!(actual.is_none(), "{name} is not trainable in torchvision");
            continue;
        };
        let gradient = actual.unwrap_or_else(|| panic!("{name} has no gradient"));
        let actual = gradient.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        let scale = if expected == 0.0 { 1.0 } else { expected };
        let error = (actual - expected).abs() / scale;
        assert!(error <= GRADIENTS, "gradient of {name}: norm {actual}, expected {expected}");
        let direction = signed_sums(&name, &gradient).into_iter().zip(sums[&name].as_array().unwrap());
        let direction = direction.map(|(a, b)| (a - b.as_f64().unwrap()).abs() / scale).fold(0.0, f64::max);
        assert!(direction <= SIGNED_SUMS, "gradient of {name} differs by {direction:.1e} of its norm");
        for (worst, error) in worst.iter_mut().zip([error, direction]) {
            if error > worst.0 {
                *worst = (error, name.clone());
            }
        }
        compared += 1;
    }
    println!("{compared} gradients, worst norm and direction: {worst:?}");
    assert_eq!(compared, expected.len(), "every trainable parameter of torchvision's is ours");
    assert_eq!(compared, sums.as_object().unwrap().len());
}

fn gradient_sums() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/gradients.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn check_training(file: &str, variant: &str, run: &str, device: &Device) {
    let fixture = &Fixture::open(file);
    let recorded = &fixture.json["models"][variant];
    let device = &device.clone().autodiff();
    let model = detector(&recorded["config"], device);
    let images = images(&recorded["config"]);
    let (run, run_name) = (&recorded[run], run);
    let targets: Vec<Vec<Annotation>> = run["targets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|target| {
            let boxes = fixture.boxes(&target["boxes"]).into_iter();
            boxes
                .zip(fixture.indices(&target["labels"]))
                .map(|(b, label)| Annotation::new(b, label))
                .collect()
        })
        .collect();
    let losses = model.losses(&images, &targets, &mut Sampling::First);
    for (name, loss) in Losses::NAMES.iter().zip(losses.terms()) {
        let (actual, expected) = (loss.into_scalar::<f64>(), run["losses"][*name].as_f64().unwrap());
        println!("{name}: {actual} {expected}");
        assert!((actual - expected).abs() <= VALUES * expected, "{name}: {actual}, expected {expected}");
    }

    let all_sums = gradient_sums();
    match all_sums["models"].get(format!("{file}/{variant}/{run_name}")) {
        Some(sums) => check_gradients(&model, &losses.sum().backward(), run, sums),
        // See `reference/models_v2.py`.
        None => assert_eq!((file, variant), ("model_v2", "resnet50"), "its gradients are recorded"),
    }

    // Batch norms have counted this batch.
    let Some(statistics) = run.get("running_statistics_after_step").and_then(Value::as_object) else {
        return;
    };
    let tensors = collect(&model.valid());
    for (name, recorded) in statistics.iter().filter(|(name, _)| !name.ends_with("num_batches_tracked")) {
        let tensor = tensors.iter().find(|tensor| tensor.name == *name).expect(name);
        let error = relative_error(&tensor.values, &fixture.floats(recorded));
        assert!(error <= VALUES, "{name} differs by {error:.1e}");
    }
}

#[test]
fn resnet50_fpn_detects_what_torchvision_detects() {
    check_inference(&Fixture::open("model"), "frozen", &Device::flex());
}

#[test]
fn resnet50_fpn_has_torchvisions_losses_and_gradients() {
    check_training("model", "frozen", "train", &Device::flex());
}

#[test]
fn an_image_without_objects_trains_as_in_torchvision() {
    check_training("model", "frozen", "train_without_gt_in_second_image", &Device::flex());
}

/// A GPU that computes in f32, as the fixtures were.
fn exact_gpu() -> Option<Device> {
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    faster_rcnn::ops::set_allow_tf32(false);
    gpu()
}

#[test]
fn on_a_gpu_resnet50_fpn_detects_what_torchvision_detects() {
    let Some(gpu) = exact_gpu() else { return };
    check_inference(&Fixture::open("model"), "frozen", &gpu);
}

#[test]
fn on_a_gpu_resnet50_fpn_has_torchvisions_losses_and_gradients() {
    let Some(gpu) = exact_gpu() else { return };
    check_training("model", "frozen", "train", &gpu);
}

#[test]
fn resnet18_fpn_equals_torchvision_with_each_norm() {
    let fixture = Fixture::open("model_resnet18");
    for variant in ["frozen", "batch_norm", "group_norm"] {
        check_inference(&fixture, variant, &Device::flex());
    }
    for (variant, run) in [
        ("frozen", "train"),
        ("frozen", "train_without_gt_in_second_image"),
        ("batch_norm", "train"),
        ("group_norm", "train"),
    ] {
        check_training("model_resnet18", variant, run, &Device::flex());
    }
}

#[test]
fn the_v2_detector_equals_torchvisions() {
    let fixture = Fixture::open("model_v2");
    for variant in ["resnet50", "resnet18"] {
        check_inference(&fixture, variant, &Device::flex());
        check_training("model_v2", variant, "train", &Device::flex());
    }
}

const PREPARED: [(&str, &[&str]); 3] = [
    ("model", &["frozen"]),
    ("model_resnet18", &["frozen", "batch_norm", "group_norm"]),
    ("model_v2", &["resnet50", "resnet18"]),
];

#[test]
fn a_prepared_detector_equals_the_unprepared_one_and_torchvisions() {
    for (file, variants) in PREPARED {
        let fixture = Fixture::open(file);
        variants.iter().for_each(|variant| check_prepared(&fixture, variant, &Device::flex()));
    }
}

#[test]
fn on_a_gpu_a_prepared_detector_equals_the_unprepared_one_and_torchvisions() {
    let Some(gpu) = exact_gpu() else { return };
    for (file, variants) in &PREPARED[1..] {
        let fixture = Fixture::open(file);
        variants.iter().for_each(|variant| check_prepared(&fixture, variant, &gpu));
    }
}

#[test]
fn a_detector_that_was_trained_is_prepared_for_the_device_below_autodiff() {
    let config = FasterRcnnConfig::tiny(3);
    let images = [image("image0", 64, 50)];
    let plain = config.init(&Device::flex()).prepare();
    let trained = config.init(&Device::flex().autodiff()).prepare();
    assert!(!trained.device().is_autodiff());
    assert_eq!(trained.forward(&images), plain.forward(&images));
}

#[test]
fn resnet34_and_resnet101_have_torchvisions_layers() {
    let fixture = Fixture::open("bodies");
    let device = Device::flex();
    for variant in ["resnet34", "resnet101"] {
        let recorded = &fixture.json["models"][variant];
        let model = detector(&recorded["config"], &device);
        let image = &images(&recorded["config"])[0];
        let (height, width) = image.size();
        let input = Tensor::<1>::from_floats(&*image.data(), &device).reshape([1, 3, height, width]);
        for (name, map) in ["c2", "c3", "c4", "c5"].iter().zip(model.network().body.forward(input)) {
            assert_recorded(&fixture, &recorded["stages"][name], name, map);
        }
    }
}
