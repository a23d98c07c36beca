//! Unrolled columns (im2col): a map turned into the matrix that a convolution multiplies its weight with.
//!
//! A row of the matrix stands for one position of the kernel in one input channel, a column for one output
//! pixel:
//!
//! ```text
//! columns[(c, v, u), (y, x)] =
//!     input[c, y * stride - padding + v * dilation, x * stride - padding + u * dilation]
//! ```
//!
//! or 0 where that is padding. Along an output row, the input pixels of one row of the matrix are evenly
//! spaced, so they are copied in runs.

use super::geometry::Geometry;

/// A part of a row whose pixels are evenly spaced in the input.
struct Run {
    /// Where it lies in the row: `start..end`. Before, between and after the runs there is padding.
    start: usize,
    end: usize,
    /// The index of its first pixel in the input image, `[C in, H, W]`.
    from: usize,
}

/// The runs of a row, for the output pixels `start..start + length`.
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

/// Fills a row for the output pixels from `start` on.
pub(super) fn unroll(column: &mut [f32], x: &[f32], start: usize, row: usize, geometry: &Geometry) {
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

/// The transpose of [`unroll`]: adds each value of a row to the pixel that [`unroll`] takes it from.
pub(super) fn add_rolled(x: &mut [f32], column: &[f32], start: usize, row: usize, geometry: &Geometry) {
    for run in runs(start, column.len(), row, geometry) {
        let values = &column[run.start..run.end];
        let pixels = x[run.from..].iter_mut().step_by(geometry.stride[1]);
        pixels.zip(values).for_each(|(pixel, value)| *pixel += value);
    }
}
