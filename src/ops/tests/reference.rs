//! The slow, obvious version of each own operation, which every kernel is tested against.
//!
//! Sums are f64. What decides between two outcomes (is a sample inside the map, how many samples has
//! a bin, is an overlap above the threshold) is f32, because there the operation is defined by its
//! f32 arithmetic: more digits would decide some cases the other way.

use burn::tensor::ops::ConvOptions;
use burn::tensor::{Int, Tensor};

use crate::ops::options::{NormOptions, PoolOptions, RoiAlignOptions};

/// A tensor's elements on the host.
#[derive(Clone)]
pub(super) struct Array<const D: usize> {
    shape: [usize; D],
    pub values: Vec<f64>,
}

impl<const D: usize> Array<D> {
    pub fn zeros(shape: [usize; D]) -> Self {
        Self { shape, values: vec![0.0; shape.iter().product()] }
    }

    /// Where the element at `index` lies.
    fn position(&self, index: [usize; D]) -> usize {
        index.iter().zip(self.shape).fold(0, |position, (index, side)| position * side + index)
    }

    fn at(&self, index: [usize; D]) -> f64 {
        self.values[self.position(index)]
    }

    /// The sum of its elements' products with others.
    pub fn dot(&self, others: &[f64]) -> f64 {
        self.values.iter().zip(others).map(|(element, other)| element * other).sum()
    }

    fn add(&mut self, index: [usize; D], value: f64) {
        let position = self.position(index);
        self.values[position] += value;
    }
}

impl<const D: usize> From<&Tensor<D>> for Array<D> {
    fn from(tensor: &Tensor<D>) -> Self {
        Self { shape: tensor.dims(), values: tensor.to_data().iter::<f64>().collect() }
    }
}

/// The highest value of each window, the first of equals, and the gradient of the input for one of the
/// output.
pub(super) fn max_pool2d(x: &Array<4>, grad: &Array<4>, options: PoolOptions) -> (Array<4>, Array<4>) {
    let [_, _, height, width] = x.shape;
    let (mut output, mut x_grad) = (Array::zeros(grad.shape), Array::zeros(x.shape));
    let [batch, channels, height_out, width_out] = grad.shape;
    for ((n, c), (y, x_out)) in
        pairs(batch, channels).flat_map(|plane| pairs(height_out, width_out).map(move |pixel| (plane, pixel)))
    {
        let mut highest: Option<(f64, [usize; 4])> = None;
        for (ky, kx) in pairs(options.kernel[0], options.kernel[1]) {
            let row = (y * options.stride[0] + ky).checked_sub(options.padding[0]);
            let column = (x_out * options.stride[1] + kx).checked_sub(options.padding[1]);
            let (Some(row), Some(column)) = (row, column) else { continue };
            if row < height && column < width {
                let place = [n, c, row, column];
                if highest.is_none_or(|(value, _)| x.at(place) > value) {
                    highest = Some((x.at(place), place));
                }
            }
        }
        let (value, place) = highest.expect("a window sees the map");
        output.add([n, c, y, x_out], value);
        x_grad.add(place, grad.at([n, c, y, x_out]));
    }
    (output, x_grad)
}

/// RoIAlign as a matrix a box: output `[K, C, bins y, bins x]` of features `[N, C, H, W]`.
pub(super) fn roi_align(features: &Array<4>, rois: &Tensor<2>, options: RoiAlignOptions) -> Array<4> {
    let [batch, channels, height, width] = features.shape;
    let (bins_y, bins_x) = options.output_size;
    let mut output = Array::zeros([rois.dims()[0], channels, bins_y, bins_x]);
    for (k, roi) in rows(rois).iter().enumerate() {
        if !is_in_batch(roi, batch) {
            continue;
        }
        for (bin_y, bin_x, y, x, weight) in pixel_weights(roi, (height, width), options) {
            for channel in 0..channels {
                let pixel = features.at([roi[0] as usize, channel, y, x]);
                output.add([k, channel, bin_y, bin_x], weight * pixel);
            }
        }
    }
    output
}

/// The transposed matrix applied to the gradient of the output: the gradient of the features.
pub(super) fn roi_align_backward(
    grad: &Array<4>,
    rois: &Tensor<2>,
    input_shape: [usize; 4],
    options: RoiAlignOptions,
) -> Array<4> {
    let [batch, channels, height, width] = input_shape;
    let mut output = Array::zeros(input_shape);
    for (k, roi) in rows(rois).iter().enumerate() {
        if !is_in_batch(roi, batch) {
            continue;
        }
        for (bin_y, bin_x, y, x, weight) in pixel_weights(roi, (height, width), options) {
            for channel in 0..channels {
                let grad = grad.at([k, channel, bin_y, bin_x]);
                output.add([roi[0] as usize, channel, y, x], weight * grad);
            }
        }
    }
    output
}

