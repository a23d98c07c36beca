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
//! Tiles are worked on in chunks whose `V` and `M` stay in the last-level cache. Inside a chunk, channels,
//! then the 36 products, then channels again run in parallel. 16 tiles at a time go through the transforms,
//! one in each lane of a vector.
//!
//! Error: with these points no factor is above 2 sqrt(2), and a result is off by at most 1e-5 of the largest
//! one of the map (3e-6 measured with 300 channels in; a plain sum is off by 4e-7). Integer points
//! (0, 1, -1, 2, -2) would make it 1e-4.
//!
//! Source: [Lavin and Gray 2015](https://arxiv.org/abs/1509.09308).

use std::array;
use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};
use std::ops::{Add, Mul, Sub};

use rayon::prelude::*;

use super::conv2d::{Epilogue, Geometry, with_scratch};
use super::gemm::{Matrix, Shared};

/// With fewer tiles, transforming the weight costs more than the products that are saved.
pub(super) const FEWEST_TILES: usize = 48;
/// Side of a tile of the output, and of what it sees of the input.
const TILE: usize = 4;
const PATCH: usize = 6;
const POINTS: usize = PATCH * PATCH;
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
        Lanes(lanes.0.map(|value| self * value))
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
        *half = transform(*row);
    }
    for x in 0..O {
        let column = transform(array::from_fn(|y| half[y][x]));
        for y in 0..O {
            output[y][x] = column[y];
        }
    }
}

/// A transformed weight.
pub(super) struct Weight {
    /// `[36, C out, C in]`
    values: Vec<f32>,
    outputs: usize,
    inputs: usize,
}

impl Weight {
    /// Of a convolution from its input to its output.
    pub fn new(weight: &[f32], geometry: &Geometry) -> Self {
        let [outputs, inputs, ..] = geometry.weight;
        Self::transform(weight, [outputs, inputs], |output, input| (output * inputs + input, false))
    }

    /// Of the convolution that takes the gradient of its output to that of its input.
    pub fn transposed(weight: &[f32], geometry: &Geometry) -> Self {
        let [outputs, inputs, ..] = geometry.weight;
        Self::transform(weight, [inputs, outputs], |input, output| (output * inputs + input, true))
    }

    /// `place` says which kernel of `weight` connects an output and an input, and whether it is turned.
    fn transform(
        weight: &[f32],
        [outputs, inputs]: [usize; 2],
        place: impl Fn(usize, usize) -> (usize, bool) + Sync,
    ) -> Self {
        let (kernels, _) = weight.as_chunks::<9>();
        let mut values = vec![0.0; POINTS * outputs * inputs];
        let shared = Shared::new(&mut values);
        let arch = pulp::Arch::new();
        (0..outputs).into_par_iter().for_each(|output| {
            arch.dispatch(
                #[inline(always)]
                || {
                    for start in (0..inputs).step_by(LANES) {
                        let count = LANES.min(inputs - start);
                        let (mut kernel, mut transformed) = ([[ZERO; 3]; 3], [[ZERO; PATCH]; PATCH]);
                        for lane in 0..count {
                            let (index, turned) = place(output, start + lane);
                            for point in 0..9 {
                                let from = if turned { 8 - point } else { point };
                                kernel[point / 3][point % 3].0[lane] = kernels[index][from];
                            }
                        }
                        both_axes(&kernel, weight_transform, &mut transformed);
                        for point in 0..POINTS {
                            let offset = (point * outputs + output) * inputs + start;
                            // SAFETY: each output channel has its own elements.
                            let to = unsafe { shared.slice(offset..offset + count) };
                            let values = &transformed[point / PATCH][point % PATCH].0;
                            match to.as_mut_array::<LANES>() {
                                Some(to) => *to = *values,
                                None => to.copy_from_slice(&values[..count]),
                            }
                        }
                    }
                },
            );
        });
        Self { values, outputs, inputs }
    }
}

/// The tiles of a batch of maps, numbered along the rows, image after image.
#[derive(Clone, Copy)]
struct Tiles {
    batch: usize,
    height: usize,
    width: usize,
}

/// One tile: its image, and its first row and column in the map.
struct Place {
    image: usize,
    y: usize,
    x: usize,
}

impl Tiles {
    fn across(self) -> usize {
        self.width.div_ceil(TILE)
    }

    fn count(self) -> usize {
        self.batch * self.height.div_ceil(TILE) * self.across()
    }

    #[inline(always)]
    fn place(self, tile: usize) -> Place {
        let (across, down) = (self.across(), self.height.div_ceil(TILE));
        let (line, x) = (tile / across, tile % across);
        Place { image: line / down, y: line % down * TILE, x: x * TILE }
    }

