//! The backend seam, and the only place that names a backend: operations that burn does not have, or not
//! fast enough, each with a reference, a kernel per backend and, where it is differentiable, a backward pass.
//!
//! `DetectionOps` is what a backend implements; the functions beside it are what the rest of the
//! library calls, on plain [`Tensor`]s. There are kernels for the CPU (burn-flex) and, in CubeCL, for GPUs.

#![allow(
    clippy::large_enum_variant,
    reason = "tensor handles and what is generated from them, passed once a call"
)]

mod autodiff;
mod conv_weight;
mod cpu;
#[cfg(feature = "cube")]
mod cube;
#[cfg(any(feature = "cube", feature = "workers"))]
mod custom;
#[cfg(any(feature = "cube", feature = "workers"))]
mod described;
#[cfg(feature = "cube")]
mod fusion;
mod generic;
#[cfg(feature = "workers")]
pub(crate) mod remote;
#[cfg(test)]
mod tests;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, DispatchDevice, ExtensionType, TensorMetadata, backend_extension};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Int, IntDType, Tensor};

pub use conv_weight::ConvWeight;

/// How RoIAlign samples a box; the meaning of each field is that of `torchvision.ops.roi_align`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoiAlignOptions {
    /// Bins of the output, `(height, width)`.
    pub output_size: (usize, usize),
    /// Pixels of the (first) feature map per pixel of the image the boxes are given in.
    pub spatial_scale: f32,
    /// Samples per bin and axis; 0 takes as many as the bin has pixels.
    pub sampling_ratio: usize,
    /// Shift boxes by half a pixel. Faster R-CNN's models use `false`.
    pub aligned: bool,
}

/// Which elements are normalised together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormOptions {
    /// Those of so many groups of channels, in one image; `None` for those of one channel, in all images.
    pub groups: Option<usize>,
    /// Added to the variance.
    pub epsilon: f64,
}

/// Which pixels are pooled together; vertical, then horizontal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PoolOptions {
    /// Pixels of a window.
    pub kernel: [usize; 2],
    /// Pixels from one window to the next.
    pub stride: [usize; 2],
    /// Pixels by which the first and the last window may reach out of the map, at most half of a window.
    pub padding: [usize; 2],
}

/// Steps after a convolution or a norm, in the same pass over the map: `relu(y + residual)`, each where asked for.
///
/// ```
/// # use faster_rcnn::burn::tensor::Tensor;
/// # use faster_rcnn::ops::Fused;
/// # let shortcut = Tensor::<4>::zeros([1, 1, 2, 2], &Default::default());
/// let end_of_a_block = Fused::default().plus(shortcut).relu();
/// # assert!(end_of_a_block.relu && end_of_a_block.residual.is_some());
/// ```
#[derive(Debug, Clone, Default)]
pub struct Fused {
    /// Added to the output, `[N, C out, H out, W out]` like it.
    pub residual: Option<Tensor<4>>,
    /// Whether negative values become 0 in the end.
    pub relu: bool,
}

impl Fused {
    /// Adds `residual`, a tensor of the output's shape.
    #[must_use]
    pub fn plus(self, residual: Tensor<4>) -> Self {
        Self { residual: Some(residual), ..self }
    }

    /// Ends with a ReLU.
    #[must_use]
    pub fn relu(self) -> Self {
        Self { relu: true, ..self }
    }
}

/// [`Fused::residual`] on a backend. burn routes enums of tensors to a backend, but not an `Option` of one.
#[derive(Debug, Clone, ExtensionType)]
pub enum Residual<B: Backend> {
    /// Nothing.
    None,
    /// A tensor of the output's shape.
    Add(FloatTensor<B>),
}

impl<B: Backend> Residual<B> {
    fn into_option(self) -> Option<FloatTensor<B>> {
        match self {
            Self::None => None,
            Self::Add(tensor) => Some(tensor),
        }
    }
}

impl From<Option<Tensor<4>>> for Residual<Dispatch> {
    fn from(residual: Option<Tensor<4>>) -> Self {
        residual.map_or(Self::None, |residual| Self::Add(residual.into_dispatch()))
    }
}

/// What RoIAlign pools from, or the gradient of that, each map `[N, C, H, W]`.
#[derive(Debug, Clone, ExtensionType)]
pub enum FeatureMaps<B: Backend> {
    /// One map.
    Single(FloatTensor<B>),
    /// Four maps, each half as fine as the one before.
    Pyramid(FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>),
}

/// Shapes of [`FeatureMaps`].
#[derive(Debug, Clone, Copy)]
pub enum MapShapes {
    /// Of one map.
    Single([usize; 4]),
    /// Of four.
    Pyramid([[usize; 4]; 4]),
}