/// A box that names no image of the batch has neither an output nor a gradient.
fn is_in_batch(roi: &[f32; 5], batch: usize) -> bool {
    roi[0] >= 0.0 && f64::from(roi[0]) < batch as f64
}

fn rows(rois: &Tensor<2>) -> Vec<[f32; 5]> {
    let values: Vec<f32> = rois.to_data().iter::<f32>().collect();
    values.as_chunks::<5>().0.to_vec()
}

/// The elements other than zero of a box's matrix: bin row and column, pixel row and column, weight.
fn pixel_weights(
    &[_, x1, y1, x2, y2]: &[f32; 5],
    (height, width): (usize, usize),
    options: RoiAlignOptions,
) -> Vec<(usize, usize, usize, usize, f64)> {
    let (bins_y, bins_x) = options.output_size;
    let rows = axis_weights(y1, y2, bins_y, height, options);
    let columns = axis_weights(x1, x2, bins_x, width, options);
    let mut weights = Vec::new();
    for &(bin_y, y, of_row) in &rows {
        for &(bin_x, x, of_column) in &columns {
            weights.push((bin_y, bin_x, y, x, of_row * of_column));
        }
    }
    weights
}

/// Along one axis, with how much each bin takes of each pixel: bin, pixel, weight.
///
/// Interpolation is a hat of width 2 around the sample; a sample within a pixel outside the map
/// counts as on its edge, one farther away, or at a NaN, as zero.
fn axis_weights(
    from: f32,
    to: f32,
    bins: usize,
    pixels: usize,
    options: RoiAlignOptions,
) -> Vec<(usize, usize, f64)> {
    let shift = if options.aligned { 0.5 } else { 0.0 };
    let start = from * options.spatial_scale - shift;
    let extent = to * options.spatial_scale - shift - start;
    let extent = if options.aligned { extent } else { extent.max(1.0) };
    let bin_size = extent / bins as f32;
    let samples = match options.sampling_ratio {
        0 if bin_size > 65_535.0 => 0,
        0 => bin_size.ceil() as usize,
        ratio => ratio,
    };
    let mut weights = Vec::new();
    for bin in 0..bins {
        for sample in 0..samples {
            let position = start + bin as f32 * bin_size + (sample as f32 + 0.5) * bin_size / samples as f32;
            if position.is_nan() || position < -1.0 || position > pixels as f32 {
                continue;
            }
            let position = f64::from(position).clamp(0.0, (pixels - 1) as f64);
            for pixel in 0..pixels {
                let weight = 1.0 - (position - pixel as f64).abs();
                if weight > 0.0 {
                    weights.push((bin, pixel, weight / samples as f64));
                }
            }
        }
    }
    weights
}

/// Non-maximum suppression: the best box not yet decided on stays and removes what it overlaps.
pub(super) fn batched_nms(
    boxes: &Tensor<2>,
    scores: &Tensor<1>,
    groups: &Tensor<1, Int>,
    iou_threshold: f64,
) -> Vec<i64> {
    let boxes: Vec<f32> = boxes.to_data().iter::<f32>().collect();
    let (boxes, _) = boxes.as_chunks::<4>();
    let groups: Vec<i64> = groups.to_data().iter::<i64>().collect();
    let scores: Vec<f32> = scores
        .to_data()
        .iter::<f32>()
        .map(|score| if score.is_nan() { f32::NEG_INFINITY } else { score })
        .collect();
    let mut keep = vec![0; boxes.len()];
    let mut undecided: Vec<usize> = (0..boxes.len()).collect();
    while let Some(&first) = undecided.first() {
        let best = undecided
            .iter()
            .fold(first, |best, &other| if scores[other] > scores[best] { other } else { best });
        keep[best] = 1;
        undecided.retain(|&other| {
            let suppressed = groups[other] == groups[best]
                && f64::from(overlap(&boxes[best], &boxes[other])) > iou_threshold;
            other != best && !suppressed
        });
    }
    keep
}

/// Intersection over union as torchvision's kernel has it: NaN where the union is empty.
fn overlap(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let area = |[x1, y1, x2, y2]: &[f32; 4]| (x2 - x1) * (y2 - y1);
    let width = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let height = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    width * height / (area(a) + area(b) - width * height)
}

/// The shapes of one convolution.
pub(super) struct Convolution {
    pub x: [usize; 4],
    pub weight: [usize; 4],
    pub output: [usize; 4],
    pub options: ConvOptions<2>,
}

