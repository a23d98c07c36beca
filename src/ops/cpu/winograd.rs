//! Winograd's minimal filtering F(4x4, 3x3): a 3x3 convolution of stride 1 with a quarter of the products.
//!
//! The output is cut into tiles of 4x4 pixels, each of which sees 6x6 of the input. With the matrices of
//! the points 0, 1/sqrt(2), -1/sqrt(2), sqrt(2), -sqrt(2) and infinity,
//!
//! - `V = B^T d B` of each 6x6 input `d`, `U = G g G^T` of each 3x3 kernel `g`: 36 values each;
//! - for each of the 36, a matrix product over channels, `M[C out, tiles] = U[C out, C in] x V[C in, tiles]`;
//! - `y = A^T M A`, the 4x4 outputs.
//!
//! The gradient of the input is the same with the kernel turned around; that of the weight is the
//! transpose in the other operand, `dU[C out, C in] = (A dy A^T)[C out, tiles] x V^T`, `dg = G^T dU G`.
//!
//! Lines of tiles are worked on in chunks whose `V` and `M` stay in the last-level cache. Inside a chunk,
//! channels, then the 36 products, then channels again run in parallel. 16 neighbouring tiles at a time go
//! through the transforms, one in each lane of a vector.
//!
//! Error: with these points no factor is above 2 sqrt(2), and a result is off by at most 1e-5 of the largest
//! one of the map, which the tests hold it to with up to 512 channels. Integer points (0, 1, -1, 2, -2) are not
//! as exact and fail them.
//!
//! Source: [Lavin and Gray 2015](https://arxiv.org/abs/1509.09308).

#![allow(
    clippy::needless_range_loop,
    clippy::redundant_closure,
    reason = "what is not inlined is compiled for the oldest processor: functions as values, `map` of arrays"
)]

use std::array;
use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};
use std::ops::{Add, Mul, Sub};

use rayon::prelude::*;

use super::conv2d::{Epilogue, Geometry, with_scratch};
use super::gemm::{Matrix, Shared};
use super::simd::vectorized;

/// Whether a convolution is one that this algorithm computes.
pub(super) fn computes(geometry: &Geometry) -> bool {
    let Geometry { weight, stride, padding, dilation, .. } = geometry;
    weight[2..] == [3, 3] && [stride, padding, dilation] == [&[1, 1]; 3]
}

/// With fewer tiles, transforming the weight costs more than the products that are saved.
pub(super) const FEWEST_TILES: usize = 32;
/// Side of a tile of the output, and of what it sees of the input.
const TILE: usize = 4;
const PATCH: usize = 6;
pub(super) const POINTS: usize = PATCH * PATCH;
/// Elements of `V` and `M` of a chunk: 16 MiB.
const CHUNK_ELEMENTS: usize = 4 * 1024 * 1024;

/// One value of each of 16 tiles.
const LANES: usize = 16;
#[derive(Clone, Copy)]
struct Lanes([f32; LANES]);
const ZERO: Lanes = Lanes([0.0; LANES]);

impl Add for Lanes {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(array::from_fn(|lane| self.0[lane] + other.0[lane]))
    }
}

impl Sub for Lanes {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(array::from_fn(|lane| self.0[lane] - other.0[lane]))
    }
}

impl Mul<Lanes> for f32 {
    type Output = Lanes;
    #[inline(always)]
    fn mul(self, lanes: Lanes) -> Lanes {
        Lanes(array::from_fn(|lane| self * lanes.0[lane]))
    }
}

/// The points besides 0 and infinity are plus and minus these two; `A * B = 1`.
const A: f32 = FRAC_1_SQRT_2;
const B: f32 = SQRT_2;

/// `B^T d`
#[inline(always)]
fn input_transform([d0, d1, d2, d3, d4, d5]: [Lanes; 6]) -> [Lanes; 6] {
    let (near_even, near_odd) = (d4 - 2.0 * d2, A * d3 - B * d1);
    let (far_even, far_odd) = (d4 - 0.5 * d2, B * d3 - A * d1);
    [
        d0 - 2.5 * d2 + d4,
        near_even + near_odd,
        near_even - near_odd,
        far_even + far_odd,
        far_even - far_odd,
        d1 - 2.5 * d3 + d5,
    ]
}

