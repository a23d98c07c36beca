//! Batch norm and group norm, and their gradients.
//!
//! burn's reductions give a sum to one cube. A group norm of four images has 128 sums of up to 400,000 values,
//! and on an H100 they took 61 % of the time of a training step. So sums are by channel and image here, cut
//! into many parts, and what belongs together is added up afterwards, `[N, C]` values.
//!
//! With `y = (x - mean) s gamma + beta`, `s = (variance + epsilon)^-1/2`, and the sums over all `n` elements
//! that are normalised together, the gradient of `x` is
//! `s (gamma dy - sum(gamma dy) / n - (x - mean) s^2 sum(gamma dy (x - mean)) / n)`.

use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::permute_nhwc_to_nchw;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::epilogue::clipped;
use super::sums::{Terms, pixel_sums};
use super::tensors::{ELEMENTS, channels_last, dims, empty, first_element, floats, one_unit_each};
use crate::ops::options::NormOptions;

/// The output, and the mean and the variance of each set of elements that are normalised together.
pub(super) fn normalize(
    x: CubeTensor,
    gamma: CubeTensor,
    beta: CubeTensor,
    residual: Option<CubeTensor>,
    relu: bool,
    options: NormOptions,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let sets = Sets::new(&x, options);
    let x = channels_last(x);
    let sums = pixel_sums(&x, Terms::Values, DType::F32);
    let mean = sets.mean(sums);
    let means = sets.spread(mean.clone());
    let squares = pixel_sums(&x, Terms::Squares(means.clone()), DType::F32);
    let variance = sets.mean(squares);
    let scales = scaled(sets.spread(sets.inverse_deviation(variance.clone())), gamma);

    let output = empty(&x, dims::<4>(&x), x.dtype);
    let has_residual = residual.is_some();
    let residual = residual.map_or_else(|| empty(&x, [1], x.dtype), channels_last);
    let launch = Launch::new(&x);
    apply::launch(
        &x.client,
        launch.count,
        launch.dim,
        x.clone().into_buffer_arg(),
        residual.into_buffer_arg(),
        means.into_buffer_arg(),
        scales.into_buffer_arg(),
        floats(beta).into_buffer_arg(),
        output.clone().into_buffer_arg(),
        launch.of_image,
        launch.channels,
        launch.elements,
        launch.stride,
        has_residual,
        relu,
        dtype_to_storage_type(x.dtype),
    );
    let [mean, variance] = [mean, variance].map(|tensor| cast(tensor, x.dtype));
    (permute_nhwc_to_nchw(output), mean, variance)
}

/// The gradients of `x`, `gamma` and `beta`.
pub(super) fn normalize_backward(
    x: CubeTensor,
    gamma: CubeTensor,
    mean: CubeTensor,
    variance: CubeTensor,
    grad: CubeTensor,
    options: NormOptions,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    type B = CubeBackend;
    let sets = Sets::new(&x, options);
    let (x, grad) = (channels_last(x), channels_last(grad));
    let means = sets.spread(floats(mean));
    let inverse = sets.spread(sets.inverse_deviation(floats(variance)));
    let sums = pixel_sums(&grad, Terms::Values, DType::F32);
    let products = pixel_sums(&grad, Terms::Products(x.clone(), means.clone()), DType::F32);
    let products = B::float_mul(products, inverse.clone());

    // dx = grad * scales + shifts + (x - means) * slopes
    let scales = scaled(inverse.clone(), gamma.clone());
    let of_set = |sums: &CubeTensor| sets.spread(sets.mean(scaled(sums.clone(), gamma.clone())));
    let shifts = B::float_neg(B::float_mul(of_set(&sums), inverse.clone()));
    let slopes = B::float_mul(of_set(&products), B::float_mul(inverse.clone(), inverse));
    let slopes = B::float_neg(slopes);

    let output = empty(&x, dims::<4>(&x), x.dtype);
    let launch = Launch::new(&x);
    gradient::launch(
        &x.client,
        launch.count,
        launch.dim,
        x.clone().into_buffer_arg(),
        grad.into_buffer_arg(),
        means.into_buffer_arg(),
        scales.into_buffer_arg(),
        into_contiguous(shifts).into_buffer_arg(),
        into_contiguous(slopes).into_buffer_arg(),
        output.clone().into_buffer_arg(),
        launch.of_image,
        launch.channels,
        launch.elements,
        launch.stride,
        dtype_to_storage_type(x.dtype),
    );
    let over_images = |sums: CubeTensor| {
        let channels = dims::<2>(&sums)[1];
        cast(B::float_reshape(B::float_sum_dim(sums, 0), [channels].into()), x.dtype)
    };
    (permute_nhwc_to_nchw(output), over_images(products), over_images(sums))
}