impl Convolution {
    /// Calls `product` for each product in the sums: with the index of the input, the weight and the output.
    fn products(&self, mut product: impl FnMut([usize; 4], [usize; 4], [usize; 4])) {
        let [batch, channels_out, output_height, output_width] = self.output;
        let [_, channels_in, kernel_height, kernel_width] = self.weight;
        // The input position that an output position sees through one position of the kernel.
        let input = |axis: usize, output: usize, kernel: usize| {
            let position = output * self.options.stride[axis] + kernel * self.options.dilation[axis];
            position.checked_sub(self.options.padding[axis].0).filter(|position| *position < self.x[2 + axis])
        };
        for (kernel_y, kernel_x) in pairs(kernel_height, kernel_width) {
            for (output_y, output_x) in pairs(output_height, output_width) {
                let (Some(y), Some(x)) = (input(0, output_y, kernel_y), input(1, output_x, kernel_x)) else {
                    continue;
                };
                for (image, (channel_out, channel_in)) in (0..batch)
                    .flat_map(|image| pairs(channels_out, channels_in).map(move |pair| (image, pair)))
                {
                    product(
                        [image, channel_in, y, x],
                        [channel_out, channel_in, kernel_y, kernel_x],
                        [image, channel_out, output_y, output_x],
                    );
                }
            }
        }
    }

    pub fn output(&self, x: &Array<4>, weight: &Array<4>, bias: &Array<1>) -> Array<4> {
        let mut output = Array::zeros(self.output);
        self.products(|x_at, weight_at, at| output.add(at, x.at(x_at) * weight.at(weight_at)));
        let pixels = self.output[2] * self.output[3];
        for (plane, values) in output.values.chunks_mut(pixels).enumerate() {
            values.iter_mut().for_each(|value| *value += bias.at([plane % self.output[1]]));
        }
        output
    }

    pub fn input_gradient(&self, weight: &Array<4>, grad: &Array<4>) -> Array<4> {
        let mut output = Array::zeros(self.x);
        self.products(|at, weight_at, grad_at| output.add(at, weight.at(weight_at) * grad.at(grad_at)));
        output
    }

    pub fn weight_gradient(&self, x: &Array<4>, grad: &Array<4>) -> Array<4> {
        let mut output = Array::zeros(self.weight);
        self.products(|x_at, at, grad_at| output.add(at, x.at(x_at) * grad.at(grad_at)));
        output
    }

    pub fn bias_gradient(&self, grad: &Array<4>) -> Array<1> {
        let mut output = Array::zeros([self.output[1]]);
        let pixels = self.output[2] * self.output[3];
        for (plane, values) in grad.values.chunks(pixels.max(1)).enumerate() {
            output.add([plane % self.output[1]], values.iter().sum());
        }
        output
    }
}

fn pairs(rows: usize, columns: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).flat_map(move |row| (0..columns).map(move |column| (row, column)))
}

/// `(x - mean) / sqrt(variance + epsilon) * gamma + beta`, with the statistics of each channel, or of each
/// group of channels of an image; and the statistics.
pub(super) fn normalize(
    x: &Array<4>,
    gamma: &Array<1>,
    beta: &Array<1>,
    options: NormOptions,
) -> (Array<4>, Vec<f64>, Vec<f64>) {
    let [batch, channels, height, width] = x.shape;
    let plane = height * width;
    let set_of = |index: usize| {
        let (image, channel) = (index / plane / channels, index / plane % channels);
        options.groups.map_or(channel, |groups| image * groups + channel / (channels / groups))
    };
    let sets = options.groups.map_or(channels, |groups| batch * groups);
    let average = |value: &dyn Fn(usize) -> f64| -> Vec<f64> {
        let mut sums = vec![(0.0, 0.0); sets];
        for index in 0..x.values.len() {
            let (sum, count) = &mut sums[set_of(index)];
            *sum += value(index);
            *count += 1.0;
        }
        sums.into_iter().map(|(sum, count)| sum / count).collect()
    };
    let mean = average(&|index| x.values[index]);
    let variance = average(&|index| (x.values[index] - mean[set_of(index)]).powi(2));
    let value = |index: usize| {
        let (set, channel) = (set_of(index), index / plane % channels);
        let normalised = (x.values[index] - mean[set]) / (variance[set] + options.epsilon).sqrt();
        normalised * gamma.values[channel] + beta.values[channel]
    };
    let values = (0..x.values.len()).map(value).collect();
    (Array { shape: x.shape, values }, mean, variance)
}