/// `G g`
#[inline(always)]
fn weight_transform([g0, g1, g2]: [Lanes; 3]) -> [Lanes; 6] {
    let (near_even, near_odd) = ((-2.0 / 3.0) * g0 - (1.0 / 3.0) * g2, (-B / 3.0) * g1);
    let (far_even, far_odd) = ((1.0 / 6.0) * g0 + (1.0 / 3.0) * g2, (B / 6.0) * g1);
    [g0, near_even + near_odd, near_even - near_odd, far_even + far_odd, far_even - far_odd, g2]
}

/// `A^T m`
#[inline(always)]
fn output_transform([m0, m1, m2, m3, m4, m5]: [Lanes; 6]) -> [Lanes; 4] {
    let (near_even, near_odd) = (m1 + m2, m1 - m2);
    let (far_even, far_odd) = (m3 + m4, m3 - m4);
    [
        m0 + near_even + far_even,
        A * near_odd + B * far_odd,
        0.5 * near_even + 2.0 * far_even,
        (A / 2.0) * near_odd + (B * 2.0) * far_odd + m5,
    ]
}

/// `A y`, the transpose of [`output_transform`].
#[inline(always)]
fn grad_transform([y0, y1, y2, y3]: [Lanes; 4]) -> [Lanes; 6] {
    let (near_even, near_odd) = (y0 + 0.5 * y2, A * y1 + (A / 2.0) * y3);
    let (far_even, far_odd) = (y0 + 2.0 * y2, B * y1 + (B * 2.0) * y3);
    [y0, near_even + near_odd, near_even - near_odd, far_even + far_odd, far_even - far_odd, y3]
}

/// `G^T u`, the transpose of [`weight_transform`].
#[inline(always)]
fn weight_grad_transform([u0, u1, u2, u3, u4, u5]: [Lanes; 6]) -> [Lanes; 3] {
    let (near_even, near_odd) = (u1 + u2, u1 - u2);
    let (far_even, far_odd) = (u3 + u4, u3 - u4);
    [
        u0 - (2.0 / 3.0) * near_even + (1.0 / 6.0) * far_even,
        (B / 6.0) * far_odd - (B / 3.0) * near_odd,
        (1.0 / 3.0) * (far_even - near_even) + u5,
    ]
}

/// Applies a transform along both axes. By reference: moving such arrays costs as much as the arithmetic.
#[inline(always)]
fn both_axes<const I: usize, const O: usize>(
    values: &[[Lanes; I]; I],
    transform: impl Fn([Lanes; I]) -> [Lanes; O],
    output: &mut [[Lanes; O]; O],
) {
    let mut half = [[ZERO; O]; I];
    for (row, half) in values.iter().zip(&mut half) {
        let values = transform(array::from_fn(|x| row[x]));
        half.iter_mut().zip(values).for_each(|(to, value)| *to = value);
    }
    for x in 0..O {
        let column = transform(array::from_fn(|y| half[y][x]));
        for y in 0..O {
            output[y][x] = column[y];
        }
    }
}

/// The weight of a convolution, `[C out, C in, 3, 3]`, as `[36, C out, C in]`.
pub(super) fn transform_weight(weight: &[f32], [outputs, inputs]: [usize; 2], values: &mut [f32]) {
    transform_kernels(weight, [outputs, inputs], values, |output, input| (output * inputs + input, false));
}