impl<B: Backend> FeatureMaps<B> {
    /// The maps, finest first.
    pub fn into_vec(self) -> Vec<FloatTensor<B>> {
        match self {
            Self::Single(map) => vec![map],
            Self::Pyramid(first, second, third, fourth) => vec![first, second, third, fourth],
        }
    }
}

impl MapShapes {
    /// The shapes, finest first.
    pub fn as_slice(&self) -> &[[usize; 4]] {
        match self {
            Self::Single(shape) => std::slice::from_ref(shape),
            Self::Pyramid(shapes) => shapes,
        }
    }

    /// Makes a map of each shape.
    pub fn maps<B: Backend>(&self, mut map: impl FnMut([usize; 4]) -> FloatTensor<B>) -> FeatureMaps<B> {
        match *self {
            Self::Single(shape) => FeatureMaps::Single(map(shape)),
            Self::Pyramid([first, second, third, fourth]) => {
                FeatureMaps::Pyramid(map(first), map(second), map(third), map(fourth))
            }
        }
    }
}

/// The operations a backend supplies to this crate. RoIAlign must take zero boxes, so that its output
/// stays differentiable, with a gradient of zero.
///
/// `#[backend_extension]` routes a call to the backend that holds the tensors, at run time. Those that run it later or
/// elsewhere, fused and remote ones, are told of it (`described`).
#[backend_extension(
    Flex,
    Cube: cfg(feature = "cube"),
    Remote: cfg(feature = "workers"),
    Autodiff
)]
pub trait DetectionOps: Backend {
    /// See [`roi_align`] and [`pyramid_roi_align`]; `min_areas` are those of the second to the fourth map.
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

    /// See [`top_k`].
    fn top_k(values: FloatTensor<Self>, k: usize, dtype: IntDType) -> IntTensor<Self>;

    /// See [`batched_nms`]: 1 for each box that stays, 0 for each that is suppressed.
    fn batched_nms(
        boxes: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        groups: IntTensor<Self>,
        iou_threshold: f32,
    ) -> IntTensor<Self>;

    /// See [`conv2d`].
    fn convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        #[extension_type] residual: Residual<Self>,
        relu: bool,
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        let sums = Self::conv2d(x, weight, Some(bias), options);
        generic::residual_and_relu(sums, residual, relu)
    }

    /// [`conv2d`] with the weight of a [`ConvWeight::Winograd`], `[36, C out, C in]`, which only the CPU takes.
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

    /// Gradient of [`conv2d`] with respect to `x`, of that `shape`; `grad` is that of the convolution's sums.
    fn convolution_input_backward(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        shape: [usize; 4],
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        generic::convolution_input_backward::<Self>(weight, grad, shape, options)
    }

    /// Gradient of [`conv2d`] with respect to the weight, of that `shape`; `grad` as above.
    fn convolution_weight_backward(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        shape: [usize; 4],
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        generic::convolution_weight_backward::<Self>(x, grad, shape, options)
    }

    /// Gradient of [`conv2d`] with respect to the bias; `grad` as above.
    fn convolution_bias_backward(grad: FloatTensor<Self>) -> FloatTensor<Self> {
        generic::channel_sums::<Self>(grad)
    }

    /// See [`max_pool2d`].
    fn max_pool(x: FloatTensor<Self>, options: PoolOptions) -> FloatTensor<Self> {
        let PoolOptions { kernel, stride, padding } = options;
        Self::max_pool2d(x, kernel, stride, padding, [1, 1], false)
    }

    /// Gradient of [`max_pool2d`] with respect to `x`; `output` is what it gave.
    fn max_pool_backward(
        x: FloatTensor<Self>,
        _output: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: PoolOptions,
    ) -> FloatTensor<Self> {
        generic::max_pool_backward::<Self>(x, grad, options)
    }

    /// See [`normalize`].
    fn normalize(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        #[extension_type] residual: Residual<Self>,
        relu: bool,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        generic::normalize(x, gamma, beta, residual, relu, options)
    }

    /// Gradients of [`normalize`] with respect to `x`, `gamma` and `beta`; `grad` is that of the sums
    /// before the residual.
    fn normalize_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        generic::normalize_backward::<Self>(x, gamma, mean, variance, grad, options)
    }
}

/// Average of bilinear samples in each bin of each region of interest
/// ([He et al. 2017](https://arxiv.org/abs/1703.06870), as `torchvision.ops.roi_align`).
///
/// # Shapes
///
/// - `features`: `[N, C, H, W]`
/// - `rois`: `[K, 5]`, image index in the batch and x1, y1, x2, y2 in image pixels
/// - output: `[K, C, output height, output width]`
///
/// Differentiable in `features` only. A sample more than a pixel outside the map, or at a NaN, is 0.
pub fn roi_align(features: Tensor<4>, rois: Tensor<2>, options: RoiAlignOptions) -> Tensor<4> {
    pool(FeatureMaps::Single(features.into_dispatch()), rois, [f32::INFINITY; 3], options)
}

