//! CPU kernels on burn-flex tensors: f32, rayon over independent parts of the output, so that a
//! result does not depend on the order in which threads run.

mod conv2d;
mod nms;
mod roi_align;

use burn::backend::Flex;
use burn::backend::ops::ModuleOps;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::TensorData;
use burn::tensor::ops::ConvOptions;
use burn_flex::FlexTensor;

use super::{DetectionOps, RoiAlignOptions};

impl DetectionOps for Flex {
    fn roi_align(
        features: FloatTensor<Self>,
        rois: FloatTensor<Self>,
        options: RoiAlignOptions,
    ) -> FloatTensor<Self> {
        let shape: [usize; 4] = dims(&features);
        let [count, _] = dims(&rois);
        let (features, rois) = (contiguous(features), contiguous(rois));
        let output = roi_align::forward(floats(&features), shape, floats(&rois), options);
        tensor(output, [count, shape[1], options.output_size.0, options.output_size.1])
    }

    fn roi_align_backward(
        grad: FloatTensor<Self>,
        rois: FloatTensor<Self>,
        input_shape: [usize; 4],
        options: RoiAlignOptions,
    ) -> FloatTensor<Self> {
        let (grad, rois) = (contiguous(grad), contiguous(rois));
        let output = roi_align::backward(floats(&grad), input_shape, floats(&rois), options);
        tensor(output, input_shape)
    }

    fn batched_nms(
        boxes: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        groups: IntTensor<Self>,
        iou_threshold: f32,
    ) -> IntTensor<Self> {
        let (boxes, scores, dtype) = (contiguous(boxes), contiguous(scores), groups.dtype());
        let groups: Vec<i64> = groups.into_data().iter::<i64>().collect();
        let (boxes, _) = floats(&boxes).as_chunks::<4>();
        let keep = nms::batched_nms(boxes, floats(&scores), &groups, iou_threshold);
        let keep = keep.into_iter().map(i64::from).collect::<Vec<_>>();
        FlexTensor::from_data(TensorData::new(keep, [groups.len()]).convert_dtype(dtype))
    }

    fn convolution_weight_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        if options.is_asymmetric() {
            return Self::conv2d_weight_backward(x, weight, grad, options);
        }
        let shapes = conv2d::Shapes { x: dims(&x), weight: dims(&weight), output: dims(&grad) };
        let (x, grad) = (contiguous(x), contiguous(grad));
        tensor(conv2d::weight_backward(floats(&x), floats(&grad), &shapes, &options), shapes.weight)
    }
}

fn dims<const D: usize>(tensor: &FlexTensor) -> [usize; D] {
    tensor.layout().shape().dims()
}

fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
}

/// The elements of a contiguous tensor.
fn floats(tensor: &FlexTensor) -> &[f32] {
    tensor
        .as_slice()
        .unwrap_or_else(|| panic!("the CPU detection kernels take contiguous f32, got {:?}", tensor.dtype()))
}

fn tensor<const D: usize>(data: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(data, shape))
}