/// `place` says which kernel of `weight` connects an output and an input, and whether it is turned.
fn transform_kernels(
    weight: &[f32],
    [outputs, inputs]: [usize; 2],
    values: &mut [f32],
    place: impl Fn(usize, usize) -> (usize, bool) + Sync,
) {
    let (kernels, _) = weight.as_chunks::<9>();
    let shared = Shared::new(values);
    let pitch = pitch(inputs);
    (0..outputs).into_par_iter().for_each_init(
        || vec![0.0; POINTS * pitch],
        |rows, output| {
            vectorized(
                #[inline(always)]
                || {
                    for start in (0..inputs).step_by(LANES) {
                        let (mut kernel, mut transformed) = ([[ZERO; 3]; 3], [[ZERO; PATCH]; PATCH]);
                        for lane in 0..LANES.min(inputs - start) {
                            let (index, turned) = place(output, start + lane);
                            for point in 0..9 {
                                let from = if turned { 8 - point } else { point };
                                kernel[point / 3][point % 3].0[lane] = kernels[index][from];
                            }
                        }
                        both_axes(
                            &kernel,
                            #[inline(always)]
                            |g| weight_transform(g),
                            &mut transformed,
                        );
                        for (row, lanes) in rows.chunks_exact_mut(pitch).zip(transformed.as_flattened()) {
                            row[start..start + LANES].copy_from_slice(&lanes.0);
                        }
                    }
                },
            );
            for (point, row) in rows.chunks_exact(pitch).enumerate() {
                let offset = (point * outputs + output) * inputs;
                // SAFETY: each output channel has its own elements.
                let to = unsafe { shared.slice(offset..offset + inputs) };
                to.copy_from_slice(&row[..inputs]);
            }
        },
    );
}

/// The rows of tiles of a batch of maps, image after image.
#[derive(Clone, Copy)]
struct Lines {
    batch: usize,
    height: usize,
    width: usize,
}

/// Elements of the tiles of one of the 36 points. The vector more than there are channels has the points, which are
/// written and read together, not all fall into the same places of the caches, where they would drive out each other.
fn plane(channels: usize, padded: usize) -> usize {
    channels * padded + LANES
}

/// Some lines that are worked on together.
#[derive(Clone, Copy)]
struct Chunk {
    start: usize,
    count: usize,
    /// Tiles of all of them, and what the vectors that begin inside the last line reach over its end.
    padded: usize,
}

impl Lines {
    /// Tiles in a line.
    fn across(self) -> usize {
        self.width.div_ceil(TILE)
    }

    /// Lines of an image.
    fn down(self) -> usize {
        self.height.div_ceil(TILE)
    }

    /// Of so many channels, in and out.
    fn chunks(self, channels: usize) -> impl Iterator<Item = Chunk> {
        let lines = self.batch * self.down();
        let most = (CHUNK_ELEMENTS / (POINTS * channels * self.across()).max(1)).max(1);
        let size = lines.div_ceil(lines.div_ceil(most).max(1)).max(1);
        (0..lines).step_by(size).map(move |start| {
            let count = size.min(lines - start);
            let padded = (count - 1) * self.across() + self.across().next_multiple_of(LANES);
            Chunk { start, count, padded: padded.next_multiple_of(LANES) }
        })
    }

    /// The plane of a channel that a line is in, and its first row there.
    fn place(self, line: usize, [channels, channel]: [usize; 2]) -> (usize, usize) {
        let plane = (line / self.down() * channels + channel) * self.height * self.width;
        (plane, line % self.down() * TILE)
    }

