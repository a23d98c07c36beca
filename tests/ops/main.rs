//! Each step of the detector against torchvision's, on the random and the awkward input recorded in
//! `fixtures/ops.json`.
//!
//! Indices, labels and counts must be equal. Values are the same formulas in the same f32, so they
//! differ by the order of additions only: some rounding errors of 6e-8, where `TOLERANCE` is 1e-5.

mod boxes;
#[path = "../common/mod.rs"]
mod common;
mod stages;

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

use boxes::*;
use stages::*;

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
