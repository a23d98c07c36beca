//! RoIAlign, forward and backward.
//!
//! The sample positions of a box are the same for all channels, so they are worked out once per box
//! as four pixel offsets and four weights a sample, and then applied channel by channel. Forward runs
//! in parallel over boxes, backward over blocks of channels: each thread owns the planes it adds to
//! and adds in the order of the boxes, so the sum is the same whatever the number of threads.

use rayon::prelude::*;

use crate::ops::RoiAlignOptions;

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
    output.par_chunks_mut(channels * bins).zip(rois).for_each(|(output, roi)| {
        let grid = Grid::new(roi, batch, (height, width), options);
        let image = &features[grid.image * channels * plane..][..channels * plane];
        for (output, plane) in output.chunks_exact_mut(bins).zip(image.chunks_exact(plane)) {
            for (value, samples) in output.iter_mut().zip(grid.samples.chunks_exact(grid.per_bin)) {
                let mut sum = 0.0;
                for Sample { offsets, weights } in samples {
                    sum += weights[0] * plane[offsets[0]]
                        + weights[1] * plane[offsets[1]]
                        + weights[2] * plane[offsets[2]]
                        + weights[3] * plane[offsets[3]];
                }
                *value = sum / grid.per_bin as f32;
            }
        }
    });
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
    // A few blocks a thread balance the load; each block works the grids out anew.
    let block = channels.div_ceil(2 * rayon::current_num_threads()).max(1);
    let images = output.par_chunks_mut(channels * plane).enumerate();
    images.for_each(|(image, planes)| {
        planes.par_chunks_mut(block * plane).enumerate().for_each(|(index, planes)| {
            for (roi, grad) in rois.iter().zip(grad.chunks_exact(channels * bins)) {
                let grid = match Grid::new(roi, batch, (height, width), options) {
                    grid if grid.image == image => grid,
                    _ => continue,
                };
                let grad = grad[index * block * bins..].chunks_exact(bins);
                for (plane, grad) in planes.chunks_exact_mut(plane).zip(grad) {
                    for (grad, samples) in grad.iter().zip(grid.samples.chunks_exact(grid.per_bin)) {
                        let grad = grad / grid.per_bin as f32;
                        for Sample { offsets, weights } in samples {
                            for (offset, weight) in offsets.iter().zip(weights) {
                                plane[*offset] += grad * weight;
                            }
                        }
                    }
                }
            }
        });
    });
    output
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
