//! The backend seam, and the only place that names a backend: operations that burn does not have, or not
//! fast enough, each
//! with a reference, a kernel per backend and, where it is differentiable, a backward pass.
//!
//! `DetectionOps` is what a backend implements; the functions beside it are what the rest of the
//! library calls, on plain [`Tensor`]s. Today's kernels are the CPU's (burn-flex).

mod autodiff;
mod cpu;
#[cfg(feature = "workers")]
mod custom;
#[cfg(test)]
mod reference;
#[cfg(feature = "workers")]
pub(crate) mod remote;
#[cfg(test)]
mod tests;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, ExtensionType, backend_extension};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Int, Tensor};

/// How RoIAlign samples a box; the meaning of each field is that of `torchvision.ops.roi_align`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoiAlignOptions {
    /// Bins of the output, `(height, width)`.
    pub output_size: (usize, usize),
    /// Pixels of the feature map per pixel of the image the boxes are given in.
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

/// What is added to the output of a convolution or a norm.
#[derive(Debug, Clone, ExtensionType)]
pub enum Residual<B: Backend> {
    /// Nothing.
    None,
    /// A tensor of the output's shape.
    Add(FloatTensor<B>),
}

/// The operations a backend supplies to this crate. RoIAlign must take zero boxes, so that its output
/// stays differentiable, with a gradient of zero.
///
/// `#[backend_extension]` routes a call to the backend that holds the tensors, at run time.
#[backend_extension(Flex, Remote: cfg(feature = "workers"), Autodiff)]
pub trait DetectionOps: Backend {
    /// See [`roi_align`].
    fn roi_align(
        features: FloatTensor<Self>,
        rois: FloatTensor<Self>,
        options: RoiAlignOptions,
    ) -> FloatTensor<Self>;

    /// Gradient of [`roi_align`] with respect to the features, of shape `input_shape`.
    fn roi_align_backward(
        grad: FloatTensor<Self>,
        rois: FloatTensor<Self>,
        input_shape: [usize; 4],
        options: RoiAlignOptions,
    ) -> FloatTensor<Self>;

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
    ) -> FloatTensor<Self>;

    /// Gradient of [`conv2d`] with respect to `x`, of that `shape`; `grad` is that of the convolution's sums.
    fn convolution_input_backward(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        shape: [usize; 4],
        options: ConvOptions<2>,
    ) -> FloatTensor<Self>;

    /// Gradient of [`conv2d`] with respect to the weight, of that `shape`; `grad` as above.
    fn convolution_weight_backward(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        shape: [usize; 4],
        options: ConvOptions<2>,
    ) -> FloatTensor<Self>;

    /// Gradient of [`conv2d`] with respect to the bias; `grad` as above.
    fn convolution_bias_backward(grad: FloatTensor<Self>) -> FloatTensor<Self>;

    /// See [`normalize`].
    fn normalize(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        #[extension_type] residual: Residual<Self>,
        relu: bool,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// Gradients of [`normalize`] with respect to `x`, `gamma` and `beta`; `grad` is that of the sums
    /// before the residual.
    fn normalize_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
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
    assert_eq!(rois.dims()[1], 5, "rois must have shape [K, 5], got {:?}", rois.dims());
    Tensor::from_dispatch(<Dispatch as DetectionOps>::roi_align(
        features.into_dispatch(),
        rois.into_dispatch(),
        options,
    ))
}

/// Non-maximum suppression within groups (classes or pyramid levels): going by falling score, a box
/// stays unless its IoU with a box of its group that stayed is above `iou_threshold`.
///
/// # Shapes
///
/// - `boxes`: `[K, 4]`, x1, y1, x2, y2
/// - `scores`: `[K]`, of two equal ones the earlier goes first; NaN goes last
/// - `groups`: `[K]`
/// - output: `[K]`, 1 for a box that stays, else 0
///
/// A box of no area has no IoU with anything, so it stays, as in torchvision.
pub fn batched_nms(
    boxes: Tensor<2>,
    scores: Tensor<1>,
    groups: Tensor<1, Int>,
    iou_threshold: f64,
) -> Tensor<1, Int> {
    let [count, coordinates] = boxes.dims();
    assert!(
        coordinates == 4 && scores.dims() == [count] && groups.dims() == [count],
        "batched_nms takes [K, 4], [K], [K], got {:?}, {:?}, {:?}",
        boxes.dims(),
        scores.dims(),
        groups.dims()
    );
    if count == 0 {
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

/// Two-dimensional convolution, `relu(x * weight + bias + residual)`, the last two steps where asked for.
///
/// # Shapes
///
/// - `x`: `[N, C in, H, W]`, `weight`: `[C out, C in, kernel height, kernel width]`, `bias`: `[C out]`
/// - `residual` and output: `[N, C out, H out, W out]`
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    residual: Option<Tensor<4>>,
    relu: bool,
    options: ConvOptions<2>,
) -> Tensor<4> {
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
    Tensor::from_dispatch(<Dispatch as DetectionOps>::convolution(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        residual.map_or(Residual::None, |residual| Residual::Add(residual.into_dispatch())),
        relu,
        options,
    ))
}

/// Batch norm with the statistics of the batch, or group norm
/// ([Ioffe and Szegedy 2015](https://arxiv.org/abs/1502.03167),
/// [Wu and He 2018](https://arxiv.org/abs/1803.08494)):
/// `relu((x - mean) / sqrt(variance + epsilon) * gamma + beta + residual)`, the last two steps where asked for.
///
/// # Shapes
///
/// - `x`, `residual` and output: `[N, C, H, W]`; `gamma`, `beta`: `[C]`
/// - returned mean and (biased) variance, not differentiable: `[C]` over the batch, `[N * groups]` over groups
pub fn normalize(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    residual: Option<Tensor<4>>,
    relu: bool,
    options: NormOptions,
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
        residual.map_or(Residual::None, |residual| Residual::Add(residual.into_dispatch())),
        relu,
        options,
    );
    (Tensor::from_dispatch(output), Tensor::from_dispatch(mean), Tensor::from_dispatch(variance))
}
