//! What a backend implements: the operations on its own tensors, with their shapes checked.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata, backend_extension};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{IntDType, Shape};

use super::fallback;
use super::options::{NormOptions, PoolOptions, RoiAlignOptions};
use super::primitives::{FeatureMaps, MapShapes, Residual};

/// The operations a backend supplies to this crate. RoIAlign must take zero boxes, so that its output
/// stays differentiable, with a gradient of zero.
///
/// `#[backend_extension]` routes a call to the backend that holds the tensors, at run time.
#[backend_extension(
    Flex,
    Cube: cfg(feature = "cube"),
    Remote: cfg(feature = "workers"),
    Autodiff: cfg(feature = "train")
)]
pub trait DetectionOps: Backend {
    /// See [`roi_align`](super::roi_align) and [`pyramid_roi_align`](super::pyramid_roi_align); `min_areas`
    /// are those of the second to the fourth map.
    fn roi_align(
        #[extension_type] maps: FeatureMaps<Self>,
        rois: FloatTensor<Self>,
        min_areas: [f32; 3],
        options: RoiAlignOptions,
    ) -> FloatTensor<Self>;

    /// Gradient of [`roi_align`](Self::roi_align) with respect to the maps.
    fn roi_align_backward(
        grad: FloatTensor<Self>,
        rois: FloatTensor<Self>,
        min_areas: [f32; 3],
        shapes: MapShapes,
        options: RoiAlignOptions,
    ) -> FeatureMaps<Self>;

    /// See [`top_k`](super::top_k).
    fn top_k(values: FloatTensor<Self>, k: usize, dtype: IntDType) -> IntTensor<Self>;

    /// See [`batched_nms`](super::batched_nms): 1 for each box that stays, 0 for each that is suppressed.
    fn batched_nms(
        boxes: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        groups: IntTensor<Self>,
        iou_threshold: f32,
    ) -> IntTensor<Self>;

    /// See [`conv2d`](super::conv2d).
    fn convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        #[extension_type] residual: Residual<Self>,
        relu: bool,
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        let sums = Self::conv2d(x, weight, Some(bias), options);
        fallback::residual_and_relu(sums, residual, relu)
    }

    /// [`conv2d`](super::conv2d) with the weight of a [`ConvWeight::Winograd`](super::ConvWeight::Winograd),
    /// `[36, C out, C in]`, which only the CPU takes.
    fn winograd_convolution(
        _x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        _bias: FloatTensor<Self>,
        #[extension_type] _residual: Residual<Self>,
        _relu: bool,
    ) -> FloatTensor<Self> {
        let device = weight.device();
        panic!(
            "a weight transformed by Winograd's algorithm is for the CPU without autodiff, not for {device:?}"
        )
    }

    /// Gradient of [`conv2d`](super::conv2d) with respect to `x`, of that `shape`; `grad` is that of the
    /// convolution's sums.
    fn convolution_input_backward(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        shape: [usize; 4],
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        fallback::convolution_input_backward::<Self>(weight, grad, shape, options)
    }

    /// Gradient of [`conv2d`](super::conv2d) with respect to the weight, of that `shape`; `grad` as above.
    fn convolution_weight_backward(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        shape: [usize; 4],
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        fallback::convolution_weight_backward::<Self>(x, grad, shape, options)
    }

    /// Gradient of [`conv2d`](super::conv2d) with respect to the bias; `grad` as above.
    fn convolution_bias_backward(grad: FloatTensor<Self>) -> FloatTensor<Self> {
        fallback::channel_sums::<Self>(grad)
    }

    /// See [`max_pool2d`](super::max_pool2d).
    fn max_pool(x: FloatTensor<Self>, options: PoolOptions) -> FloatTensor<Self> {
        let PoolOptions { kernel, stride, padding } = options;
        Self::max_pool2d(x, kernel, stride, padding, [1, 1], false)
    }

    /// Gradient of [`max_pool2d`](super::max_pool2d) with respect to `x`; `output` is what it gave.
    fn max_pool_backward(
        x: FloatTensor<Self>,
        _output: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: PoolOptions,
    ) -> FloatTensor<Self> {
        fallback::max_pool_backward::<Self>(x, grad, options)
    }

    /// See [`normalize`](super::normalize).
    fn normalize(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        #[extension_type] residual: Residual<Self>,
        relu: bool,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        fallback::normalize(x, gamma, beta, residual, relu, options)
    }

    /// Gradients of [`normalize`](super::normalize) with respect to `x`, `gamma` and `beta`; `grad` is that
    /// of the sums before the residual.
    fn normalize_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        fallback::normalize_backward::<Self>(x, gamma, mean, variance, grad, options)
    }

    /// See [`zero_with_gradient`](super::zero_with_gradient).
    fn zero_with_gradient(x: FloatTensor<Self>, _gradient: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_zeros(Shape::from([1]), &x.device(), x.dtype().into())
    }
}