    /// Transforms the tiles of a chunk of every channel to 36 [`plane`]s, `[channels, padded]`. Each sees `SIDE` x
    /// `SIDE` pixels, from `margin` before its first on.
    fn transform<const SIDE: usize>(
        self,
        map: &[f32],
        channels: usize,
        chunk: Chunk,
        margin: usize,
        output: &mut [f32],
        transform: impl Fn([Lanes; SIDE]) -> [Lanes; PATCH] + Sync,
    ) {
        let shared = Shared::new(output);
        let (across, plane_elements) = (self.across(), plane(channels, chunk.padded));
        (0..channels).into_par_iter().for_each(|channel| {
            // What a row of pixels is after the transform along it: `[SIDE, 6, tiles]`, a row in each slot.
            let mut rows = vec![[[ZERO; PATCH]; SIDE]; across.div_ceil(LANES)];
            let mut row_of_pixels = Row::new(across, margin);
            vectorized(
                #[inline(always)]
                || {
                    for line in 0..chunk.count {
                        let (plane, top) = self.place(chunk.start + line, [channels, channel]);
                        // The line above has seen the first rows.
                        let seen = if line > 0 && top > 0 { SIDE - TILE } else { 0 };
                        for rows in rows.iter_mut() {
                            for (row, x) in (0..seen).flat_map(|row| (0..PATCH).map(move |x| (row, x))) {
                                rows[row][x] = rows[row + TILE][x];
                            }
                        }
                        for row in seen..SIDE {
                            let y = (top + row).checked_sub(margin).filter(|y| *y < self.height);
                            row_of_pixels.set(y.map(|y| &map[plane + y * self.width..][..self.width]));
                            for (block, rows) in rows.iter_mut().enumerate() {
                                let values = transform(row_of_pixels.patch(block * LANES));
                                // One by one: the whole array would be moved by a call of `memcpy`.
                                rows[row].iter_mut().zip(values).for_each(|(to, value)| *to = value);
                            }
                        }
                        for (block, rows) in rows.iter().enumerate() {
                            let tile = line * across + block * LANES;
                            // What reaches over the line's end is overwritten by the next line.
                            for x in 0..PATCH {
                                let column = transform(array::from_fn(|row| rows[row][x]));
                                for (y, lanes) in column.iter().enumerate() {
                                    let point = (y * PATCH + x) * plane_elements;
                                    let offset = point + channel * chunk.padded + tile;
                                    // SAFETY: each channel has its own elements.
                                    let to = unsafe { shared.slice(offset..offset + LANES) };
                                    *to.as_mut_array().expect("as many as there are lanes") = lanes.0;
                                }
                            }
                        }
                    }
                },
            );
        });
    }
}

/// A row of pixels, so that what neighbouring tiles see at the same place lies side by side.
struct Row {
    /// Zeros before the first pixel.
    margin: usize,
    /// Every fourth pixel, from the first, the second, the third and the fourth one on; then zeros.
    phases: [Vec<f32>; TILE],
}

impl Row {
    fn new(tiles: usize, margin: usize) -> Self {
        let length = tiles.next_multiple_of(LANES) + 1;
        Self { margin, phases: array::from_fn(|_| vec![0.0; length]) }
    }

    /// Zeros where there is no such row.
    #[inline(always)]
    fn set(&mut self, pixels: Option<&[f32]>) {
        let Some(pixels) = pixels else {
            return self.phases.iter_mut().for_each(|phase| phase.fill(0.0));
        };
        let head = if self.margin > 0 { (TILE - self.margin).min(pixels.len()) } else { 0 };
        for (x, pixel) in pixels[..head].iter().enumerate() {
            self.phases[self.margin + x][0] = *pixel;
        }
        let first = usize::from(self.margin > 0);
        let (quads, rest) = pixels[head..].as_chunks::<TILE>();
        let [a, b, c, d] = self.phases.each_mut().map(|phase| &mut phase[first..]);
        for ((((quad, a), b), c), d) in quads.iter().zip(a).zip(b).zip(c).zip(d) {
            [*a, *b, *c, *d] = *quad;
        }
        for (phase, pixel) in self.phases.iter_mut().zip(rest) {
            phase[first + quads.len()] = *pixel;
        }
    }

    /// What 16 tiles see.
    #[inline(always)]
    fn patch<const SIDE: usize>(&self, tile: usize) -> [Lanes; SIDE] {
        array::from_fn(|x| {
            let values = &self.phases[x % TILE][tile + x / TILE..];
            Lanes(*values.first_chunk().expect("a row has whole vectors"))
        })
    }
}

/// The output of a convolution, `[N, C out, H, W]`.
pub(super) fn forward(x: &[f32], weight: &[f32], epilogue: Epilogue, geometry: &Geometry) -> Vec<f32> {
    let [outputs, inputs, ..] = geometry.weight;
    with_scratch(POINTS * outputs * inputs, |transformed| {
        transform_weight(weight, [outputs, inputs], transformed);
        forward_transformed(x, transformed, epilogue, geometry)
    })
}

/// [`forward`] with a weight that is [transformed](transform_weight).
pub(super) fn forward_transformed(
    x: &[f32],
    weight: &[f32],
    epilogue: Epilogue,
    geometry: &Geometry,
) -> Vec<f32> {
    let [outputs, inputs, ..] = geometry.weight;
    convolve(x, weight, [outputs, inputs], epilogue, geometry)
}

