//! Convolution as a matrix product, for any kernel and stride.
//!
//! ```text
//! forward           for each image, for each tile of output pixels, in parallel:
//!                       columns = unroll(input, tile)         [C in * kh * kw, tile]; no copy for 1x1
//!                       output[.., tile] = weight x columns   [C out, tile]
//!                       epilogue(output[.., tile])
//! input gradient    for each image, for each block of input channels, in parallel, tile after tile:
//!                       columns = weight^T x grad[.., tile]
//!                       add_rolled(columns) to the block
//! weight gradient   for each image, tile after tile:
//!                       weight gradient += grad[.., tile] x unroll(input, tile)^T, in parallel
//! ```
//!
//! The size of a tile depends on the shapes only, so the result has the same bits for any number of threads.

use rayon::prelude::*;

use super::columns::{add_rolled, unroll};
use super::epilogue::Epilogue;
use super::gemm::{Matrix, Shared};
use super::geometry::Geometry;
use super::row_products::add_row_products;
use super::scratch::with_scratch;
use super::simd::vectorized;

/// Most pixels in a tile of the forward pass, so that a tile and its columns stay in the caches.
const TILE_PIXELS: usize = 256;
/// Fewest tiles of a map, so that there is work for several threads.
const TILES: usize = 4;
/// Most channels in a block of the input's gradient.
const BLOCK_CHANNELS: usize = 64;
/// Elements of the unrolled columns in the backward passes: of all channels (8 MiB), and of one block of
/// them.
const COLUMN_ELEMENTS: usize = 2 * 1024 * 1024;
const BLOCK_ELEMENTS: usize = COLUMN_ELEMENTS / 8;

/// Pixels of a tile, and the number of tiles of a map.
fn tiling(pixels: usize) -> (usize, usize) {
    let tile = pixels.div_ceil(pixels.div_ceil(TILE_PIXELS).max(TILES)).next_multiple_of(16);
    (tile, pixels.div_ceil(tile))
}

/// The output, `[N, C out, H out, W out]`.
pub(super) fn forward(x: &[f32], weight: &[f32], epilogue: Epilogue, geometry: &Geometry) -> Vec<f32> {
    let [batch, channels_out, ..] = geometry.output;
    let (pixels, rows) = (geometry.output_pixels(), geometry.rows());
    let mut output = vec![0.0; batch * channels_out * pixels];
    if output.is_empty() {
        return output;
    }
    let input = geometry.x[1] * geometry.input_pixels();
    let weight = Matrix::new(weight, [channels_out, rows], rows);
    let (tile, tiles) = tiling(pixels);
    let shared = Shared::new(&mut output);
    (0..batch * tiles).into_par_iter().for_each(|index| {
        let (image, start) = (index / tiles, index % tiles * tile);
        let length = tile.min(pixels - start);
        let x = &x[image * input..][..input];
        let offset = image * channels_out * pixels + start;
        let multiply = |columns: Matrix| {
            // SAFETY: this task alone writes the columns `start..start + length` of every channel's row.
            unsafe { shared.product(offset, pixels, weight, columns, false) }
        };
        if geometry.pointwise() {
            multiply(Matrix::new(&x[start..], [rows, length], pixels));
        } else {
            with_scratch(rows * length, |columns| {
                for (row, column) in columns.chunks_mut(length).enumerate() {
                    unroll(column, x, start, row, geometry);
                }
                multiply(Matrix::new(columns, [rows, length], length));
            });
        }
        vectorized(
            #[inline(always)]
            || {
                for channel in 0..channels_out {
                    let position = offset + channel * pixels;
                    // SAFETY: as the product, inside the columns of this task's tile.
                    let row = unsafe { shared.slice(position..position + length) };
                    epilogue.apply(row, position, channel);
                }
            },
        );
    });
    output
}