/// [`roi_align`] of each box from one of four maps, each half as fine as the one before: from the last whose
/// `min_areas` (of the second to the fourth map, rising, in square image pixels) the box's area reaches.
pub fn pyramid_roi_align(
    pyramid: [Tensor<4>; 4],
    rois: Tensor<2>,
    min_areas: [f32; 3],
    options: RoiAlignOptions,
) -> Tensor<4> {
    let [first, second, third, fourth] = pyramid.map(Tensor::into_dispatch);
    pool(FeatureMaps::Pyramid(first, second, third, fourth), rois, min_areas, options)
}

fn pool(
    maps: FeatureMaps<Dispatch>,
    rois: Tensor<2>,
    min_areas: [f32; 3],
    options: RoiAlignOptions,
) -> Tensor<4> {
    assert_eq!(rois.dims()[1], 5, "rois must have shape [K, 5], got {:?}", rois.dims());
    Tensor::from_dispatch(<Dispatch as DetectionOps>::roi_align(
        maps,
        rois.into_dispatch(),
        min_areas,
        options,
    ))
}

/// Columns of the `k` highest values of each row, `[R, T]` to `[R, k]`: by falling value, of two equal ones
/// the first, NaN counting as the lowest.
///
/// # Panics
///
/// If a row has less than `k` values.
pub fn top_k(values: Tensor<2>, k: usize) -> Tensor<2, Int> {
    let [rows, columns] = values.dims();
    assert!(k <= columns, "no {k} values in a row of [{rows}, {columns}]");
    let dtype = values.device().settings().int_dtype;
    Tensor::from_dispatch(<Dispatch as DetectionOps>::top_k(values.into_dispatch(), k, dtype))
}

/// Whether a device's tensors lie in the host's memory, so that looking at one costs nothing.
pub fn in_host_memory(device: &Device) -> bool {
    matches!(device.clone().without_autodiff().as_dispatch(), DispatchDevice::Flex(_))
}

/// The group of a place that holds no box: [`batched_nms`] neither keeps it nor lets it suppress.
pub const ABSENT: i32 = i32::MIN;

/// Non-maximum suppression in each row and within it in groups (such as classes or pyramid levels): going by
/// falling score, a box stays unless its IoU with a box of its row and group that stayed is above
/// `iou_threshold`.
///
/// # Shapes
///
/// - `boxes`: `[R, M, 4]`, x1, y1, x2, y2
/// - `scores`: `[R, M]`, of two equal ones the earlier goes first; NaN counts as the lowest
/// - `groups`: `[R, M]`, [`ABSENT`] where there is no box
/// - output: `[R, M]`, 1 for a box that stays, else 0
///
/// A box of no area has no IoU with anything, so it stays, as in torchvision.
pub fn batched_nms(
    boxes: Tensor<3>,
    scores: Tensor<2>,
    groups: Tensor<2, Int>,
    iou_threshold: f64,
) -> Tensor<2, Int> {
    let [rows, count, coordinates] = boxes.dims();
    assert!(
        coordinates == 4 && scores.dims() == [rows, count] && groups.dims() == [rows, count],
        "batched_nms takes [R, M, 4], [R, M], [R, M], got {:?}, {:?}, {:?}",
        boxes.dims(),
        scores.dims(),
        groups.dims()
    );
    if rows * count == 0 {
        return groups;
    }
    Tensor::from_dispatch(<Dispatch as DetectionOps>::batched_nms(
        boxes.into_dispatch(),
        scores.into_dispatch(),
        groups.into_dispatch(),
        round_down(iou_threshold),
    ))
}

/// The largest f32 that is not above `value`. Any f32 is above the one exactly if it is above the
/// other, so an f32 kernel compares as torchvision does, whose threshold is an f64.
fn round_down(value: f64) -> f32 {
    let nearest = value as f32;
    if f64::from(nearest) > value { nearest.next_down() } else { nearest }
}

