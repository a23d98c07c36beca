//! Convolution, forward and backward, with bias, residual and ReLU in the same pass.
//!
//! Three algorithms share the work:
//!
//! - kernel 1x1, stride 1: one matrix product on the map as it is;
//! - kernel 3x3, stride 1: Winograd's ([`super::winograd`]), on maps large enough to pay for it;
//! - anything else: tiles of output pixels are unrolled into columns (im2col) and multiplied,
//!   `Y[C out, tile] = W[C out, C in * kh * kw] x columns[C in * kh * kw, tile]`.
//!
//! Tiles run in parallel, and their size depends on the shapes only: the same bits for any number of threads. (In
//! another batch, an image may be computed by another algorithm, and have other last bits.)

use std::cell::RefCell;

use rayon::prelude::*;

use super::gemm::{Matrix, Shared, add_row_products};
use super::simd::vectorized;
use super::winograd;

/// Most pixels in a tile of the forward pass, so that a tile and its columns stay in the caches.
const TILE_PIXELS: usize = 256;
/// Fewest tiles of a map, so that there is work for several threads.
const TILES: usize = 4;
/// Elements of unrolled columns in the backward pass, of all channels (8 MiB) and of one block of them.
const COLUMN_ELEMENTS: usize = 2 * 1024 * 1024;
const BLOCK_ELEMENTS: usize = COLUMN_ELEMENTS / 8;

/// Shapes and steps of one convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    /// `[N, C in, H, W]`
    pub x: [usize; 4],
    /// `[C out, C in, kernel height, kernel width]`
    pub weight: [usize; 4],
    /// `[N, C out, H out, W out]`
    pub output: [usize; 4],
    /// Vertical, horizontal.
    pub stride: [usize; 2],
    /// Above and below, left and right.
    pub padding: [usize; 2],
    /// Vertical, horizontal.
    pub dilation: [usize; 2],
}

impl Geometry {
    pub fn output_pixels(&self) -> usize {
        self.output[2] * self.output[3]
    }

    fn input_pixels(&self) -> usize {
        self.x[2] * self.x[3]
    }

    /// Inputs of one output: `C in * kernel height * kernel width`.
    fn rows(&self) -> usize {
        self.weight[1..].iter().product()
    }

    fn pointwise(&self) -> bool {
        self.weight[2..] == [1, 1] && self.stride == [1, 1] && self.padding == [0, 0]
    }

    fn winograd(&self) -> bool {
        let tiles = self.output[0] * self.output[2].div_ceil(4) * self.output[3].div_ceil(4);
        winograd::computes(self) && tiles >= winograd::FEWEST_TILES
    }
}

/// What is done with a sum before it is stored.
#[derive(Clone, Copy, Default)]
pub(super) struct Epilogue<'a> {
    /// `[C out]`
    pub bias: Option<&'a [f32]>,
    /// Of the output's shape.
    pub residual: Option<&'a [f32]>,
    pub relu: bool,
}

impl Epilogue<'_> {
    /// Finishes the outputs of one channel that begin at `position` of the whole output.
    #[inline(always)]
    pub fn apply(&self, output: &mut [f32], position: usize, channel: usize) {
        let bias = self.bias.map_or(0.0, |bias| bias[channel]);
        // NaN stays, as in torch.
        let relu = |x: f32| if self.relu && x < 0.0 { 0.0 } else { x };
        match self.residual {
            Some(residual) => {
                let residual = &residual[position..][..output.len()];
                output.iter_mut().zip(residual).for_each(|(x, residual)| *x = relu(*x + bias + residual));
            }
            None => output.iter_mut().for_each(|x| *x = relu(*x + bias)),
        }
    }
}

/// Scratch memory of the calling thread, kept between calls; its content is arbitrary.
pub(super) fn with_scratch<R>(length: usize, use_it: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local!(static SCRATCH: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) });
    // Taken out meanwhile: inside, some more may be needed, also by other work that a thread that waits is given.
    let mut scratch = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
    if scratch.len() < length {
        scratch = vec![0.0; length];
    }
    let result = use_it(&mut scratch[..length]);
    SCRATCH.with_borrow_mut(|all| all.push(scratch));
    result
}

/// Pixels of a tile, and how many tiles a map has.
fn tiling(pixels: usize) -> (usize, usize) {
    let tile = pixels.div_ceil(pixels.div_ceil(TILE_PIXELS).max(TILES)).next_multiple_of(16);
    (tile, pixels.div_ceil(tile))
}

