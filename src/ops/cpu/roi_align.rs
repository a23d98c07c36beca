//! RoIAlign, forward and backward.
//!
//! The sample positions of a box are the same for all channels, so the maps are turned to channels last: a
//! sample is then four runs of channels, each times a weight, side by side in memory. Turning costs one pass
//! over the map, far less than to collect each pixel of each sample channel by channel.
//!
//! Forward runs in parallel over boxes, backward over blocks of channels: each thread owns the planes it adds
//! to and adds in the order of the boxes, so the sum is the same whatever the number of threads.

use rayon::prelude::*;

use super::gemm::Shared;
use super::simd::vectorized;
use crate::ops::options::RoiAlignOptions;

/// Channels that are turned, or that a thread owns in the backward pass, at a time.
const BLOCK: usize = 64;

/// One bilinear sample: offsets of four pixels in a plane, and their weights.
struct Sample {
    offsets: [usize; 4],
    weights: [f32; 4],
}

/// The samples of one box, bin by bin.
struct Grid {
    image: usize,
    samples: Vec<Sample>,
    per_bin: usize,
}

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
            let grid = Grid::new(roi, batch, (height, width), options);
            let map = &maps[grid.image * plane * channels..][..plane * channels];
            vectorized(
                #[inline(always)]
                || {
                    pooled.fill(0.0);
                    let bins = pooled.chunks_exact_mut(channels);
                    for (bin, samples) in bins.zip(grid.samples.chunks_exact(grid.per_bin)) {
                        for (offset, weight) in samples.iter().flat_map(Sample::corners) {
                            add(bin, weight / grid.per_bin as f32, &map[offset * channels..][..channels]);
                        }
                    }
                },
            );
            turn(pooled, channels, output, bins);
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
    let grids: Vec<Grid> =
        rois.par_iter().map(|roi| Grid::new(roi, batch, (height, width), options)).collect();
    let images = output.par_chunks_mut(channels * plane).enumerate();
    images.for_each(|(image, planes)| {
        planes.par_chunks_mut(BLOCK * plane).enumerate().for_each(|(index, planes)| {
            let owned = planes.len() / plane;
            let mut map = vec![0.0; plane * owned]; // [H * W, channels of the block]
            let mut turned = vec![0.0; bins * owned]; // [bins, channels of the block]
            let boxes = grids.iter().zip(grad.chunks_exact(channels * bins));
            for (grid, grad) in boxes.filter(|(grid, _)| grid.image == image) {
                turn(&grad[index * BLOCK * bins..][..owned * bins], bins, &mut turned, owned);
                vectorized(
                    #[inline(always)]
                    || {
                        let bins = turned.chunks_exact(owned);
                        for (bin, samples) in bins.zip(grid.samples.chunks_exact(grid.per_bin)) {
                            for (offset, weight) in samples.iter().flat_map(Sample::corners) {
                                let pixel = &mut map[offset * owned..][..owned];
                                add(pixel, weight / grid.per_bin as f32, bin);
                            }
                        }
                    },
                );
            }
            turn(&map, owned, planes, plane);
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
        // SAFETY: the blocks do not overlap.
        let output = unsafe { shared.slice(first..first + count * channels) };
        for channel in 0..channels {
            let pixels = &features[(image * channels + channel) * plane + start..][..count];
            output[channel..].iter_mut().step_by(channels).zip(pixels).for_each(|(to, pixel)| *to = *pixel);
        }
    });
    output
}

/// Transposes a matrix of rows of `columns` elements into one of rows of `rows` elements, some rows at a time so
/// that they stay in the cache.
fn turn(from: &[f32], columns: usize, to: &mut [f32], rows: usize) {
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

impl Grid {
    fn new(
        &[image, x1, y1, x2, y2]: &[f32; 5],
        batch: usize,
        (height, width): (usize, usize),
        options: RoiAlignOptions,
    ) -> Self {
        assert!(
            image >= 0.0 && (image as usize) < batch,
            "a region of interest names image {image} of a batch of {batch}"
        );
        let scale = options.spatial_scale;
        let (bins_y, bins_x) = options.output_size;
        let offset = if options.aligned { 0.5 } else { 0.0 };
        let (top, left) = (y1 * scale - offset, x1 * scale - offset);
        let mut roi_height = y2 * scale - offset - top;
        let mut roi_width = x2 * scale - offset - left;
        if !options.aligned {
            (roi_height, roi_width) = (roi_height.max(1.0), roi_width.max(1.0));
        }
        let (bin_height, bin_width) = (roi_height / bins_y as f32, roi_width / bins_x as f32);
        let samples_along = |bin_size: f32| match options.sampling_ratio {
            // Casts saturate: a NaN or negative size takes no sample, so the bin is 0.
            0 => bin_size.ceil() as usize,
            ratio => ratio,
        };
        let (samples_y, samples_x) = (samples_along(bin_height), samples_along(bin_width));
        let per_bin = samples_y * samples_x;

        let mut samples = Vec::with_capacity(bins_y * bins_x * per_bin);
        for bin_y in 0..bins_y {
            for bin_x in 0..bins_x {
                for sample_y in 0..samples_y {
                    let y = top
                        + bin_y as f32 * bin_height
                        + (sample_y as f32 + 0.5) * bin_height / samples_y as f32;
                    for sample_x in 0..samples_x {
                        let x = left
                            + bin_x as f32 * bin_width
                            + (sample_x as f32 + 0.5) * bin_width / samples_x as f32;
                        samples.push(Sample::new(y, x, (height, width)));
                    }
                }
            }
        }
        if per_bin == 0 {
            // One sample of weight 0 a bin keeps the loops above free of a special case.
            samples.resize_with(bins_y * bins_x, || Sample { offsets: [0; 4], weights: [0.0; 4] });
        }
        Self { image: image as usize, samples, per_bin: per_bin.max(1) }
    }
}

impl Sample {
    #[inline(always)]
    fn corners(&self) -> impl Iterator<Item = (usize, f32)> {
        self.offsets.into_iter().zip(self.weights)
    }

    fn new(y: f32, x: f32, (height, width): (usize, usize)) -> Self {
        let inside = |position: f32, size: usize| (-1.0..=size as f32).contains(&position);
        if !(inside(y, height) && inside(x, width)) {
            return Self { offsets: [0; 4], weights: [0.0; 4] };
        }
        let ((y_low, y_high), y_part) = neighbours(y, height);
        let ((x_low, x_high), x_part) = neighbours(x, width);
        let (y_rest, x_rest) = (1.0 - y_part, 1.0 - x_part);
        Self {
            offsets: [
                y_low * width + x_low,
                y_low * width + x_high,
                y_high * width + x_low,
                y_high * width + x_high,
            ],
            weights: [y_rest * x_rest, y_rest * x_part, y_part * x_rest, y_part * x_part],
        }
    }
}

/// The two pixels around a position along one axis, and how far it lies towards the second.
fn neighbours(position: f32, size: usize) -> ((usize, usize), f32) {
    let position = position.max(0.0);
    let low = position as usize;
    if low + 1 >= size { ((size - 1, size - 1), 0.0) } else { ((low, low + 1), position - low as f32) }
}