/// Which elements are normalised together.
struct Sets {
    images: usize,
    channels: usize,
    groups: Option<usize>,
    /// Elements of a set.
    size: usize,
    epsilon: f64,
}

impl Sets {
    /// Those of `[N, C, H, W]`.
    fn new(x: &CubeTensor, NormOptions { groups, epsilon }: NormOptions) -> Self {
        let [images, channels, height, width] = dims(x);
        let size = height * width * groups.map_or(images, |groups| channels / groups);
        Self { images, channels, groups, size, epsilon }
    }

    /// From sums by channel, `[N, C]`, to the mean of each set.
    fn mean(&self, sums: CubeTensor) -> CubeTensor {
        type B = CubeBackend;
        let (shape, dim, sets): ([usize; 2], _, _) = match self.groups {
            None => ([self.images, self.channels], 0, self.channels),
            Some(groups) => ([self.images * groups, self.channels / groups], 1, self.images * groups),
        };
        let sums = B::float_sum_dim(B::float_reshape(sums, shape.into()), dim);
        B::float_div_scalar(B::float_reshape(sums, [sets].into()), (self.size as f32).into())
    }

    /// From a value of each set to one of each channel of each image, contiguous `[N, C]`.
    fn spread(&self, values: CubeTensor) -> CubeTensor {
        type B = CubeBackend;
        let (shape, spread): (Shape, Shape) = match self.groups {
            None => ([1, self.channels].into(), [self.images, self.channels].into()),
            Some(groups) => {
                let sets = self.images * groups;
                ([sets, 1].into(), [sets, self.channels / groups].into())
            }
        };
        let values = into_contiguous(B::float_expand(B::float_reshape(values, shape), spread));
        B::float_reshape(values, [self.images, self.channels].into())
    }

    fn inverse_deviation(&self, variance: CubeTensor) -> CubeTensor {
        type B = CubeBackend;
        B::float_recip(B::float_sqrt(B::float_add_scalar(variance, self.epsilon.into())))
    }
}

/// `[N, C]` times `[C]`, contiguous.
fn scaled(values: CubeTensor, gamma: CubeTensor) -> CubeTensor {
    let channels = dims::<1>(&gamma)[0];
    let gamma = CubeBackend::float_reshape(floats(gamma), [1, channels].into());
    into_contiguous(CubeBackend::float_mul(values, gamma))
}

fn cast(tensor: CubeTensor, dtype: DType) -> CubeTensor {
    CubeBackend::float_cast(tensor, dtype.into())
}

/// How a kernel goes over all elements of `[N, H, W, C]`.
struct Launch {
    count: CubeCount,
    dim: CubeDim,
    of_image: u32,
    channels: u32,
    elements: u32,
    stride: u32,
}

impl Launch {
    fn new(x: &CubeTensor) -> Self {
        let [images, height, width, channels] = dims(x);
        let of_image = height * width * channels;
        let elements = images * of_image;
        let stride = elements.div_ceil(ELEMENTS);
        let (count, dim) = one_unit_each(x, stride, 256);
        let [of_image, channels, elements, stride] =
            [of_image, channels, elements, stride].map(|count| count as u32);
        Self { count, dim, of_image, channels, elements, stride }
    }
}

#[cube(launch)]
pub(super) fn apply<F: Float>(
    x: &[F],
    residual: &[F],
    means: &[f32],
    scales: &[f32],
    shifts: &[f32],
    output: &mut [F],
    of_image: u32,
    channels: u32,
    elements: u32,
    stride: u32,
    #[comptime] has_residual: bool,
    #[comptime] relu: bool,
    #[define(F)] _dtype: ElemType,
) {
    let mut index = first_element(elements, stride);
    while index < elements as usize {
        let channel = index % channels as usize;
        let at = index / of_image as usize * channels as usize + channel;
        let mut value = (f32::cast_from(x[index]) - means[at]) * scales[at] + shifts[channel];
        if comptime!(has_residual) {
            value += f32::cast_from(residual[index]);
        }
        if comptime!(relu) {
            value = clipped::<f32>(value);
        }
        output[index] = F::cast_from(value);
        index += stride as usize;
    }
}

#[cube(launch)]
pub(super) fn gradient<F: Float>(
    x: &[F],
    grad: &[F],
    means: &[f32],
    scales: &[f32],
    shifts: &[f32],
    slopes: &[f32],
    output: &mut [F],
    of_image: u32,
    channels: u32,
    elements: u32,
    stride: u32,
    #[define(F)] _dtype: ElemType,
) {
    let mut index = first_element(elements, stride);
    while index < elements as usize {
        let at = index / of_image as usize * channels as usize + index % channels as usize;
        let deviation = f32::cast_from(x[index]) - means[at];
        let value = f32::cast_from(grad[index]) * scales[at] + shifts[at] + deviation * slopes[at];
        output[index] = F::cast_from(value);
        index += stride as usize;
    }
}