/// `[N, C out, H out, W out]`
pub(super) fn forward(x: &[f32], weight: &[f32], epilogue: Epilogue, geometry: &Geometry) -> Vec<f32> {
    if geometry.winograd() {
        return winograd::forward(x, weight, epilogue, geometry);
    }
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
            // SAFETY: the tiles do not overlap.
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
                    // SAFETY: as above.
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
    if geometry.winograd() {
        return winograd::input_backward(weight, grad, geometry);
    }
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
            // SAFETY: the tiles do not overlap.
            unsafe { shared.product(image * rows * pixels + start, pixels, weight, grad, false) };
        });
        return output;
    }
    // Each block of channels gets its columns, tile after tile, and sums them up where they came from.
    let kernel = rows / channels_in;
    let block = channels_in.div_ceil(channels_in.div_ceil(64).max(TILES));
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
                    // SAFETY: the columns are this thread's.
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
    if geometry.winograd() {
        return winograd::weight_backward(x, grad, geometry);
    }
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

/// Gradient of the bias, `[C out]`: the sum over images and pixels.
pub(super) fn bias_backward(grad: &[f32], [batch, channels, pixels]: [usize; 3]) -> Vec<f32> {
    let plane = |image: usize, channel: usize| &grad[(image * channels + channel) * pixels..][..pixels];
    let sum = |channel| {
        vectorized(
            #[inline(always)]
            || (0..batch).map(|image| sum(plane(image, channel))).sum(),
        )
    };
    (0..channels).into_par_iter().map(sum).collect()
}

/// In many partial sums: fast, and the rounding errors stay small.
#[inline(always)]
pub(super) fn sum(values: &[f32]) -> f32 {
    let mut sums = [0.0; 64];
    let (blocks, rest) = values.as_chunks::<64>();
    for block in blocks {
        sums.iter_mut().zip(block).for_each(|(sum, value)| *sum += value);
    }
    sums.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

/// What of a row of the columns lies side by side in the input.
struct Run {
    /// In the column, from `start` to `end`; positions before the first or after the last run see padding.
    start: usize,
    end: usize,
    /// Where the first one is in the input image, `[C in, H, W]`.
    from: usize,
}

/// The runs of `row`, one position of the kernel in one channel, at the output pixels `start..start + length`.
fn runs(start: usize, length: usize, row: usize, geometry: &Geometry) -> impl Iterator<Item = Run> {
    let ([_, _, height, width], [.., output_width]) = (geometry.x, geometry.output);
    let [_, _, kernel_height, kernel_width] = geometry.weight;
    let ([stride_y, stride_x], [padding_y, padding_x]) = (geometry.stride, geometry.padding);
    let channel = row / (kernel_height * kernel_width);
    let offset_y = row / kernel_width % kernel_height * geometry.dilation[0];
    let offset_x = row % kernel_width * geometry.dilation[1];
    // Output columns whose input column lies inside the row.
    let first = padding_x.saturating_sub(offset_x).div_ceil(stride_x);
    let last = (width + padding_x).saturating_sub(offset_x).div_ceil(stride_x);
    (start / output_width..(start + length).div_ceil(output_width)).filter_map(move |output_y| {
        let y = (output_y * stride_y + offset_y).checked_sub(padding_y).filter(|y| *y < height)?;
        let line = output_y * output_width;
        let begin = (line + first).max(start);
        let end = (line + last.min(output_width)).min(start + length);
        let from = (channel * height + y) * width + (begin - line) * stride_x + offset_x - padding_x;
        (begin < end).then(|| Run { start: begin - start, end: end - start, from })
    })
}

/// Fills a row of the columns.
fn unroll(column: &mut [f32], x: &[f32], start: usize, row: usize, geometry: &Geometry) {
    let mut done = 0;
    for run in runs(start, column.len(), row, geometry) {
        column[done..run.start].fill(0.0);
        let values = &mut column[run.start..run.end];
        if geometry.stride[1] == 1 {
            values.copy_from_slice(&x[run.from..run.from + values.len()]);
        } else {
            let pixels = x[run.from..].iter().step_by(geometry.stride[1]);
            values.iter_mut().zip(pixels).for_each(|(value, pixel)| *value = *pixel);
        }
        done = run.end;
    }
    column[done..].fill(0.0);
}

/// The transpose of [`unroll`]: adds a row of the columns to where [`unroll`] takes it from.
fn add_rolled(x: &mut [f32], column: &[f32], start: usize, row: usize, geometry: &Geometry) {
    for run in runs(start, column.len(), row, geometry) {
        let values = &column[run.start..run.end];
        let pixels = x[run.from..].iter_mut().step_by(geometry.stride[1]);
        pixels.zip(values).for_each(|(pixel, value)| *pixel += value);
    }
}
