//! Convolutions, norms and pooling made of burn's own operations, for backends without a kernel of this
//! crate.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{IntDType, Slice};

use super::options::{NormOptions, PoolOptions};
use super::primitives::Residual;

pub(super) fn residual_and_relu<B: Backend>(
    sums: FloatTensor<B>,
    residual: Residual<B>,
    relu: bool,
) -> FloatTensor<B> {
    let sums = match residual.into_option() {
        None => sums,
        Some(residual) => B::float_add(sums, residual),
    };
    if relu { B::relu(sums) } else { sums }
}

pub(super) fn convolution_input_backward<B: Backend>(
    weight: FloatTensor<B>,
    grad: FloatTensor<B>,
    shape: [usize; 4],
    options: ConvOptions<2>,
) -> FloatTensor<B> {
    // burn reads nothing but the shape of x.
    let x = B::float_empty(shape.into(), &grad.device(), grad.dtype().into());
    B::conv2d_x_backward(x, weight, grad, options)
}

/// Mesa's software GPU, llvmpipe, silently stops a shader after this many iterations of all its loops
/// together (`LP_MAX_TGSI_LOOP_ITERATIONS` in its gallivm).
const MOST_ROUNDS: usize = 65_535;

/// Works in bands of rows if the output is large: 160x160 pixels of four images make three bands.
///
/// burn's direct algorithm computes an element in the loops of one unit, over all pixels of the output. Bands
/// keep these loops below [`MOST_ROUNDS`]. They also keep rounding errors small, which would otherwise add up
/// over hundreds of thousands of products. They take a copy of x and of the gradient, which costs little
/// compared with the products.
pub(super) fn convolution_weight_backward<B: Backend>(
    x: FloatTensor<B>,
    grad: FloatTensor<B>,
    shape: [usize; 4],
    options: ConvOptions<2>,
) -> FloatTensor<B> {
    let weight = || B::float_empty(shape.into(), &grad.device(), grad.dtype().into());
    let [batch, _, height, width] = grad.shape().dims();
    // The loops over rows, columns and images each take one more iteration, to find that they have ended.
    let most_rows = (MOST_ROUNDS / (2 + width * (2 + batch))).max(1);
    if height <= most_rows {
        return B::conv2d_weight_backward(x, weight(), grad, options);
    }
    let rows = height.div_ceil(height.div_ceil(most_rows));
    let (top, _) = options.padding[0];
    let reach = options.dilation[0] * (shape[2] - 1) + 1;
    let whole = |tensor: &FloatTensor<B>| tensor.shape().iter().map(|side| Slice::from(0..*side)).collect();
    let bands = (0..height).step_by(rows).map(|first| {
        let last = height.min(first + rows);
        // The rows of x that these rows see, counted from the first row of the padding.
        let (start, end) = (first * options.stride[0], (last - 1) * options.stride[0] + reach);
        let x_height = x.shape()[2];
        let (mut of_x, mut of_grad): (Vec<Slice>, Vec<Slice>) = (whole(&x), whole(&grad));
        of_x[2] = (start.saturating_sub(top)..end.saturating_sub(top).min(x_height)).into();
        of_grad[2] = (first..last).into();
        let mut options = options.clone();
        options.padding[0] = (top.saturating_sub(start), end.saturating_sub(top + x_height));
        let (x, grad) = (B::float_slice(x.clone(), &of_x), B::float_slice(grad.clone(), &of_grad));
        B::conv2d_weight_backward(x, weight(), grad, options)
    });
    bands.reduce(B::float_add).expect("at least two bands")
}

pub(super) fn max_pool_backward<B: Backend>(
    x: FloatTensor<B>,
    grad: FloatTensor<B>,
    PoolOptions { kernel, stride, padding }: PoolOptions,
) -> FloatTensor<B> {
    // Recomputing the indices is cheaper than keeping them.
    let dtype = IntDType::I32;
    let places = B::max_pool2d_with_indices(x.clone(), kernel, stride, padding, [1, 1], false, dtype).indices;
    B::max_pool2d_with_indices_backward(x, kernel, stride, padding, [1, 1], false, grad, places).x_grad
}

pub(super) fn normalize<B: Backend>(
    x: FloatTensor<B>,
    gamma: FloatTensor<B>,
    beta: FloatTensor<B>,
    residual: Residual<B>,
    relu: bool,
    options: NormOptions,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let shape = x.shape();
    if shape.num_elements() == 0 {
        let sets = options.groups.map_or(shape[1], |groups| shape[0] * groups);
        let nothing = B::float_zeros([sets].into(), &x.device(), x.dtype().into());
        return (x, nothing.clone(), nothing);
    }
    let (x, one, zero) = as_channels::<B>(x, options);
    let normal = B::batch_norm_train(x, one, zero, options.epsilon);
    let [gamma, beta] = [gamma, beta].map(|affine| per_channel::<B>(affine));
    let output = B::float_mul(B::float_reshape(normal.output, shape), gamma);
    let output = B::float_add(output, beta);
    (residual_and_relu(output, residual, relu), normal.mean, normal.variance)
}

pub(super) fn normalize_backward<B: Backend>(
    x: FloatTensor<B>,
    gamma: FloatTensor<B>,
    mean: FloatTensor<B>,
    variance: FloatTensor<B>,
    grad: FloatTensor<B>,
    options: NormOptions,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let shape = x.shape();
    if shape.num_elements() == 0 {
        let nothing = B::float_zeros([shape[1]].into(), &x.device(), x.dtype().into());
        return (x, nothing.clone(), nothing);
    }
    let (x, one, zero) = as_channels::<B>(x, options);
    let epsilon = options.epsilon;
    let normal = B::batch_norm(x.clone(), one.clone(), zero, mean.clone(), variance.clone(), epsilon);
    let product = B::float_mul(B::float_reshape(normal, shape.clone()), grad.clone());
    let scaled = B::float_mul(grad.clone(), per_channel::<B>(gamma));
    let (scaled, ..) = as_channels::<B>(scaled, options);
    let back = B::batch_norm_train_backward(x, one, mean, variance, epsilon, scaled);
    let x_grad = B::float_reshape(back.x_grad, shape);
    (x_grad, channel_sums::<B>(product), channel_sums::<B>(grad))
}

/// `[N, C, H, W]` to `[C]`.
pub(super) fn channel_sums<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let [batch, channels, height, width] = x.shape().dims();
    let rows = B::float_reshape(B::float_swap_dims(x, 0, 1), [channels, batch * height * width].into());
    B::float_reshape(B::float_sum_dim(rows, 1), [channels].into())
}

/// `[C]` to `[1, C, 1, 1]`.
fn per_channel<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let channels = x.shape()[0];
    B::float_reshape(x, [1, channels, 1, 1].into())
}

/// A view of x in which all elements that are normalised together are one channel; a scale of 1 and a shift
/// of 0.
fn as_channels<B: Backend>(
    x: FloatTensor<B>,
    options: NormOptions,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let [batch, channels, height, width] = x.shape().dims();
    let (device, dtype) = (x.device(), x.dtype().into());
    let shape = match options.groups {
        None => [batch, channels, height * width],
        Some(groups) => [1, batch * groups, channels / groups * height * width],
    };
    let constant = |value: f32| B::float_full([shape[1]].into(), value.into(), &device, dtype);
    (B::float_reshape(x, shape.into()), constant(1.0), constant(0.0))
}
