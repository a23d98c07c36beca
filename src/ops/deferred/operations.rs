//! The operations on a backend that does not run them immediately: each records its [`Call`] instead.

use std::fmt::Debug;

use burn::backend::Backend;
use burn::backend::ir::OperationOutput;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::IntDType;
use burn::tensor::ops::ConvOptions;

use super::wire::Call;
use crate::ops::backend::DetectionOps;
use crate::ops::options::{NormOptions, PoolOptions, RoiAlignOptions};
use crate::ops::primitives::{FeatureMaps, MapShapes, Residual};

/// A backend that records calls, and runs them later or elsewhere.
pub(super) trait Deferred {
    /// Its tensors, of whatever kind.
    type Tensor: Debug;

    /// Notes a call and returns its outputs, which are not computed yet. It has at least one input.
    fn defer(call: Call, inputs: Vec<Self::Tensor>) -> Vec<Self::Tensor>;
}

impl<B> DetectionOps for B
where
    B: Deferred + Backend<FloatTensorPrimitive = B::Tensor, IntTensorPrimitive = B::Tensor>,
{
    fn roi_align(
        maps: FeatureMaps<Self>,
        rois: FloatTensor<Self>,
        min_areas: [f32; 3],
        options: RoiAlignOptions,
    ) -> FloatTensor<Self> {
        let inputs = maps.into_vec().into_iter().chain([rois]).collect();
        B::defer(Call::RoiAlign { min_areas, options }, inputs).output()
    }

    fn roi_align_backward(
        grad: FloatTensor<Self>,
        rois: FloatTensor<Self>,
        min_areas: [f32; 3],
        shapes: MapShapes,
        options: RoiAlignOptions,
    ) -> FeatureMaps<Self> {
        let mut maps =
            B::defer(Call::RoiAlignBackward { shapes, min_areas, options }, vec![grad, rois]).into_iter();
        shapes.maps(|_| maps.next().expect("a gradient for each map"))
    }

    fn top_k(values: FloatTensor<Self>, k: usize, dtype: IntDType) -> IntTensor<Self> {
        B::defer(Call::TopK { k, dtype }, vec![values]).output()
    }

    fn batched_nms(
        boxes: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        groups: IntTensor<Self>,
        iou_threshold: f32,
    ) -> IntTensor<Self> {
        B::defer(Call::BatchedNms { iou_threshold }, vec![boxes, scores, groups]).output()
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
        B::defer(Call::Convolution { relu, options }, inputs).output()
    }

    fn convolution_input_backward(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        shape: [usize; 4],
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        B::defer(Call::ConvolutionInputBackward { shape, options }, vec![weight, grad]).output()
    }

    fn convolution_weight_backward(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        shape: [usize; 4],
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        B::defer(Call::ConvolutionWeightBackward { shape, options }, vec![x, grad]).output()
    }

    fn convolution_bias_backward(grad: FloatTensor<Self>) -> FloatTensor<Self> {
        B::defer(Call::ConvolutionBiasBackward {}, vec![grad]).output()
    }

    fn max_pool(x: FloatTensor<Self>, options: PoolOptions) -> FloatTensor<Self> {
        B::defer(Call::MaxPool { options }, vec![x]).output()
    }

    fn max_pool_backward(
        x: FloatTensor<Self>,
        output: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: PoolOptions,
    ) -> FloatTensor<Self> {
        B::defer(Call::MaxPoolBackward { options }, vec![x, output, grad]).output()
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
        B::defer(Call::Normalize { relu, options }, inputs).outputs().into()
    }

    fn normalize_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        B::defer(Call::NormalizeBackward { options }, vec![x, gamma, mean, variance, grad]).outputs().into()
    }
}
