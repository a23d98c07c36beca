//! Gradient of a convolution's weight by matrix products.
//!
//! For each image, tiles of output pixels are unrolled into columns (im2col) and multiplied:
//! `dW[C out, C in * kh * kw] += dY[C out, tile] x columns[C in * kh * kw, tile]^T`. Unrolling runs in
//! parallel over rows, the product inside `gemm`. A 1x1 convolution of stride 1 needs no unrolling:
//! its columns are the image.

use burn::tensor::ops::ConvOptions;
use rayon::prelude::*;

/// Elements of the unrolled tile: 8 MiB, small enough to stay in the last-level cache.
const TILE_ELEMENTS: usize = 2 * 1024 * 1024;

/// Shapes of one convolution.
pub(super) struct Shapes {
    /// `[N, C in, H, W]`
    pub x: [usize; 4],
    /// `[C out, C in, kernel height, kernel width]`
    pub weight: [usize; 4],
    /// `[N, C out, H out, W out]`
    pub output: [usize; 4],
}

pub(super) fn weight_backward(
    x: &[f32],
    grad: &[f32],
    shapes: &Shapes,
    options: &ConvOptions<2>,
) -> Vec<f32> {
    let [batch, channels_in, height, width] = shapes.x;
    let [channels_out, _, kernel_height, kernel_width] = shapes.weight;
    let pixels = shapes.output[2] * shapes.output[3];
    let rows = channels_in * kernel_height * kernel_width;
    let mut output = vec![0.0; channels_out * rows];

    let pointwise =
        kernel_height * kernel_width == 1 && options.stride == [1, 1] && options.padding_begin() == [0, 0];
    let tile = if pointwise { pixels } else { (TILE_ELEMENTS / rows).clamp(1, pixels.max(1)) };
    let mut columns = if pointwise { Vec::new() } else { vec![0.0; rows * tile] };

    for image in 0..batch {
        let x = &x[image * channels_in * height * width..][..channels_in * height * width];
        let grad = &grad[image * channels_out * pixels..][..channels_out * pixels];
        for start in (0..pixels).step_by(tile) {
            let length = tile.min(pixels - start);
            let columns = if pointwise {
                x
            } else {
                let columns = &mut columns[..rows * length];
                columns.par_chunks_mut(length).enumerate().for_each(|(row, column)| {
                    let channel = row / (kernel_height * kernel_width);
                    let kernel_y = row / kernel_width % kernel_height;
                    let plane = &x[channel * height * width..][..height * width];
                    unroll(column, plane, start, [kernel_y, row % kernel_width], shapes, options);
                });
                columns
            };
            accumulate_product(&mut output, &grad[start..], pixels, columns, [channels_out, rows, length]);
        }
    }
    output
}

/// `output[m, n] += a[m, k] x b[n, k]^T`, all row-major, rows of `a` lying `stride` elements apart.
fn accumulate_product(output: &mut [f32], a: &[f32], stride: usize, b: &[f32], [m, n, k]: [usize; 3]) {
    assert!(output.len() >= m * n && a.len() >= (m - 1) * stride + k && b.len() >= n * k);
    // SAFETY: the lengths just checked hold every element the strides reach, and `output` is
    // borrowed mutably, so it does not overlap the inputs.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            output.as_mut_ptr(),
            1,
            n as isize,
            true,
            a.as_ptr(),
            1,
            stride as isize,
            b.as_ptr(),
            k as isize,
            1,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(0),
        );
    }
}

/// Fills `column` with what one position of the kernel sees of a plane at the output pixels from
/// `start` on; zero where it sees the padding.
fn unroll(
    column: &mut [f32],
    plane: &[f32],
    start: usize,
    [kernel_y, kernel_x]: [usize; 2],
    shapes: &Shapes,
    options: &ConvOptions<2>,
) {
    let ([_, _, height, width], [.., output_width]) = (shapes.x, shapes.output);
    let [padding_y, padding_x] = options.padding_begin();
    let [stride_y, stride_x] = options.stride;
    let offset_x = kernel_x * options.dilation[1];
    let mut done = 0;
    while done < column.len() {
        let (output_y, output_x) = ((start + done) / output_width, (start + done) % output_width);
        let length = (output_width - output_x).min(column.len() - done);
        let segment = &mut column[done..done + length];
        done += length;
        let y = output_y * stride_y + kernel_y * options.dilation[0];
        if y < padding_y || y - padding_y >= height {
            segment.fill(0.0);
            continue;
        }
        let row = &plane[(y - padding_y) * width..][..width];
        // Output columns whose input column lies inside the row.
        let first = padding_x.saturating_sub(offset_x).div_ceil(stride_x).clamp(output_x, output_x + length);
        let end =
            (width + padding_x).saturating_sub(offset_x).div_ceil(stride_x).clamp(first, output_x + length);
        let (left, rest) = segment.split_at_mut(first - output_x);
        let (middle, right) = rest.split_at_mut(end - first);
        left.fill(0.0);
        right.fill(0.0);
        if middle.is_empty() {
            continue;
        }
        let from = first * stride_x + offset_x - padding_x;
        if stride_x == 1 {
            middle.copy_from_slice(&row[from..from + middle.len()]);
        } else {
            for (value, pixel) in middle.iter_mut().zip(row[from..].iter().step_by(stride_x)) {
                *value = *pixel;
            }
        }
    }
}
