//! RoIAlign, forward.
//!
//! A unit computes one bin of one box in [`CHANNELS`] channels: it finds the level of the box, places each
//! sample once and reads its four pixels from each channel's plane. Units next to each other write bins next
//! to each other. One launch takes the boxes of all images and levels.
//!
//! Grid: `boxes * bins * ceil(channels / CHANNELS)` units, in cubes of 256; units past the end stop. No
//! shared memory, no atomics.
//!
//! On paper, for a batch of 4 images of 640x640 and 2,000 boxes each (256 channels, 7x7 bins of 2x2 samples,
//! f32): the maps are 139 MB and the output is 401 MB, each moved once at best; 100 million bins take 40
//! operations, 4.1 GFLOP. An A10G (600 GB/s, 31 TFLOP/s) needs 0.90 ms for the bytes and 0.13 ms for the
//! operations: memory limits it.

use burn::backend::TensorMetadata;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::sampling::{Axis, Sampling, level_of, scale_of};
use super::tensors::{dims, empty, one_unit_each};
use crate::ops::options::RoiAlignOptions;

/// Channels that a unit computes. They share the cost of the sample positions.
const CHANNELS: usize = 4;

pub(super) fn forward(
    maps: Vec<CubeTensor>,
    rois: CubeTensor,
    min_areas: [f32; 3],
    options: RoiAlignOptions,
) -> CubeTensor {
    let [count, _] = dims(&rois);
    let [batch, channels, ..] = dims::<4>(&maps[0]);
    let (bins_y, bins_x) = options.output_size;
    let dtype = maps[0].dtype();
    let output = empty(&rois, [count, channels, bins_y, bins_x], dtype);
    let units = count * bins_y * bins_x * channels.div_ceil(CHANNELS);
    if units == 0 {
        return output;
    }
    let (cube_count, cube_dim) = one_unit_each(&rois, units, 256);
    let heights = maps.iter().map(|map| dims::<4>(map)[2] as u32).collect();
    let widths = maps.iter().map(|map| dims::<4>(map)[3] as u32).collect();
    let min_areas = min_areas[..maps.len() - 1].iter().copied().collect();
    roi_align_forward::launch(
        &output.client,
        cube_count,
        cube_dim,
        maps.into_iter().map(CubeTensor::into_buffer_arg).collect(),
        rois.into_buffer_arg(),
        output.clone().into_buffer_arg(),
        heights,
        widths,
        min_areas,
        batch as u32,
        channels as u32,
        options.spatial_scale,
        options.into(),
        burn::backend::cubecl::dtype_to_storage_type(dtype),
    );
    output
}

/// `maps` are `[N, C, H, W]`, `rois` `[K, 5]`, `output` `[K, C, bins y, bins x]`.
#[cube(launch)]
pub(super) fn roi_align_forward<F: Float>(
    maps: &Sequence<Box<[F]>>,
    rois: &[f32],
    output: &mut [F],
    heights: Sequence<u32>,
    widths: Sequence<u32>,
    min_areas: Sequence<f32>,
    batch: u32,
    channels: u32,
    spatial_scale: f32,
    #[comptime] sampling: Sampling,
    #[define(F)] _dtype: ElemType,
) {
    let bins = comptime!((sampling.bins_y * sampling.bins_x) as usize);
    let channels = channels as usize;
    let blocks = channels.div_ceil(CHANNELS);
    let (bin, rest) = (ABSOLUTE_POS % bins, ABSOLUTE_POS / bins);
    let (first, roi) = (rest % blocks * CHANNELS, rest / blocks);
    if roi >= rois.len() / 5 {
        terminate!();
    }
    let level = level_of(rois, roi, &min_areas);
    let scale = scale_of(spatial_scale, level);
    let y_axis = Axis::new(rois[roi * 5 + 2], rois[roi * 5 + 4], scale, sampling.bins_y, sampling);
    let x_axis = Axis::new(rois[roi * 5 + 1], rois[roi * 5 + 3], scale, sampling.bins_x, sampling);
    let bin_y = u32::cast_from(bin) / comptime!(sampling.bins_x);
    let bin_x = u32::cast_from(bin) % comptime!(sampling.bins_x);

    // A box that names no image of the batch gives zeros.
    let named = rois[roi * 5];
    let in_batch = named >= 0.0f32 && named < f32::cast_from(batch);

    let mut sums = Array::<f32>::new(CHANNELS);
    #[unroll]
    for channel in 0..CHANNELS {
        sums[channel] = 0.0f32;
    }
    #[unroll]
    for index in 0..maps.len() {
        if level == comptime!(index as u32) && in_batch {
            let (height, width) = (heights[index], widths[index]);
            let plane = (height * width) as usize;
            let image = (usize::cast_from(named) * channels + first) * plane;
            let (first_y, end_y) = (y_axis.first(bin_y, sampling), y_axis.end(bin_y, height, sampling));
            let (first_x, end_x) = (x_axis.first(bin_x, sampling), x_axis.end(bin_x, width, sampling));
            for sample_y in first_y..end_y {
                let y = y_axis.neighbours(bin_y, sample_y, height);
                for sample_x in first_x..end_x {
                    let x = x_axis.neighbours(bin_x, sample_x, width);
                    let top_left = image + (y.low * width + x.low) as usize;
                    let top_right = image + (y.low * width + x.high) as usize;
                    let bottom_left = image + (y.high * width + x.low) as usize;
                    let bottom_right = image + (y.high * width + x.high) as usize;
                    #[unroll]
                    for channel in 0..CHANNELS {
                        if first + channel < channels {
                            let at = channel * plane;
                            sums[channel] += y.low_weight
                                * (x.low_weight * f32::cast_from(maps[index][at + top_left])
                                    + x.high_weight * f32::cast_from(maps[index][at + top_right]))
                                + y.high_weight
                                    * (x.low_weight * f32::cast_from(maps[index][at + bottom_left])
                                        + x.high_weight * f32::cast_from(maps[index][at + bottom_right]));
                        }
                    }
                }
            }
        }
    }
    let samples = f32::cast_from(max(y_axis.samples * x_axis.samples, 1u32));
    #[unroll]
    for channel in 0..CHANNELS {
        if first + channel < channels {
            output[(roi * channels + first + channel) * bins + bin] = F::cast_from(sums[channel] / samples);
        }
    }
}
