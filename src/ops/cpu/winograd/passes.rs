//! The three passes: output, gradient of the input, gradient of the weight.

use std::array;

use rayon::prelude::*;

use super::kernels::{transform_turned_weight, transform_weight, weight_gradient};
use super::tiles::{Chunk, Lines, plane_stride};
use super::transforms::{
    LANES, Lanes, PATCH, POINTS, TILE, ZERO, grad_transform, input_transform, output_transform,
};
use crate::ops::cpu::epilogue::Epilogue;
use crate::ops::cpu::gemm::{Matrix, Shared};
use crate::ops::cpu::geometry::Geometry;
use crate::ops::cpu::scratch::with_scratch;
use crate::ops::cpu::simd::vectorized;

/// The output of a convolution, `[N, C out, H, W]`.
pub fn forward(x: &[f32], weight: &[f32], epilogue: Epilogue, geometry: &Geometry) -> Vec<f32> {
    let [outputs, inputs, ..] = geometry.weight;
    with_scratch(POINTS * outputs * inputs, |transformed| {
        transform_weight(weight, [outputs, inputs], transformed);
        forward_transformed(x, transformed, epilogue, geometry)
    })
}

/// [`forward`] with a weight that is [transformed](transform_weight).
pub fn forward_transformed(x: &[f32], weight: &[f32], epilogue: Epilogue, geometry: &Geometry) -> Vec<f32> {
    let [outputs, inputs, ..] = geometry.weight;
    convolve(x, weight, [outputs, inputs], epilogue, geometry)
}

/// Gradient of the input, `[N, C in, H, W]`: the gradient of the output, convolved with the turned kernels.
pub fn input_backward(weight: &[f32], grad: &[f32], geometry: &Geometry) -> Vec<f32> {
    let [outputs, inputs, ..] = geometry.weight;
    with_scratch(POINTS * outputs * inputs, |turned| {
        transform_turned_weight(weight, [outputs, inputs], turned);
        convolve(grad, turned, [inputs, outputs], Epilogue::default(), geometry)
    })
}

fn convolve(
    x: &[f32],
    weight: &[f32],
    [outputs, inputs]: [usize; 2],
    epilogue: Epilogue,
    geometry: &Geometry,
) -> Vec<f32> {
    let [batch, _, height, width] = geometry.x;
    let lines = Lines { batch, height, width };
    let mut output = vec![0.0; batch * outputs * height * width];
    let shared = Shared::new(&mut output);
    for chunk in lines.chunks(inputs + outputs) {
        let padded = chunk.padded;
        let (v_plane, m_plane) = (plane_stride(inputs, padded), plane_stride(outputs, padded));
        with_scratch(POINTS * (v_plane + m_plane), |scratch| {
            let (v, m) = scratch.split_at_mut(POINTS * v_plane);
            lines.transform(
                x,
                inputs,
                chunk,
                1,
                v,
                #[inline(always)]
                |patch| input_transform(patch),
            );
            let points = m.par_chunks_mut(m_plane).zip(v.par_chunks(v_plane));
            points.zip(weight.par_chunks(outputs * inputs)).for_each(|((m, v), u)| {
                let (u, v) =
                    (Matrix::new(u, [outputs, inputs], inputs), Matrix::new(v, [inputs, padded], padded));
                // SAFETY: `m` is borrowed by this task alone.
                unsafe { Shared::new(m).product(0, padded, u, v, false) };
            });
            (0..outputs).into_par_iter().for_each(|channel| {
                let row = |point: usize| &m[point * m_plane + channel * padded..][..padded];
                write_output(row, lines, chunk, [outputs, channel], &shared, epilogue);
            });
        });
    }
    output
}

/// Turns the 36 products of a chunk's tiles into the output of one channel.
fn write_output<'a>(
    products: impl Fn(usize) -> &'a [f32],
    lines: Lines,
    chunk: Chunk,
    [channels, channel]: [usize; 2],
    output: &Shared,
    epilogue: Epilogue,
) {
    let (across, width) = (lines.across(), lines.width);
    vectorized(
        #[inline(always)]
        || {
            for line in 0..chunk.count {
                let (plane, top) = lines.plane_and_row(chunk.start + line, [channels, channel]);
                let position = |row: usize| plane + (top + row).min(lines.height) * width;
                // SAFETY: this task alone writes `channel`, and a row of pixels belongs to one line. Rows
                // below the map are empty.
                let mut rows: [&mut [f32]; TILE] =
                    array::from_fn(|row| unsafe { output.slice(position(row)..position(row + 1)) });
                for block in (0..across).step_by(LANES) {
                    let tile = line * across + block;
                    let mut half = [[ZERO; PATCH]; TILE];
                    for x in 0..PATCH {
                        let column = output_transform(array::from_fn(|y| {
                            let values = &products(y * PATCH + x)[tile..];
                            Lanes(*values.first_chunk().expect("lines are padded to whole vectors"))
                        }));
                        half.iter_mut().zip(column).for_each(|(half, value)| half[x] = value);
                    }
                    for (half, row) in half.iter().zip(&mut rows) {
                        let pixels = output_transform(array::from_fn(|x| half[x]));
                        let start = row.len().min(block * TILE);
                        let (quads, rest) = row[start..].as_chunks_mut::<TILE>();
                        let whole = quads.len();
                        for (lane, quad) in quads.iter_mut().take(LANES).enumerate() {
                            *quad = array::from_fn(|x| pixels[x].0[lane]);
                        }
                        if whole < LANES {
                            rest.iter_mut().zip(&pixels).for_each(|(to, x)| *to = x.0[whole]);
                        }
                    }
                }
                for (row, to) in rows.iter_mut().enumerate() {
                    epilogue.apply(to, position(row), channel);
                }
            }
        },
    );
}

/// Gradient of the weight, `[C out, C in, 3, 3]`.
pub fn weight_backward(x: &[f32], grad: &[f32], geometry: &Geometry) -> Vec<f32> {
    let [outputs, inputs, ..] = geometry.weight;
    let [batch, _, height, width] = geometry.x;
    let lines = Lines { batch, height, width };
    let mut sums = vec![0.0; POINTS * outputs * inputs]; // dU
    for chunk in lines.chunks(inputs + outputs) {
        let padded = chunk.padded;
        let (v_plane, m_plane) = (plane_stride(inputs, padded), plane_stride(outputs, padded));
        with_scratch(POINTS * (v_plane + m_plane), |scratch| {
            let (v, m) = scratch.split_at_mut(POINTS * v_plane);
            lines.transform(
                x,
                inputs,
                chunk,
                1,
                v,
                #[inline(always)]
                |patch| input_transform(patch),
            );
            lines.transform(
                grad,
                outputs,
                chunk,
                0,
                m,
                #[inline(always)]
                |patch| grad_transform(patch),
            );
            // `padded` is more than the tiles; the columns after the last tile hold arbitrary values.
            let tiles = chunk.count * lines.across();
            let points = m.par_chunks(m_plane).zip(v.par_chunks(v_plane));
            points.zip(sums.par_chunks_mut(outputs * inputs)).for_each(|((m, v), sums)| {
                let (m, v) =
                    (Matrix::new(m, [outputs, tiles], padded), Matrix::new(v, [inputs, tiles], padded));
                // SAFETY: `sums` is borrowed by this task alone.
                unsafe { Shared::new(sums).product(0, inputs, m, v.transposed(), true) };
            });
        });
    }
    weight_gradient(&sums, [outputs, inputs])
}