    /// Chunks `(first tile, tiles, tiles rounded up to whole vectors)` for so many channels.
    fn chunks(self, channels: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        let most = (CHUNK_ELEMENTS / (POINTS * channels)).max(1).next_multiple_of(LANES);
        let count = self.count();
        let size = count.div_ceil(count.div_ceil(most)).next_multiple_of(LANES);
        (0..count).step_by(size).map(move |start| {
            let tiles = size.min(count - start);
            (start, tiles, tiles.next_multiple_of(LANES))
        })
    }

    /// `side` x `side` pixels of 16 tiles of one channel, from `margin` pixels before the tile's first on;
    /// zero outside the map and after the last tile.
    #[inline(always)]
    fn gather<const SIDE: usize>(
        self,
        map: &[f32],
        [channels, channel]: [usize; 2],
        [start, count]: [usize; 2],
        margin: usize,
        patches: &mut [[Lanes; SIDE]; SIDE],
    ) {
        if count < LANES {
            *patches = [[ZERO; SIDE]; SIDE]; // the last tiles do not fill a vector
        }
        for lane in 0..count.min(LANES) {
            let Place { image, y, x } = self.place(start + lane);
            let plane = (image * channels + channel) * self.height * self.width;
            let inside = y >= margin
                && x >= margin
                && y + SIDE <= self.height + margin
                && x + SIDE <= self.width + margin;
            if inside {
                let first = plane + (y - margin) * self.width + x - margin;
                for (row, patch) in patches.iter_mut().enumerate() {
                    let pixels = &map[first + row * self.width..][..SIDE];
                    for (pixel, value) in patch.iter_mut().zip(pixels) {
                        pixel.0[lane] = *value;
                    }
                }
            } else {
                for (row, patch) in patches.iter_mut().enumerate() {
                    let y = (y + row).checked_sub(margin).filter(|y| *y < self.height);
                    for (column, pixel) in patch.iter_mut().enumerate() {
                        let x = (x + column).checked_sub(margin).filter(|x| *x < self.width);
                        let place = y.zip(x).map(|(y, x)| plane + y * self.width + x);
                        pixel.0[lane] = place.map_or(0.0, |place| map[place]);
                    }
                }
            }
        }
    }

    /// Transforms the tiles of a chunk of every channel to `[36, channels, padded]`.
    fn transform<const SIDE: usize>(
        self,
        map: &[f32],
        channels: usize,
        [start, tiles, padded]: [usize; 3],
        margin: usize,
        output: &mut [f32],
        transform: impl Fn([Lanes; SIDE]) -> [Lanes; PATCH] + Sync,
    ) {
        let shared = Shared::new(output);
        let arch = pulp::Arch::new();
        (0..channels).into_par_iter().for_each(|channel| {
            arch.dispatch(
                #[inline(always)]
                || {
                    let (mut patches, mut transformed) = ([[ZERO; SIDE]; SIDE], [[ZERO; PATCH]; PATCH]);
                    for tile in (0..tiles).step_by(LANES) {
                        let range = [start + tile, tiles - tile];
                        self.gather(map, [channels, channel], range, margin, &mut patches);
                        both_axes(&patches, &transform, &mut transformed);
                        for point in 0..POINTS {
                            let offset = (point * channels + channel) * padded + tile;
                            // SAFETY: each channel has its own elements.
                            let to = unsafe { shared.slice(offset..offset + LANES) };
                            to.copy_from_slice(&transformed[point / PATCH][point % PATCH].0);
                        }
                    }
                },
            );
        });
    }
}

