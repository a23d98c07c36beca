//! The operations on [`Tensor`]s, wherever they lie: they check shapes, and burn finds the backend.

use burn::backend::Dispatch;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Int, Tensor, activation, module};

use super::backend::DetectionOps;
use super::conv_weight::ConvWeight;
use super::device::in_host_memory;
use super::options::{Fused, MOST_SAMPLES, NormOptions, PoolOptions, RoiAlignOptions};
use super::primitives::FeatureMaps;

/// Average of bilinear samples in each bin of each region of interest
/// ([He et al. 2017](https://arxiv.org/abs/1703.06870), as `torchvision.ops.roi_align`).
///
/// # Shapes
///
/// - `features`: `[N, C, H, W]`
/// - `rois`: `[K, 5]`, image index in the batch and x1, y1, x2, y2 in image pixels
/// - output: `[K, C, output height, output width]`
///
/// Differentiable in `features` only. A sample more than a pixel outside the map, or at a NaN, is 0. So is
/// every sample of a box whose image index is outside the batch, and of a bin of more than 65,535 pixels
/// along an axis where `sampling_ratio` is 0.
pub fn roi_align(features: Tensor<4>, rois: Tensor<2>, options: RoiAlignOptions) -> Tensor<4> {
    pool(FeatureMaps::Single(features.into_dispatch()), rois, [f32::INFINITY; 3], options)
}

/// [`roi_align`] of each box from one of four maps, each half as fine as the one before: from the last map
/// whose minimum area the box reaches. `min_areas` are those of the second to the fourth map, rising, in
/// square image pixels.
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
    assert!(
        options.sampling_ratio <= MOST_SAMPLES,
        "a bin takes at most {MOST_SAMPLES} samples along an axis, got {}",
        options.sampling_ratio
    );
    Tensor::from_dispatch(<Dispatch as DetectionOps>::roi_align(
        maps,
        rois.into_dispatch(),
        min_areas,
        options,
    ))
}

/// Columns of the `k` highest values of each row, `[R, T]` to `[R, k]`: by falling value. Among equal values
/// the first comes first; NaN counts as the lowest.
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

/// Non-maximum suppression within each group (such as a class or a pyramid level) of each row. Boxes are
/// visited by falling score. A box stays unless its IoU with a box of its row and group that stayed is above
/// `iou_threshold`.
///
/// # Shapes
///
/// - `boxes`: `[R, M, 4]`, x1, y1, x2, y2
/// - `scores`: `[R, M]`, of two equal ones the earlier goes first; NaN counts as the lowest
/// - `groups`: `[R, M]`, [`ABSENT`](super::ABSENT) where there is no box
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

/// The largest f32 that is not above `value`. An f32 is above this number if and only if it is above `value`.
/// So an f32 kernel compares like torchvision, whose threshold is an f64.
pub(super) fn round_down(value: f64) -> f32 {
    let nearest = value as f32;
    if f64::from(nearest) > value { nearest.next_down() } else { nearest }
}

/// `x * weight + bias`, and ReLU: `[K, in]`, `[in, out]`, `[out]` to `[K, out]`.
///
/// On a GPU it is a convolution of images of one pixel, whose kernels are exact where
/// [`set_allow_tf32`](super::set_allow_tf32) asks for it. burn's matrix product there is not.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>, relu: bool) -> Tensor<2> {
    let ([rows, inputs], [_, outputs]) = (x.dims(), weight.dims());
    if rows == 0 || in_host_memory(&x.device()) {
        let sums = module::linear(x, weight, Some(bias));
        return if relu { activation::relu(sums) } else { sums };
    }
    let weight = weight.swap_dims(0, 1).reshape([outputs, inputs, 1, 1]);
    let options = ConvOptions::new([1, 1], [0, 0], [1, 1], 1);
    let fused = if relu { Fused::default().relu() } else { Fused::default() };
    conv2d(x.reshape([rows, inputs, 1, 1]), weight, bias, options, fused).reshape([rows, outputs])
}

/// A zero, `[1]`, whose gradient with respect to `x` is `gradient`, of x's shape. It goes on with a backward
/// pass that was cut at `x`, and computes nothing.
pub fn zero_with_gradient(x: Tensor<4>, gradient: Tensor<4>) -> Tensor<1> {
    assert_eq!(x.dims(), gradient.dims(), "a gradient has the shape of its tensor");
    let zero = <Dispatch as DetectionOps>::zero_with_gradient(x.into_dispatch(), gradient.into_dispatch());
    Tensor::from_dispatch(zero)
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

/// Batch norm with the statistics of the batch, or group norm
/// ([Ioffe and Szegedy 2015](https://arxiv.org/abs/1502.03167),
/// [Wu and He 2018](https://arxiv.org/abs/1803.08494)):
/// `(x - mean) / sqrt(variance + epsilon) * gamma + beta`, and the steps of `fused`.
///
/// # Shapes
///
/// - `x`, `residual` and output: `[N, C, H, W]`; `gamma`, `beta`: `[C]`
/// - returned mean and (biased) variance, not differentiable: `[C]` over the batch, `[N * groups]` over
///   groups
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
