//! Sums by channel of maps that lie in memory channels last, in f32 and in the same order at every run: each
//! cube adds a part of the pixels, and a second launch adds the parts.

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::tensors::{dims, empty};

/// Channels of a cube, side by side, and pixels that it reads at a time.
const COLUMNS: usize = 32;
const LANES: usize = 8;
/// Pixels that a cube adds, at least: fewer would not pay for a second launch.
const LEAST_PIXELS: usize = 256;
const MOST_PARTS: usize = 256;

/// What is added up.
#[derive(Debug, Clone)]
pub(super) enum Terms {
    /// The values.
    Values,
    /// `(value - center)^2`, the centers being f32, `[N, C]`.
    Squares(CubeTensor),
    /// `value (other - center)`, the others being like the values.
    Products(CubeTensor, CubeTensor),
}

/// Which of the [`Terms`] a kernel is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Term {
    Value,
    Square,
    Product,
}

/// Sums over the pixels of each image: contiguous `[N, H, W, C]` to `[N, C]` of a type.
pub(super) fn pixel_sums(values: &CubeTensor, terms: Terms, dtype: DType) -> CubeTensor {
    let [images, height, width, channels] = dims(values);
    let pixels = height * width;
    let parts = pixels.div_ceil(LEAST_PIXELS).clamp(1, MOST_PARTS);
    if parts == 1 {
        return add(values, terms, [images, pixels, channels], 1, dtype);
    }
    let partial = add(values, terms, [images, pixels, channels], parts, DType::F32);
    add(&partial, Terms::Values, [images, parts, channels], 1, dtype)
}

/// `[images, pixels, channels]` to `[images * parts, channels]`.
fn add(
    values: &CubeTensor,
    terms: Terms,
    [images, pixels, channels]: [usize; 3],
    parts: usize,
    dtype: DType,
) -> CubeTensor {
    let output = empty(values, [images * parts, channels], dtype);
    if images * channels == 0 {
        return output;
    }
    let nothing = |dtype| empty(values, [1], dtype);
    let (term, others, centers) = match terms {
        Terms::Values => (Term::Value, nothing(values.dtype), nothing(DType::F32)),
        Terms::Squares(centers) => (Term::Square, nothing(values.dtype), centers),
        Terms::Products(others, centers) => (Term::Product, others, centers),
    };
    add_pixels::launch(
        &values.client,
        CubeCount::Static(channels.div_ceil(COLUMNS) as u32, parts as u32, images as u32),
        CubeDim::new_2d(COLUMNS as u32, LANES as u32),
        values.clone().into_buffer_arg(),
        others.into_buffer_arg(),
        centers.into_buffer_arg(),
        output.clone().into_buffer_arg(),
        pixels as u32,
        channels as u32,
        pixels.div_ceil(parts) as u32,
        term,
        burn::backend::cubecl::dtype_to_storage_type(values.dtype),
        burn::backend::cubecl::dtype_to_storage_type(dtype),
    );
    output
}

#[cube(launch)]
pub(super) fn add_pixels<F: Float, G: Float>(
    values: &[F],
    others: &[F],
    centers: &[f32],
    output: &mut [G],
    pixels: u32,
    channels: u32,
    pixels_of_cube: u32,
    #[comptime] term: Term,
    #[define(F)] _dtype: ElemType,
    #[define(G)] _output_dtype: ElemType,
) {
    let channel = (CUBE_POS_X * comptime!(COLUMNS as u32) + UNIT_POS_X) as usize;
    let lane = UNIT_POS_Y as usize;
    let inside = channel < channels as usize;
    let first = (CUBE_POS_Z * pixels) as usize;
    let start = (CUBE_POS_Y * pixels_of_cube) as usize;
    let end = min(start + pixels_of_cube as usize, pixels as usize);

    let mut sum = 0.0f32;
    if inside {
        let mut center = 0.0f32;
        if comptime!(term != Term::Value) {
            center = centers[CUBE_POS_Z as usize * channels as usize + channel];
        }
        let mut pixel = start + lane;
        while pixel < end {
            let index = (first + pixel) * channels as usize + channel;
            let value = f32::cast_from(values[index]);
            if comptime!(term == Term::Value) {
                sum += value;
            } else if comptime!(term == Term::Square) {
                sum += (value - center) * (value - center);
            } else {
                sum += value * (f32::cast_from(others[index]) - center);
            }
            pixel += LANES;
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
        let part = CUBE_POS_Z as usize * CUBE_COUNT_Y as usize + CUBE_POS_Y as usize;
        output[part * channels as usize + channel] = G::cast_from(total);
    }
}