/// Two-dimensional convolution, `x * weight + bias`, and the steps of `fused`.
///
/// # Shapes
///
/// - `x`: `[N, C in, H, W]`
/// - `weight`: `[C out, C in, kernel height, kernel width]`, plain or in the form of [`ConvWeight::prepared`]
/// - `bias`: `[C out]`
/// - residual and output: `[N, C out, H out, W out]`
///
/// Differentiable with a plain weight.
pub fn conv2d(
    x: Tensor<4>,
    weight: impl Into<ConvWeight>,
    bias: Tensor<1>,
    options: ConvOptions<2>,
    fused: Fused,
) -> Tensor<4> {
    let weight = weight.into();
    let ([_, channels, ..], [outputs, inputs, ..]) = (x.dims(), weight.dims());
    assert!(
        options.groups == 1 && channels == inputs && bias.dims() == [outputs],
        "conv2d takes [N, C in, H, W], [C out, C in, kernel height, kernel width], [C out] and one group, \
         got {:?}, {:?}, {:?}, {} groups",
        x.dims(),
        weight.dims(),
        bias.dims(),
        options.groups
    );
    let (x, bias, residual) = (x.into_dispatch(), bias.into_dispatch(), fused.residual.into());
    Tensor::from_dispatch(match weight {
        ConvWeight::Plain(weight) => {
            let weight = weight.into_dispatch();
            <Dispatch as DetectionOps>::convolution(x, weight, bias, residual, fused.relu, options)
        }
        ConvWeight::Winograd(weight) => {
            weight.assert_serves(&options);
            let weight = weight.values.into_dispatch();
            <Dispatch as DetectionOps>::winograd_convolution(x, weight, bias, residual, fused.relu)
        }
    })
}

/// The shape of [`conv2d`]'s output.
fn conv2d_shape(x: [usize; 4], weight: [usize; 4], options: &ConvOptions<2>) -> [usize; 4] {
    let side = |axis: usize| {
        let reach = options.dilation[axis] * (weight[2 + axis] - 1) + 1;
        let (before, after) = options.padding[axis];
        let room = (x[2 + axis] + before + after).checked_sub(reach);
        room.map_or(0, |room| room / options.stride[axis] + 1)
    };
    [x[0], weight[0], side(0), side(1)]
}

/// The highest value of each window of a map; NaN is higher than anything.
///
/// # Shapes
///
/// - `x`: `[N, C, H, W]`, at least as high and wide, padded, as a window
/// - output: `[N, C, (H + 2 * padding - kernel) / stride + 1, ...]`
///
/// The gradient goes to one of the highest values of a window; on a CPU to the first.
pub fn max_pool2d(x: Tensor<4>, options: PoolOptions) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    let fits = |axis: usize, side: usize| {
        let (kernel, padding) = (options.kernel[axis], options.padding[axis]);
        options.stride[axis] > 0 && 2 * padding <= kernel && kernel <= side + 2 * padding
    };
    assert!(fits(0, height) && fits(1, width), "{options:?} on a map of {:?}", x.dims());
    Tensor::from_dispatch(<Dispatch as DetectionOps>::max_pool(x.into_dispatch(), options))
}

/// The shape of [`max_pool2d`]'s output.
fn pool_shape([batch, channels, height, width]: [usize; 4], options: PoolOptions) -> [usize; 4] {
    let side = |axis: usize, side: usize| {
        (side + 2 * options.padding[axis] - options.kernel[axis]) / options.stride[axis] + 1
    };
    [batch, channels, side(0, height), side(1, width)]
}

/// Batch norm with the statistics of the batch, or group norm
/// ([Ioffe and Szegedy 2015](https://arxiv.org/abs/1502.03167),
/// [Wu and He 2018](https://arxiv.org/abs/1803.08494)):
/// `(x - mean) / sqrt(variance + epsilon) * gamma + beta`, and the steps of `fused`.
///
/// # Shapes
///
/// - `x`, `residual` and output: `[N, C, H, W]`; `gamma`, `beta`: `[C]`
/// - returned mean and (biased) variance, not differentiable: `[C]` over the batch, `[N * groups]` over groups
pub fn normalize(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    options: NormOptions,
    Fused { residual, relu }: Fused,
) -> (Tensor<4>, Tensor<1>, Tensor<1>) {
    let channels = x.dims()[1];
    assert!(
        gamma.dims() == [channels]
            && beta.dims() == [channels]
            && residual.as_ref().is_none_or(|residual| residual.dims() == x.dims()),
        "normalize takes [N, C, H, W], [C], [C] and a residual like the first, got {:?}, {:?}, {:?}, {:?}",
        x.dims(),
        gamma.dims(),
        beta.dims(),
        residual.map(|residual| residual.dims())
    );
    assert!(
        options.groups.is_none_or(|groups| groups > 0 && channels.is_multiple_of(groups)),
        "{channels} channels do not make {:?} groups",
        options.groups
    );
    let (output, mean, variance) = <Dispatch as DetectionOps>::normalize(
        x.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        residual.into(),
        relu,
        options,
    );
    (Tensor::from_dispatch(output), Tensor::from_dispatch(mean), Tensor::from_dispatch(variance))
}