/// Gradient of the input, `[N, C in, H, W]`.
pub(super) fn input_backward(weight: &[f32], grad: &[f32], geometry: &Geometry) -> Vec<f32> {
    let [batch, channels_in, ..] = geometry.x;
    let channels_out = geometry.output[1];
    let (pixels, input_pixels, rows) = (geometry.output_pixels(), geometry.input_pixels(), geometry.rows());
    let mut output = vec![0.0; batch * channels_in * input_pixels];
    if output.is_empty() || grad.is_empty() {
        return output;
    }
    let weight = Matrix::new(weight, [channels_out, rows], rows).transposed(); // [rows, C out]
    if geometry.pointwise() {
        let (tile, tiles) = tiling(pixels);
        let shared = Shared::new(&mut output);
        (0..batch * tiles).into_par_iter().for_each(|index| {
            let (image, start) = (index / tiles, index % tiles * tile);
            let length = tile.min(pixels - start);
            let grad = &grad[image * channels_out * pixels + start..];
            let grad = Matrix::new(grad, [channels_out, length], pixels);
            // SAFETY: this task alone writes the columns `start..start + length` of every channel's row.
            unsafe { shared.product(image * rows * pixels + start, pixels, weight, grad, false) };
        });
        return output;
    }
    // Blocks of channels share no pixel, so each adds up its own columns.
    let kernel = rows / channels_in;
    let block = channels_in.div_ceil(channels_in.div_ceil(BLOCK_CHANNELS).max(TILES));
    let tile = (BLOCK_ELEMENTS / (block * kernel)).clamp(1, pixels.max(1));
    output.par_chunks_mut(channels_in * input_pixels).enumerate().for_each(|(image, output)| {
        let grad = &grad[image * channels_out * pixels..][..channels_out * pixels];
        output.par_chunks_mut(block * input_pixels).enumerate().for_each(|(index, planes)| {
            let block_rows = planes.len() / input_pixels * kernel;
            let weight = weight.rows(index * block * kernel, block_rows);
            with_scratch(block_rows * tile, |columns| {
                for start in (0..pixels).step_by(tile) {
                    let length = tile.min(pixels - start);
                    let grad = Matrix::new(&grad[start..], [channels_out, length], pixels);
                    // SAFETY: `columns` is borrowed by this task alone.
                    unsafe { Shared::new(columns).product(0, length, weight, grad, false) };
                    for (row, column) in columns.chunks(length).take(block_rows).enumerate() {
                        add_rolled(planes, column, start, row, geometry);
                    }
                }
            });
        });
    });
    output
}

/// Gradient of the weight, `[C out, C in, kernel height, kernel width]`:
/// `dW[C out, rows] += dY[C out, tile] x columns[rows, tile]^T`.
pub(super) fn weight_backward(x: &[f32], grad: &[f32], geometry: &Geometry) -> Vec<f32> {
    let [batch, channels_out, ..] = geometry.output;
    let (pixels, rows) = (geometry.output_pixels(), geometry.rows());
    let input = geometry.x[1] * geometry.input_pixels();
    let mut output = vec![0.0; channels_out * rows];
    if x.is_empty() || grad.is_empty() {
        return output;
    }
    let tile = if geometry.pointwise() { pixels } else { (COLUMN_ELEMENTS / rows).clamp(1, pixels.max(1)) };
    for image in 0..batch {
        let x = &x[image * input..][..input];
        let grad = &grad[image * channels_out * pixels..][..channels_out * pixels];
        for start in (0..pixels).step_by(tile) {
            let length = tile.min(pixels - start);
            let grad = Matrix::new(&grad[start..], [channels_out, length], pixels);
            if geometry.pointwise() {
                add_row_products(&mut output, grad, Matrix::new(x, [rows, pixels], pixels));
            } else {
                with_scratch(rows * length, |columns| {
                    columns.par_chunks_mut(length).enumerate().for_each(|(row, column)| {
                        unroll(column, x, start, row, geometry);
                    });
                    add_row_products(&mut output, grad, Matrix::new(columns, [rows, length], length));
                });
            }
        }
    }
    output
}
