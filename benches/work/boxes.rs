//! RoIAlign and NMS of boxes of a 640 x 640 image.

use burn::backend::Dispatch;
use burn::tensor::{Device, Int, Tensor, TensorData};
use faster_rcnn::internals::model::roi_pool::rois_of;
use faster_rcnn::internals::{DetectionOps, MapShapes};
use faster_rcnn::ops::{RoiAlignOptions, batched_nms, pyramid_roi_align};
use faster_rcnn::structures::Xyxy;

use super::common::unit;

const SIZE: f64 = 640.0;
/// 256 channels, sides of P2..P5.
const SHAPES: [[usize; 4]; 4] = [[1, 256, 160, 160], [1, 256, 80, 80], [1, 256, 40, 40], [1, 256, 20, 20]];
/// A box is pooled from P3, P4 or P5 from these areas on.
const MIN_AREAS: [f32; 3] = [112.0 * 112.0, 224.0 * 224.0, 448.0 * 448.0];
const OPTIONS: RoiAlignOptions =
    RoiAlignOptions { output_size: (7, 7), spatial_scale: 0.25, sampling_ratio: 2, aligned: false };
/// The IoU of which NMS suppresses.
pub const IOU_THRESHOLD: f64 = 0.7;

/// Boxes inside the image with sides of 8 to 600 pixels, small ones more often, so that every level of the
/// pyramid gets some.
fn boxes(count: usize) -> Vec<Xyxy> {
    let numbers: Vec<f64> = unit("boxes").take(4 * count).collect();
    let place = |&[x, y, width, height]: &[f64; 4]| {
        let [width, height] = [width, height].map(|u| 8.0 * 75_f64.powf(u));
        let (x, y) = (x * (SIZE - width), y * (SIZE - height));
        [x, y, x + width, y + height].map(|side| side as f32)
    };
    numbers.as_chunks::<4>().0.iter().map(place).collect()
}

fn uniform<const D: usize>(name: &str, shape: [usize; D], device: &Device) -> Tensor<D> {
    let values = unit(name).take(shape.iter().product()).map(|u| (2.0 * u - 1.0) as f32);
    Tensor::from_data(TensorData::new(values.collect(), shape), device)
}

/// 512 boxes, each pooled from the level that suits its size.
pub struct RoiAlign {
    pub pyramid: [Tensor<4>; 4],
    rois: Tensor<2>,
    pub grad: Tensor<4>,
}

impl RoiAlign {
    pub fn new(device: &Device) -> Self {
        let rois = rois_of(&[boxes(512)], device);
        let pyramid = SHAPES.map(|shape| uniform(&format!("p{}", shape[2]), shape, device));
        Self { pyramid, rois, grad: uniform("grad", [512, 256, 7, 7], device) }
    }

    pub fn forward(&self) -> Tensor<4> {
        pyramid_roi_align(self.pyramid.clone(), self.rois.clone(), MIN_AREAS, OPTIONS)
    }

    /// The gradients of the pyramid.
    pub fn backward(&self) -> Vec<Tensor<4>> {
        let (grad, rois) = (self.grad.clone().into_dispatch(), self.rois.clone().into_dispatch());
        let shapes = MapShapes::Pyramid(SHAPES);
        let grads = <Dispatch as DetectionOps>::roi_align_backward(grad, rois, MIN_AREAS, shapes, OPTIONS);
        grads.into_vec().into_iter().map(Tensor::from_dispatch).collect()
    }
}

/// Boxes of one group.
pub struct Nms {
    pub boxes: Vec<Xyxy>,
    pub scores: Vec<f32>,
    inputs: (Tensor<3>, Tensor<2>, Tensor<2, Int>),
}

impl Nms {
    pub fn new(count: usize, device: &Device) -> Self {
        let boxes = boxes(count);
        let scores: Vec<f32> = unit("scores").take(count).map(|u| u as f32).collect();
        let inputs = (
            Tensor::from_data(TensorData::new(boxes.concat(), [1, count, 4]), device),
            Tensor::from_data(TensorData::new(scores.clone(), [1, count]), device),
            Tensor::zeros([1, count], device),
        );
        Self { boxes, scores, inputs }
    }

    /// 1 for each box that stays.
    pub fn round(&self) -> Tensor<2, Int> {
        let (boxes, scores, groups) = self.inputs.clone();
        batched_nms(boxes, scores, groups, IOU_THRESHOLD)
    }
}
