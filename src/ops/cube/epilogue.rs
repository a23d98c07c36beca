//! What follows a convolution: adding a residual, ReLU, and sums of a gradient by channel.
//!
//! burn's ReLU on a GPU is a comparison and a masked write, which read and write strided views. On an H200
//! they took 36 % of the time of inference.
//!
//! Both kernels work on memory as it lies, channels last: `rows` are the pixels of all images.

use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::{permute_nchw_to_nhwc, permute_nhwc_to_nchw};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::tensors::{dims, empty, one_unit_each};

/// Elements that a unit computes, each a launch's width apart, so that units next to each other read next to
/// each other.
const ELEMENTS: usize = 4;
/// Channels of a cube, side by side, and rows that it reads at a time.
const COLUMNS: usize = 32;
const LANES: usize = 8;
/// Rows that a cube adds, at least: fewer would not pay for a second launch.
const LEAST_ROWS: usize = 256;
const MOST_CUBES: usize = 256;

/// `max(sums + residual, 0)`, or without one of the two. Writes over `sums`, which nothing else may hold.
pub(super) fn add_and_relu(sums: CubeTensor, residual: Option<CubeTensor>, relu: bool) -> CubeTensor {
    if residual.is_none() && !relu {
        return sums;
    }
    let contiguous = |tensor| into_contiguous(permute_nchw_to_nhwc(tensor));
    let sums = contiguous(sums);
    let elements = dims::<4>(&sums).iter().product::<usize>();
    if elements > 0 {
        let (count, dim) = one_unit_each(&sums, elements.div_ceil(ELEMENTS), 256);
        let stride = elements.div_ceil(ELEMENTS) as u32;
        let dtype = burn::backend::cubecl::dtype_to_storage_type(sums.dtype);
        let (client, output) = (sums.client.clone(), sums.clone().into_buffer_arg());
        match residual {
            Some(residual) => {
                let residual = contiguous(residual).into_buffer_arg();
                add_residual::launch(
                    &client,
                    count,
                    dim,
                    output,
                    residual,
                    elements as u32,
                    stride,
                    relu,
                    dtype,
                );
            }
            None => clip_below::launch(&client, count, dim, output, elements as u32, stride, dtype),
        }
    }
    permute_nhwc_to_nchw(sums)
}

#[cube(launch)]
pub(super) fn add_residual<F: Float>(
    sums: &mut [F],
    residual: &[F],
    elements: u32,
    stride: u32,
    #[comptime] relu: bool,
    #[define(F)] _dtype: ElemType,
) {
    let mut index = first_element(elements, stride);
    while index < elements as usize {
        let sum = sums[index] + residual[index];
        if comptime!(relu) {
            sums[index] = clipped::<F>(sum);
        } else {
            sums[index] = sum;
        }
        index += stride as usize;
    }
}

#[cube(launch)]
pub(super) fn clip_below<F: Float>(
    sums: &mut [F],
    elements: u32,
    stride: u32,
    #[define(F)] _dtype: ElemType,
) {
    let mut index = first_element(elements, stride);
    while index < elements as usize {
        sums[index] = clipped::<F>(sums[index]);
        index += stride as usize;
    }
}

/// NaN stays NaN, as in torch: a maximum would hide it.
#[cube]
fn clipped<F: Float>(value: F) -> F {
    if value < F::new(0.0) { F::new(0.0) } else { value }
}

/// Units past the first `stride` have no element of their own.
#[cube]
fn first_element(elements: u32, stride: u32) -> usize {
    if ABSOLUTE_POS < stride as usize { ABSOLUTE_POS } else { elements as usize }
}

/// Sums over images and pixels, `[N, C, H, W]` to `[C]`, in f32 and in the same order at every run: each cube
/// adds a part of the rows, and a second launch adds the parts.
pub(super) fn channel_sums(grad: CubeTensor) -> CubeTensor {
    let grad = into_contiguous(permute_nchw_to_nhwc(grad));
    let [batch, height, width, channels] = dims(&grad);
    let rows = batch * height * width;
    let parts = rows.div_ceil(LEAST_ROWS).clamp(1, MOST_CUBES);
    if parts == 1 {
        return sum_rows(&grad, rows, channels, 1, grad.dtype);
    }
    let partial = sum_rows(&grad, rows, channels, parts, DType::F32);
    sum_rows(&partial, parts, channels, 1, grad.dtype)
}

/// `[rows, channels]` to `[parts * channels]` of another type.
fn sum_rows(values: &CubeTensor, rows: usize, channels: usize, parts: usize, dtype: DType) -> CubeTensor {
    let output = empty(values, [parts * channels], dtype);
    if channels > 0 {
        add_rows::launch(
            &values.client,
            CubeCount::Static(channels.div_ceil(COLUMNS) as u32, parts as u32, 1),
            CubeDim::new_2d(COLUMNS as u32, LANES as u32),
            values.clone().into_buffer_arg(),
            output.clone().into_buffer_arg(),
            rows as u32,
            channels as u32,
            rows.div_ceil(parts) as u32,
            burn::backend::cubecl::dtype_to_storage_type(values.dtype),
            burn::backend::cubecl::dtype_to_storage_type(dtype),
        );
    }
    output
}

#[cube(launch)]
pub(super) fn add_rows<F: Float, G: Float>(
    values: &[F],
    output: &mut [G],
    rows: u32,
    channels: u32,
    rows_of_cube: u32,
    #[define(F)] _dtype: ElemType,
    #[define(G)] _output_dtype: ElemType,
) {
    let channel = (CUBE_POS_X * comptime!(COLUMNS as u32) + UNIT_POS_X) as usize;
    let lane = UNIT_POS_Y as usize;
    let inside = channel < channels as usize;
    let start = (CUBE_POS_Y * rows_of_cube) as usize;
    let end = min(start + rows_of_cube as usize, rows as usize);

    let mut sum = 0.0f32;
    if inside {
        let mut row = start + lane;
        while row < end {
            sum += f32::cast_from(values[row * channels as usize + channel]);
            row += LANES;
        }
    }
    let mut sums = Shared::<[f32]>::new_slice(COLUMNS * LANES); // [lane, column]
    sums[lane * COLUMNS + UNIT_POS_X as usize] = sum;
    sync_cube();
    if lane == 0 && inside {
        let mut total = 0.0f32;
        for lane in 0..LANES {
            total += sums[lane * COLUMNS + UNIT_POS_X as usize];
        }
        output[CUBE_POS_Y as usize * channels as usize + channel] = G::cast_from(total);
    }
}