/// Convolves maps `[N, C in, H, W]`, padded by one pixel, to `[N, C out, H, W]`.
pub(super) fn forward(
    x: &[f32],
    weight: &Weight,
    epilogue: Epilogue,
    [batch, height, width]: [usize; 3],
) -> Vec<f32> {
    let Weight { values: weight, outputs, inputs } = weight;
    let (outputs, inputs) = (*outputs, *inputs);
    let all = Tiles { batch, height, width };
    let mut output = vec![0.0; batch * outputs * height * width];
    let shared = Shared::new(&mut output);
    let arch = pulp::Arch::new();
    for (start, tiles, padded) in all.chunks(inputs + outputs) {
        with_scratch(POINTS * (inputs + outputs) * padded, |scratch| {
            let (v, m) = scratch.split_at_mut(POINTS * inputs * padded);
            all.transform(x, inputs, [start, tiles, padded], 1, v, input_transform);
            let points = m.par_chunks_mut(outputs * padded).zip(v.par_chunks(inputs * padded));
            points.zip(weight.par_chunks(outputs * inputs)).for_each(|((m, v), u)| {
                let (u, v) =
                    (Matrix::new(u, [outputs, inputs], inputs), Matrix::new(v, [inputs, padded], padded));
                // SAFETY: each point has its own elements.
                unsafe { Shared::new(m).product(0, padded, u, v, false) };
            });
            (0..outputs).into_par_iter().for_each(|channel| {
                arch.dispatch(
                    #[inline(always)]
                    || {
                        let (mut sums, mut y) = ([[ZERO; PATCH]; PATCH], [[ZERO; TILE]; TILE]);
                        for tile in (0..tiles).step_by(LANES) {
                            for (point, lanes) in sums.as_flattened_mut().iter_mut().enumerate() {
                                let offset = (point * outputs + channel) * padded + tile;
                                lanes.0.copy_from_slice(&m[offset..offset + LANES]);
                            }
                            both_axes(&sums, output_transform, &mut y);
                            for lane in 0..LANES.min(tiles - tile) {
                                let place = all.place(start + tile + lane);
                                let plane = (place.image * outputs + channel) * height * width;
                                for (row, line) in y.iter().enumerate().take(height - place.y) {
                                    let values: [f32; TILE] = array::from_fn(|column| line[column].0[lane]);
                                    let position = plane + (place.y + row) * width + place.x;
                                    let length = TILE.min(width - place.x);
                                    // SAFETY: each tile of a channel has its own pixels.
                                    let to = unsafe { shared.slice(position..position + length) };
                                    // A copy of known length is no call of `memcpy`.
                                    match to.as_mut_array::<TILE>() {
                                        Some(to) => {
                                            *to = values;
                                            epilogue.apply(to, position, channel);
                                        }
                                        None => {
                                            to.copy_from_slice(&values[..length]);
                                            epilogue.apply(to, position, channel);
                                        }
                                    }
                                }
                            }
                        }
                    },
                );
            });
        });
    }
    output
}

/// Gradient of the weight, `[C out, C in, 3, 3]`.
pub(super) fn weight_backward(x: &[f32], grad: &[f32], geometry: &Geometry) -> Vec<f32> {
    let [outputs, inputs, ..] = geometry.weight;
    let [batch, _, height, width] = geometry.x;
    let all = Tiles { batch, height, width };
    let mut sums = vec![0.0; POINTS * outputs * inputs]; // dU
    for (start, tiles, padded) in all.chunks(inputs + outputs) {
        with_scratch(POINTS * (inputs + outputs) * padded, |scratch| {
            let (v, m) = scratch.split_at_mut(POINTS * inputs * padded);
            all.transform(x, inputs, [start, tiles, padded], 1, v, input_transform);
            all.transform(grad, outputs, [start, tiles, padded], 0, m, grad_transform);
            let points = m.par_chunks(outputs * padded).zip(v.par_chunks(inputs * padded));
            points.zip(sums.par_chunks_mut(outputs * inputs)).for_each(|((m, v), sums)| {
                let (m, v) =
                    (Matrix::new(m, [outputs, padded], padded), Matrix::new(v, [inputs, padded], padded));
                // SAFETY: each point has its own elements.
                unsafe { Shared::new(sums).product(0, inputs, m, v.transposed(), true) };
            });
        });
    }
    let mut output = vec![0.0; outputs * inputs * 9];
    let arch = pulp::Arch::new();
    output.par_chunks_mut(inputs * 9).enumerate().for_each(|(channel, output)| {
        arch.dispatch(
            #[inline(always)]
            || {
                let (kernels, _) = output.as_chunks_mut::<9>();
                let (mut u, mut transformed) = ([[ZERO; PATCH]; PATCH], [[ZERO; 3]; 3]);
                for (index, kernels) in kernels.chunks_mut(LANES).enumerate() {
                    for (point, lanes) in u.as_flattened_mut().iter_mut().enumerate() {
                        let offset = (point * outputs + channel) * inputs + index * LANES;
                        lanes.0[..kernels.len()].copy_from_slice(&sums[offset..][..kernels.len()]);
                    }
                    both_axes(&u, weight_grad_transform, &mut transformed);
                    for (lane, kernel) in kernels.iter_mut().enumerate() {
                        for (point, value) in kernel.iter_mut().enumerate() {
                            *value = transformed[point / 3][point % 3].0[lane];
                        }
                    }
                }
            },
        );
    });
    output
}