/// Gradient of the input, `[N, C in, H, W]`: the gradient of the output convolved with the turned kernels.
pub(super) fn input_backward(weight: &[f32], grad: &[f32], geometry: &Geometry) -> Vec<f32> {
    let [outputs, inputs, ..] = geometry.weight;
    with_scratch(POINTS * outputs * inputs, |turned| {
        let place = |input: usize, output: usize| (output * inputs + input, true);
        transform_kernels(weight, [inputs, outputs], turned, place);
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
        let (v_plane, m_plane) = (plane(inputs, padded), plane(outputs, padded));
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
                // SAFETY: each point has its own elements.
                unsafe { Shared::new(m).product(0, padded, u, v, false) };
            });
            (0..outputs).into_par_iter().for_each(|channel| {
                let row = |point: usize| &m[point * m_plane + channel * padded..][..padded];
                finish(row, lines, chunk, [outputs, channel], &shared, epilogue);
            });
        });
    }
    output
}

/// From the 36 products of a chunk's tiles to the output of one channel.
fn finish<'a>(
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
                let (plane, top) = lines.place(chunk.start + line, [channels, channel]);
                let position = |row: usize| plane + (top + row).min(lines.height) * width;
                // SAFETY: each row of pixels belongs to one line; those below the map are empty.
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
pub(super) fn weight_backward(x: &[f32], grad: &[f32], geometry: &Geometry) -> Vec<f32> {
    let [outputs, inputs, ..] = geometry.weight;
    let [batch, _, height, width] = geometry.x;
    let lines = Lines { batch, height, width };
    let mut sums = vec![0.0; POINTS * outputs * inputs]; // dU
    for chunk in lines.chunks(inputs + outputs) {
        let padded = chunk.padded;
        let (v_plane, m_plane) = (plane(inputs, padded), plane(outputs, padded));
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
            // Columns after the last tile may hold anything.
            let tiles = chunk.count * lines.across();
            let points = m.par_chunks(m_plane).zip(v.par_chunks(v_plane));
            points.zip(sums.par_chunks_mut(outputs * inputs)).for_each(|((m, v), sums)| {
                let (m, v) =
                    (Matrix::new(m, [outputs, tiles], padded), Matrix::new(v, [inputs, tiles], padded));
                // SAFETY: each point has its own elements.
                unsafe { Shared::new(sums).product(0, inputs, m, v.transposed(), true) };
            });
        });
    }
    let mut output = vec![0.0; outputs * inputs * 9];
    let pitch = pitch(inputs);
    output.par_chunks_mut(inputs * 9).enumerate().for_each_init(
        || vec![0.0; POINTS * pitch],
        |rows, (channel, output)| {
            for (point, row) in rows.chunks_exact_mut(pitch).enumerate() {
                row[..inputs].copy_from_slice(&sums[(point * outputs + channel) * inputs..][..inputs]);
            }
            vectorized(
                #[inline(always)]
                || {
                    let (kernels, _) = output.as_chunks_mut::<9>();
                    let (mut u, mut transformed) = ([[ZERO; PATCH]; PATCH], [[ZERO; 3]; 3]);
                    for (index, kernels) in kernels.chunks_mut(LANES).enumerate() {
                        for (row, lanes) in rows.chunks_exact(pitch).zip(u.as_flattened_mut()) {
                            lanes.0.copy_from_slice(&row[index * LANES..][..LANES]);
                        }
                        both_axes(
                            &u,
                            #[inline(always)]
                            |u| weight_grad_transform(u),
                            &mut transformed,
                        );
                        for (lane, kernel) in kernels.iter_mut().enumerate() {
                            for (point, value) in kernel.iter_mut().enumerate() {
                                *value = transformed[point / 3][point % 3].0[lane];
                            }
                        }
                    }
                },
            );
        },
    );
    output
}

/// From a row of so many values of one point to that of the next, while a weight is transformed; for the sake of the
/// caches as in [`plane`].
fn pitch(inputs: usize) -> usize {
    inputs.next_multiple_of(LANES) + LANES
}
