//! Kernels for GPUs, written in CubeCL: compiled by the driver to CUDA on NVIDIA's and to WGSL on others.
//!
//! Every kernel gives the same bits at every run: none adds with atomics.

pub(crate) mod convolution;
#[cfg(test)]
mod cuda_tests;
mod epilogue;
mod nms;
mod norm;
mod roi_align;
mod roi_align_backward;
mod sampling;
mod sums;
mod tensors;
mod top_k;

use burn::backend::TensorMetadata;
use burn::backend::ops::{FloatTensorOps, ModuleOps};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::IntDType;
use burn::tensor::ops::ConvOptions;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;

use crate::ops::backend::DetectionOps;
use crate::ops::fallback;
use crate::ops::options::{NormOptions, RoiAlignOptions};
use crate::ops::primitives::{FeatureMaps, MapShapes, Residual};
use sums::Terms;
use tensors::{channels_last, dims, floats};

impl DetectionOps for CubeBackend {
    fn roi_align(
        maps: FeatureMaps<Self>,
        rois: FloatTensor<Self>,
        min_areas: [f32; 3],
        options: RoiAlignOptions,
    ) -> FloatTensor<Self> {
        let maps = maps.into_vec().into_iter().map(into_contiguous).collect();
        roi_align::forward(maps, floats(rois), min_areas, options)
    }

    fn roi_align_backward(
        grad: FloatTensor<Self>,
        rois: FloatTensor<Self>,
        min_areas: [f32; 3],
        shapes: MapShapes,
        options: RoiAlignOptions,
    ) -> FeatureMaps<Self> {
        roi_align_backward::backward(into_contiguous(grad), floats(rois), min_areas, shapes, options)
    }

    fn top_k(values: FloatTensor<Self>, k: usize, dtype: IntDType) -> IntTensor<Self> {
        top_k::top_k(floats(values), k, dtype.into())
    }

    fn batched_nms(
        boxes: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        groups: IntTensor<Self>,
        iou_threshold: f32,
    ) -> IntTensor<Self> {
        nms::batched_nms(floats(boxes), floats(scores), into_contiguous(groups), iou_threshold)
    }

    fn convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: Residual<Self>,
        relu: bool,
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        let sums = convolution::forward(&x, &weight, &bias, &options)
            .unwrap_or_else(|| Self::conv2d(x, weight, Some(bias), options));
        epilogue::add_and_relu(sums, residual.into_option(), relu)
    }

    fn convolution_input_backward(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        shape: [usize; 4],
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        convolution::input_backward(&weight, &grad, shape, &options)
            .unwrap_or_else(|| fallback::convolution_input_backward::<Self>(weight, grad, shape, options))
    }

    fn convolution_weight_backward(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        shape: [usize; 4],
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        convolution::weight_backward(&x, &grad, shape, &options)
            .unwrap_or_else(|| fallback::convolution_weight_backward::<Self>(x, grad, shape, options))
    }

    fn convolution_bias_backward(grad: FloatTensor<Self>) -> FloatTensor<Self> {
        // All images as one.
        let grad = channels_last(grad);
        let [batch, height, width, channels] = dims(&grad);
        let grad = Self::float_reshape(grad, [1, batch * height, width, channels].into());
        let sums = sums::pixel_sums(&grad, Terms::Values, grad.dtype);
        Self::float_reshape(sums, [channels].into())
    }

    fn normalize(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        residual: Residual<Self>,
        relu: bool,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        if x.shape().num_elements() == 0 {
            return fallback::normalize(x, gamma, beta, residual, relu, options);
        }
        norm::normalize(x, gamma, beta, residual.into_option(), relu, options)
    }

    fn normalize_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        if x.shape().num_elements() == 0 {
            return fallback::normalize_backward::<Self>(x, gamma, mean, variance, grad, options);
        }
        norm::normalize_backward(x, gamma, mean, variance, grad, options)
    }
}
