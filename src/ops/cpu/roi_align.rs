//! RoIAlign, forward and backward.
//!
//! The sample positions of a box are the same for all channels, so the maps are transposed to channels last:
//! a sample is then four runs of channels, each times a weight. Transposing costs one pass over the map. That
//! is far cheaper than collecting each pixel of each sample channel by channel.
//!
//! Forward runs in parallel over boxes, backward over blocks of channels: each thread owns the planes it adds
//! to and adds in the order of the boxes, so the sum is the same whatever the number of threads.

use rayon::prelude::*;

use super::gemm::Shared;
use super::samples::Grid;
use super::simd::vectorized;
use crate::ops::options::RoiAlignOptions;

/// Channels that are transposed at a time, and that a task owns in the backward pass.
const BLOCK: usize = 64;

pub(super) fn forward(
    features: &[f32],
    [batch, channels, height, width]: [usize; 4],
    rois: &[f32],
    options: RoiAlignOptions,
) -> Vec<f32> {
    let (rois, _) = rois.as_chunks::<5>();
    let bins = options.output_size.0 * options.output_size.1;
    let plane = height * width;
    let mut output = vec![0.0; rois.len() * channels * bins];
    if output.is_empty() {
        return output;
    }
    let maps = channels_last(features, [batch, channels, plane]);
    output.par_chunks_mut(channels * bins).zip(rois).for_each_init(
        || vec![0.0; channels * bins], // [bins, C]
        |pooled, (output, roi)| {
            let Some(grid) = Grid::new(roi, batch, (height, width), options) else {
                return;
            };
            let map = &maps[grid.image * plane * channels..][..plane * channels];
            vectorized(
                #[inline(always)]
                || {
                    pooled.fill(0.0);
                    for (bin, sums) in pooled.chunks_exact_mut(channels).enumerate() {
                        grid.for_each_pixel(
                            bin,
                            #[inline(always)]
                            |pixel, weight| add(sums, weight, &map[pixel * channels..][..channels]),
                        );
                    }
                },
            );
            transpose(pooled, channels, output, bins);
        },
    );
    output
}

pub(super) fn backward(
    grad: &[f32],
    [batch, channels, height, width]: [usize; 4],
    rois: &[f32],
    options: RoiAlignOptions,
) -> Vec<f32> {
    let (rois, _) = rois.as_chunks::<5>();
    let bins = options.output_size.0 * options.output_size.1;
    let plane = height * width;
    let mut output = vec![0.0; batch * channels * plane];
    if output.is_empty() || rois.is_empty() || bins == 0 {
        return output;
    }
    let grids: Vec<Option<Grid>> =
        rois.par_iter().map(|roi| Grid::new(roi, batch, (height, width), options)).collect();
    let images = output.par_chunks_mut(channels * plane).enumerate();
    images.for_each(|(image, planes)| {
        planes.par_chunks_mut(BLOCK * plane).enumerate().for_each(|(index, planes)| {
            let owned = planes.len() / plane;
            let mut map = vec![0.0; plane * owned]; // [H * W, channels of the block]
            let mut turned = vec![0.0; bins * owned]; // [bins, channels of the block]
            let boxes = grids.iter().zip(grad.chunks_exact(channels * bins));
            let boxes = boxes.filter_map(|(grid, grad)| Some((grid.as_ref()?, grad)));
            for (grid, grad) in boxes.filter(|(grid, _)| grid.image == image) {
                transpose(&grad[index * BLOCK * bins..][..owned * bins], bins, &mut turned, owned);
                vectorized(
                    #[inline(always)]
                    || {
                        for (bin, grad) in turned.chunks_exact(owned).enumerate() {
                            grid.for_each_pixel(
                                bin,
                                #[inline(always)]
                                |pixel, weight| add(&mut map[pixel * owned..][..owned], weight, grad),
                            );
                        }
                    },
                );
            }
            transpose(&map, owned, planes, plane);
        });
    });
    output
}

/// `[N, C, H * W]` to `[N, H * W, C]`.
fn channels_last(features: &[f32], [batch, channels, plane]: [usize; 3]) -> Vec<f32> {
    let mut output = vec![0.0; batch * channels * plane];
    let shared = Shared::new(&mut output);
    let blocks = plane.div_ceil(BLOCK);
    (0..batch * blocks).into_par_iter().for_each(|index| {
        let (image, start) = (index / blocks, index % blocks * BLOCK);
        let count = BLOCK.min(plane - start);
        let first = (image * plane + start) * channels;
        // SAFETY: this task alone writes the pixels `start..start + count` of `image`.
        let output = unsafe { shared.slice(first..first + count * channels) };
        for channel in 0..channels {
            let pixels = &features[(image * channels + channel) * plane + start..][..count];
            output[channel..].iter_mut().step_by(channels).zip(pixels).for_each(|(to, pixel)| *to = *pixel);
        }
    });
    output
}

/// Transposes a matrix of rows of `columns` elements into one of rows of `rows` elements, some rows at a time
/// so that they stay in the cache.
fn transpose(from: &[f32], columns: usize, to: &mut [f32], rows: usize) {
    const ROWS: usize = 16;
    for start in (0..rows).step_by(ROWS) {
        let count = ROWS.min(rows - start);
        let from = &from[start * columns..][..count * columns];
        for (column, to) in to.chunks_exact_mut(rows).enumerate() {
            let values = from[column..].iter().step_by(columns);
            to[start..start + count].iter_mut().zip(values).for_each(|(to, from)| *to = *from);
        }
    }
}

#[inline(always)]
fn add(sums: &mut [f32], weight: f32, values: &[f32]) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
}
