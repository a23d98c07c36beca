//! Where RoIAlign samples, for both of its kernels; each step as in `torchvision.ops.roi_align`.

use cubecl::prelude::*;

use crate::ops::options::{MOST_SAMPLES, RoiAlignOptions};

/// Known when a kernel is compiled: there is a kernel for each value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Sampling {
    pub bins_y: u32,
    pub bins_x: u32,
    /// 0 takes as many samples as a bin has pixels.
    pub ratio: u32,
    pub aligned: bool,
}

impl From<RoiAlignOptions> for Sampling {
    fn from(options: RoiAlignOptions) -> Self {
        Self {
            bins_y: options.output_size.0 as u32,
            bins_x: options.output_size.1 as u32,
            ratio: options.sampling_ratio as u32,
            aligned: options.aligned,
        }
    }
}

/// The samples of a box along one axis, in pixels of its map.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Axis {
    start: f32,
    bin_size: f32,
    /// Samples a bin.
    pub samples: u32,
}

/// The two pixels around a sample, and its weight in each; both weights are 0 outside the map.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Neighbours {
    pub low: u32,
    pub high: u32,
    pub low_weight: f32,
    pub high_weight: f32,
}

/// The map that a box is pooled from: the number of areas that are not larger than the box's area.
#[cube]
pub(super) fn level_of(rois: &[f32], roi: usize, min_areas: &Sequence<f32>) -> u32 {
    let area = (rois[roi * 5 + 3] - rois[roi * 5 + 1]) * (rois[roi * 5 + 4] - rois[roi * 5 + 2]);
    let mut level = 0u32;
    #[unroll]
    for index in 0..min_areas.len() {
        if area >= min_areas[index] {
            level = comptime!(index as u32 + 1).runtime();
        }
    }
    level
}

/// `spatial_scale` of the first map to that of another, which is exact.
#[cube]
pub(super) fn scale_of(spatial_scale: f32, level: u32) -> f32 {
    spatial_scale / f32::cast_from(1u32 << level)
}

#[cube]
impl Axis {
    pub fn new(from: f32, to: f32, scale: f32, bins: u32, #[comptime] sampling: Sampling) -> Axis {
        let shift = if comptime!(sampling.aligned) { 0.5f32 } else { 0.0f32 };
        let start = from * scale - shift;
        let mut extent = to * scale - shift - start;
        if comptime!(!sampling.aligned) {
            extent = max(extent, 1.0f32);
        }
        let bin_size = extent / f32::cast_from(bins);
        let samples = if comptime!(sampling.ratio > 0) {
            comptime!(sampling.ratio).runtime()
        } else {
            // If the size is NaN, negative or too large, the bin takes no sample, so it is 0.
            let samples = bin_size.ceil();
            let most = comptime!(MOST_SAMPLES as f32);
            if samples > 0.0f32 && samples <= most { u32::cast_from(samples) } else { 0u32.runtime() }
        };
        Axis { start, bin_size, samples }
    }

    pub fn position(&self, bin: u32, sample: u32) -> f32 {
        self.start
            + f32::cast_from(bin) * self.bin_size
            + (f32::cast_from(sample) + 0.5f32) * self.bin_size / f32::cast_from(self.samples)
    }

    /// The first sample of a bin that may lie on the map; all samples before it are outside. So a box much
    /// larger than the map takes no extra time. A fixed number of samples is small, and all are looked at.
    pub fn first(&self, bin: u32, #[comptime] sampling: Sampling) -> u32 {
        if comptime!(sampling.ratio > 0) {
            0u32.runtime()
        } else {
            // If samples are closer than this, rounding errors of a position may exceed a step. There are few
            // samples then.
            let step = self.bin_size / f32::cast_from(self.samples);
            let start = self.start + f32::cast_from(bin) * self.bin_size;
            // One less, for the rounding errors.
            let first = ((-1.0f32 - start) / step - 0.5f32).floor() - 1.0f32;
            if step > 0.5f32 {
                u32::cast_from(clamp(first, 0.0f32, f32::cast_from(self.samples)))
            } else {
                0u32.runtime()
            }
        }
    }

    /// The sample after the last one that may lie on the map.
    pub fn end(&self, bin: u32, size: u32, #[comptime] sampling: Sampling) -> u32 {
        if comptime!(sampling.ratio > 0) {
            self.samples
        } else {
            let step = self.bin_size / f32::cast_from(self.samples);
            let start = self.start + f32::cast_from(bin) * self.bin_size;
            let end = ((f32::cast_from(size) - start) / step - 0.5f32).ceil() + 2.0f32;
            if step > 0.5f32 {
                u32::cast_from(clamp(end, 0.0f32, f32::cast_from(self.samples)))
            } else {
                self.samples
            }
        }
    }

    pub fn neighbours(&self, bin: u32, sample: u32, size: u32) -> Neighbours {
        let position = self.position(bin, sample);
        let inside = position >= -1.0f32 && position <= f32::cast_from(size);
        let position = if inside { max(position, 0.0f32) } else { 0.0f32.runtime() };
        let weight = if inside { 1.0f32.runtime() } else { 0.0f32.runtime() };
        let last = size - 1u32;
        let low = min(u32::cast_from(position), last);
        let part = if low < last { position - f32::cast_from(low) } else { 0.0f32.runtime() };
        Neighbours {
            low,
            high: min(low + 1u32, last),
            low_weight: weight * (1.0f32 - part),
            high_weight: weight * part,
        }
    }

    /// How much a bin takes of a pixel.
    pub fn weight(&self, bin: u32, pixel: u32, size: u32, #[comptime] sampling: Sampling) -> f32 {
        let mut sum = 0.0f32;
        let (first, end) = (self.first(bin, sampling), self.end(bin, size, sampling));
        for sample in first..end {
            let at = self.neighbours(bin, sample, size);
            if at.low == pixel {
                sum += at.low_weight;
            }
            // At the last pixel, where both are the same, this weight is 0.
            if at.high == pixel {
                sum += at.high_weight;
            }
        }
        // Without samples this is 0 over 1.
        sum / f32::cast_from(max(self.samples, 1u32))
    }

    /// Whether a sample may touch a pixel of `first..=last`: true for all that do.
    pub fn touches(&self, first: u32, last: u32, size: u32, bins: u32) -> bool {
        // If the extent is negative, the positions decrease.
        let from = self.position(0u32, 0u32);
        let to = self.position(bins - 1u32, max(self.samples, 1u32) - 1u32);
        let end = f32::cast_from(size - 1u32);
        let low = clamp(min(from, to), 0.0f32, end);
        let high = clamp(max(from, to), 0.0f32, end);
        self.samples > 0u32 && low <= f32::cast_from(last) + 1.0f32 && high >= f32::cast_from(first) - 1.0f32
    }
}
