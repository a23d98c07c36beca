//! Where RoIAlign samples a box, each step as in `torchvision.ops.roi_align`.
//!
//! The samples of a box form a grid: each bin has some positions along each axis, and a sample for each pair
//! of them.

use crate::ops::options::{MOST_SAMPLES, RoiAlignOptions};

/// The samples of one box that lie on the map.
pub(super) struct Grid {
    /// The image that the box is in.
    pub image: usize,
    rows: Axis,
    columns: Axis,
    /// Bins of a row of bins.
    bins_x: usize,
    width: usize,
}

/// The samples along one axis that lie on the map, bin after bin.
struct Axis {
    samples: Vec<Neighbours>,
    /// Where the samples of each bin end in `samples`.
    ends: Vec<usize>,
    /// Samples of a bin, also those outside the map.
    per_bin: usize,
}

/// The two pixels around a sample along one axis, and their shares of it.
struct Neighbours {
    pixels: [usize; 2],
    weights: [f32; 2],
}

impl Grid {
    /// `roi` is the index of an image and a box. None where the batch has no such image.
    pub fn new(
        &[image, x1, y1, x2, y2]: &[f32; 5],
        batch: usize,
        (height, width): (usize, usize),
        options: RoiAlignOptions,
    ) -> Option<Self> {
        if !(image >= 0.0 && image < batch as f32) {
            return None;
        }
        let (bins_y, bins_x) = options.output_size;
        Some(Self {
            image: image as usize,
            rows: Axis::new(y1, y2, bins_y, height, options),
            columns: Axis::new(x1, x2, bins_x, width, options),
            bins_x,
            width,
        })
    }

    /// Calls `visit` for each pixel that a sample of a bin reads, with its weight in the bin's average. Bins
    /// are counted row by row.
    #[inline(always)]
    pub fn for_each_pixel(&self, bin: usize, mut visit: impl FnMut(usize, f32)) {
        let count = (self.rows.per_bin * self.columns.per_bin) as f32;
        for y in self.rows.bin(bin / self.bins_x) {
            for x in self.columns.bin(bin % self.bins_x) {
                for (row, row_weight) in y.pixels.into_iter().zip(y.weights) {
                    for (column, column_weight) in x.pixels.into_iter().zip(x.weights) {
                        visit(row * self.width + column, row_weight * column_weight / count);
                    }
                }
            }
        }
    }
}

impl Axis {
    fn new(from: f32, to: f32, bins: usize, size: usize, options: RoiAlignOptions) -> Self {
        let offset = if options.aligned { 0.5 } else { 0.0 };
        let start = from * options.spatial_scale - offset;
        let extent = to * options.spatial_scale - offset - start;
        let extent = if options.aligned { extent } else { extent.max(1.0) };
        let bin_size = extent / bins as f32;
        let per_bin = match options.sampling_ratio {
            // A negative size becomes 0.
            0 if bin_size.ceil() <= MOST_SAMPLES as f32 => bin_size.ceil() as usize,
            // Too large, or NaN.
            0 => 0,
            ratio => ratio,
        };
        let (mut samples, mut ends) = (Vec::new(), Vec::with_capacity(bins));
        for bin in 0..bins {
            for sample in 0..per_bin {
                let part = (sample as f32 + 0.5) * bin_size / per_bin as f32;
                samples.extend(Neighbours::new(start + bin as f32 * bin_size + part, size));
            }
            ends.push(samples.len());
        }
        Self { samples, ends, per_bin }
    }

    #[inline(always)]
    fn bin(&self, bin: usize) -> &[Neighbours] {
        let start = if bin == 0 { 0 } else { self.ends[bin - 1] };
        &self.samples[start..self.ends[bin]]
    }
}

impl Neighbours {
    /// None where the position is more than a pixel outside the map, or NaN.
    fn new(position: f32, size: usize) -> Option<Self> {
        if size == 0 || !(-1.0..=size as f32).contains(&position) {
            return None;
        }
        let position = position.max(0.0);
        let low = position as usize;
        if low + 1 >= size {
            return Some(Self { pixels: [size - 1; 2], weights: [1.0, 0.0] });
        }
        let part = position - low as f32;
        Some(Self { pixels: [low, low + 1], weights: [1.0 - part, part] })
    }
}
