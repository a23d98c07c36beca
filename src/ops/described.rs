//! The operations on backends that do not run them here and now: fused and remote ones are told of the
//! [`Call`] instead.

use std::fmt::Debug;

use burn::backend::Backend;
use burn::backend::ir::OperationOutput;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::IntDType;
use burn::tensor::ops::ConvOptions;

use super::custom::Call;
use super::{DetectionOps, FeatureMaps, MapShapes, NormOptions, PoolOptions, Residual, RoiAlignOptions};

/// A backend that is told what to do and does it later or elsewhere.
pub(super) trait Described {
    /// Its tensors, of whatever kind.
    type Tensor: Debug;

    /// The outputs of a call, which are not there yet. It has at least one input.
    fn call(call: Call, inputs: Vec<Self::Tensor>) -> Vec<Self::Tensor>;
}

impl<B> DetectionOps for B
where
    B: Described + Backend<FloatTensorPrimitive = B::Tensor, IntTensorPrimitive = B::Tensor>,
{
    fn roi_align(
        maps: FeatureMaps<Self>,
        rois: FloatTensor<Self>,
        min_areas: [f32; 3],
        options: RoiAlignOptions,
    ) -> FloatTensor<Self> {
        let inputs = maps.into_vec().into_iter().chain([rois]).collect();
        B::call(Call::RoiAlign(min_areas, options), inputs).output()
    }

    fn roi_align_backward(
        grad: FloatTensor<Self>,
        rois: FloatTensor<Self>,
        min_areas: [f32; 3],
        shapes: MapShapes,
        options: RoiAlignOptions,
    ) -> FeatureMaps<Self> {
        let mut maps =
            B::call(Call::RoiAlignBackward(shapes, min_areas, options), vec![grad, rois]).into_iter();
        shapes.maps(|_| maps.next().expect("a gradient for each map"))
    }

    fn top_k(values: FloatTensor<Self>, k: usize, dtype: IntDType) -> IntTensor<Self> {
        B::call(Call::TopK(k, dtype), vec![values]).output()
    }

    fn batched_nms(
        boxes: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        groups: IntTensor<Self>,
        iou_threshold: f32,
    ) -> IntTensor<Self> {
        B::call(Call::BatchedNms { iou_threshold }, vec![boxes, scores, groups]).output()
    }

    fn convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: Residual<Self>,
        relu: bool,
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        let inputs = [x, weight, bias].into_iter().chain(residual.into_option()).collect();
        B::call(Call::Convolution { relu, options }, inputs).output()
    }

    fn convolution_input_backward(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        shape: [usize; 4],
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        B::call(Call::ConvolutionInputBackward(shape, options), vec![weight, grad]).output()
    }

    fn convolution_weight_backward(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        shape: [usize; 4],
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        B::call(Call::ConvolutionWeightBackward(shape, options), vec![x, grad]).output()
    }

    fn convolution_bias_backward(grad: FloatTensor<Self>) -> FloatTensor<Self> {
        B::call(Call::ConvolutionBiasBackward, vec![grad]).output()
    }

    fn max_pool(x: FloatTensor<Self>, options: PoolOptions) -> FloatTensor<Self> {
        B::call(Call::MaxPool(options), vec![x]).output()
    }

    fn max_pool_backward(
        x: FloatTensor<Self>,
        output: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: PoolOptions,
    ) -> FloatTensor<Self> {
        B::call(Call::MaxPoolBackward(options), vec![x, output, grad]).output()
    }

    fn normalize(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        residual: Residual<Self>,
        relu: bool,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let inputs = [x, gamma, beta].into_iter().chain(residual.into_option()).collect();
        B::call(Call::Normalize { relu, options }, inputs).outputs().into()
    }

    fn normalize_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        B::call(Call::NormalizeBackward(options), vec![x, gamma, mean, variance, grad]).outputs().into()
    }
}
