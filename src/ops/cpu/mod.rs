//! CPU kernels on burn-flex tensors: f32, rayon over independent parts of the output, so that a
//! result does not depend on the order in which threads run.

mod conv2d;
mod gemm;
mod nms;
mod norm;
mod roi_align;
mod simd;
mod winograd;

use burn::backend::Flex;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::TensorData;
use burn::tensor::ops::ConvOptions;
use burn_flex::FlexTensor;

use super::{DetectionOps, NormOptions, Residual, RoiAlignOptions};
use conv2d::{Epilogue, Geometry};
use norm::Sets;

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

    fn convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: Residual<Self>,
        relu: bool,
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        let geometry = geometry(dims(&x), dims(&weight), &options);
        let (x, weight, bias) = (contiguous(x), contiguous(weight), contiguous(bias));
        let residual = some_contiguous(residual);
        if let Some(residual) = &residual {
            let shape = dims::<4>(residual);
            assert_eq!(shape, geometry.output, "the residual of a convolution has the shape of its output");
        }
        let epilogue = epilogue(&bias, &residual, relu);
        let output = conv2d::forward(floats(&x), floats(&weight), epilogue, &geometry);
        tensor(output, geometry.output)
    }

    fn convolution_input_backward(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        shape: [usize; 4],
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        let geometry = geometry(shape, dims(&weight), &options);
        let (weight, grad) = (contiguous(weight), contiguous(grad));
        tensor(conv2d::input_backward(floats(&weight), floats(&grad), &geometry), shape)
    }

    fn convolution_weight_backward(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        shape: [usize; 4],
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        let geometry = geometry(dims(&x), shape, &options);
        let (x, grad) = (contiguous(x), contiguous(grad));
        tensor(conv2d::weight_backward(floats(&x), floats(&grad), &geometry), shape)
    }

    fn convolution_bias_backward(grad: FloatTensor<Self>) -> FloatTensor<Self> {
        let [batch, channels, height, width] = dims(&grad);
        let grad = contiguous(grad);
        let sums = conv2d::bias_backward(floats(&grad), [batch, channels, height * width]);
        tensor(sums, [channels])
    }

    fn normalize(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        residual: Residual<Self>,
        relu: bool,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (x, gamma, beta) = (contiguous(x), contiguous(gamma), contiguous(beta));
        let residual = some_contiguous(residual);
        let epilogue = epilogue(&beta, &residual, relu);
        let (sets, epsilon) = (sets(dims(&x), options), options.epsilon as f32);
        let (output, mean, variance) = norm::forward(floats(&x), floats(&gamma), epilogue, epsilon, sets);
        let count = sets.count();
        (tensor::<4>(output, dims(&x)), tensor(mean, [count]), tensor(variance, [count]))
    }

    fn normalize_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (x, gamma, grad) = (contiguous(x), contiguous(gamma), contiguous(grad));
        let statistics = [floats(&mean), floats(&variance)];
        let (sets, epsilon) = (sets(dims(&x), options), options.epsilon as f32);
        let (x_grad, gamma_grad, beta_grad) =
            norm::backward(floats(&x), floats(&gamma), statistics, floats(&grad), epsilon, sets);
        let channels = [sets.channels];
        (tensor::<4>(x_grad, dims(&x)), tensor(gamma_grad, channels), tensor(beta_grad, channels))
    }
}

fn sets([batch, channels, height, width]: [usize; 4], options: NormOptions) -> Sets {
    Sets { batch, channels, pixels: height * width, groups: options.groups }
}

fn some_contiguous(residual: Residual<Flex>) -> Option<FlexTensor> {
    match residual {
        Residual::None => None,
        Residual::Add(residual) => Some(contiguous(residual)),
    }
}

fn epilogue<'a>(bias: &'a FlexTensor, residual: &'a Option<FlexTensor>, relu: bool) -> Epilogue<'a> {
    Epilogue { bias: Some(floats(bias)), residual: residual.as_ref().map(floats), relu }
}

/// The shape of the output follows from that of the input.
fn geometry(x: [usize; 4], weight: [usize; 4], options: &ConvOptions<2>) -> Geometry {
    assert!(!options.is_asymmetric(), "convolutions are padded alike on both sides, got {options:?}");
    let padding = options.padding_begin();
    let side = |axis: usize| {
        let reach = options.dilation[axis] * (weight[2 + axis] - 1) + 1;
        let room = (x[2 + axis] + 2 * padding[axis]).checked_sub(reach);
        room.map_or(0, |room| room / options.stride[axis] + 1)
    };
    Geometry {
        x,
        weight,
        output: [x[0], weight[0], side(0), side(1)],
        stride: options.stride,
        padding,
        dilation: options.dilation,
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
