//! Max pooling, forward and backward.
//!
//! ```text
//! for each plane, in parallel:
//!     for each row of the output:
//!         highest = the maximum of the rows of its windows, column by column
//!         output  = the maximum of the columns of each window in `highest`
//! ```

use rayon::prelude::*;

use super::simd::vectorized;
use crate::ops::options::PoolOptions;

/// Sides of a plane of the input and of the output.
#[derive(Clone, Copy)]
pub(super) struct Sides {
    pub input: [usize; 2],
    pub output: [usize; 2],
}

/// `[N * C, H out, W out]`
pub(super) fn forward(x: &[f32], sides: Sides, options: PoolOptions) -> Vec<f32> {
    let Sides { input: [height, width], output: [_, width_out] } = sides;
    let planes = x.len() / (height * width).max(1);
    let mut output = vec![f32::NEG_INFINITY; planes * sides.output.iter().product::<usize>()];
    if output.is_empty() {
        return output;
    }
    let planes = x.par_chunks_exact(height * width);
    let outputs = output.par_chunks_exact_mut(sides.output.iter().product());
    planes.zip(outputs).for_each_init(
        || vec![0.0; width],
        |highest, (plane, output)| {
            vectorized(
                #[inline(always)]
                || {
                    for (y, output) in output.chunks_exact_mut(width_out).enumerate() {
                        highest.fill(f32::NEG_INFINITY);
                        for row in window(y, 0, height, options) {
                            let row = &plane[row * width..][..width];
                            highest.iter_mut().zip(row).for_each(|(highest, x)| *highest = max(*highest, *x));
                        }
                        for position in 0..options.kernel[1] {
                            let (first, count) = reach(position, width, width_out, options);
                            let from = first * options.stride[1] + position - options.padding[1];
                            let values = highest[from.min(width)..].iter().step_by(options.stride[1]);
                            let outputs = output[first..first + count].iter_mut();
                            outputs.zip(values).for_each(|(output, x)| *output = max(*output, *x));
                        }
                    }
                },
            );
        },
    );
    output
}

/// Gradient of the input, `[N * C, H, W]`: each output's goes to the first pixel of its window that is the
/// maximum.
pub(super) fn backward(
    x: &[f32],
    output: &[f32],
    grad: &[f32],
    sides: Sides,
    options: PoolOptions,
) -> Vec<f32> {
    let Sides { input: [height, width], output: [height_out, width_out] } = sides;
    let mut x_grad = vec![0.0; x.len()];
    if output.is_empty() {
        return x_grad;
    }
    let planes = x_grad.par_chunks_exact_mut(height * width).zip(x.par_chunks_exact(height * width));
    let plane_out = height_out * width_out;
    let outputs = output.par_chunks_exact(plane_out).zip(grad.par_chunks_exact(plane_out));
    planes.zip(outputs).for_each(|((x_grad, x), (output, grad))| {
        for (index, (&highest, grad)) in output.iter().zip(grad).enumerate() {
            let (y, x_out) = (index / width_out, index % width_out);
            let rows = window(y, 0, height, options);
            let mut pixels =
                rows.flat_map(|row| window(x_out, 1, width, options).map(move |column| row * width + column));
            let is_highest = |pixel: &usize| x[*pixel] == highest || x[*pixel].is_nan();
            if let Some(pixel) = pixels.find(is_highest) {
                x_grad[pixel] += grad;
            }
        }
    });
    x_grad
}

/// The pixels along an axis that a position of the output sees.
#[inline(always)]
fn window(position: usize, axis: usize, side: usize, options: PoolOptions) -> std::ops::Range<usize> {
    let start = position * options.stride[axis];
    let padding = options.padding[axis];
    start.saturating_sub(padding)..(start + options.kernel[axis]).saturating_sub(padding).min(side)
}

/// The columns of the output that see a pixel, and not padding, at a position of the kernel: the first, and
/// how many.
#[inline(always)]
fn reach(position: usize, width: usize, width_out: usize, options: PoolOptions) -> (usize, usize) {
    let (stride, padding) = (options.stride[1], options.padding[1]);
    let first = padding.saturating_sub(position).div_ceil(stride).min(width_out);
    let end = (width + padding).saturating_sub(position).div_ceil(stride).min(width_out);
    (first, end.saturating_sub(first))
}

/// NaN is higher than anything, as in torch.
#[inline(always)]
fn max(a: f32, b: f32) -> f32 {
    if b > a || b.is_nan() { b } else { a }
}
