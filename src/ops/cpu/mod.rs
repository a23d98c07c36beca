//! Kernels for the CPU, in f32, on burn-flex's tensors.
//!
//! Threads work on independent parts of the output, and the parts depend on the shapes only, so a result has
//! the same bits for any number of threads. `simd` compiles the loops for each instruction set.

mod columns;
mod conv2d;
mod epilogue;
mod gemm;
mod geometry;
mod im2col;
mod levels;
mod linear;
mod max_pool;
mod nms;
mod norm;
mod roi_align;
mod row_products;
mod samples;
mod scratch;
pub(super) mod simd;
mod sums;
mod top_k;
mod winograd;

use burn::backend::Flex;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{IntDType, TensorData};
use burn_flex::FlexTensor;

use super::backend::DetectionOps;
use super::fallback;
use super::options::{ABSENT, NormOptions, PoolOptions, RoiAlignOptions, conv2d_shape, pool_shape};
use super::primitives::{FeatureMaps, MapShapes, Residual};
use epilogue::Epilogue;
use geometry::Geometry;
use levels::Levels;
use max_pool::Sides;
use norm::Sets;

impl DetectionOps for Flex {
    fn roi_align(
        maps: FeatureMaps<Self>,
        rois: FloatTensor<Self>,
        min_areas: [f32; 3],
        options: RoiAlignOptions,
    ) -> FloatTensor<Self> {
        let maps: Vec<FlexTensor> = maps.into_vec().into_iter().map(contiguous).collect();
        let rois = contiguous(rois);
        let (height, width) = options.output_size;
        let shape = [dims::<2>(&rois)[0], dims::<4>(&maps[0])[1], height, width];
        let levels = Levels::new(floats(&rois), &min_areas[..maps.len() - 1], options);
        let pooled = levels.levels.iter().zip(&maps).map(|(level, map)| {
            if level.boxes.is_empty() {
                return Vec::new();
            }
            roi_align::forward(floats(map), dims(map), level.rois.as_flattened(), level.options)
        });
        tensor(levels.join(pooled.collect(), shape[1..].iter().product()), shape)
    }

    fn roi_align_backward(
        grad: FloatTensor<Self>,
        rois: FloatTensor<Self>,
        min_areas: [f32; 3],
        shapes: MapShapes,
        options: RoiAlignOptions,
    ) -> FeatureMaps<Self> {
        let (grad, rois) = (contiguous(grad), contiguous(rois));
        let count = shapes.as_slice().len();
        let levels = Levels::new(floats(&rois), &min_areas[..count - 1], options);
        let row = dims::<4>(&grad)[1..].iter().product();
        let mut grads = levels.split(floats(&grad), row).into_iter().zip(&levels.levels);
        shapes.maps(|shape| {
            let (grad, level) = grads.next().expect("boxes for each map");
            tensor(roi_align::backward(&grad, shape, level.rois.as_flattened(), level.options), shape)
        })
    }

    fn top_k(values: FloatTensor<Self>, k: usize, dtype: IntDType) -> IntTensor<Self> {
        let [rows, columns] = dims(&values);
        let values = contiguous(values);
        let indices = top_k::top_k(floats(&values), columns, k);
        FlexTensor::from_data(TensorData::new(indices, [rows, k]).convert_dtype(dtype.into()))
    }

    fn batched_nms(
        boxes: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        groups: IntTensor<Self>,
        iou_threshold: f32,
    ) -> IntTensor<Self> {
        let (boxes, scores, dtype) = (contiguous(boxes), contiguous(scores), groups.dtype());
        let [rows, columns] = dims(&groups);
        let groups: Vec<i64> = groups.into_data().iter::<i64>().collect();
        // The kernel takes only real boxes. Their groups are numbered across all rows.
        let present: Vec<usize> = (0..groups.len()).filter(|&i| groups[i] != i64::from(ABSENT)).collect();
        let (all_boxes, all_scores) = (floats(&boxes).as_chunks::<4>().0, floats(&scores));
        let boxes: Vec<_> = present.iter().map(|&i| all_boxes[i]).collect();
        let scores: Vec<_> = present.iter().map(|&i| all_scores[i]).collect();
        let of_present = || present.iter().map(|&i| groups[i]);
        let (lowest, highest) = (of_present().min().unwrap_or(0), of_present().max().unwrap_or(0));
        let numbered: Vec<i64> = present
            .iter()
            .map(|&i| (i / columns) as i64 * (highest - lowest + 1) + groups[i] - lowest)
            .collect();
        let kept = nms::batched_nms(&boxes, &scores, &numbered, iou_threshold);
        let mut keep = vec![0_i64; rows * columns];
        present.into_iter().zip(kept).for_each(|(index, kept)| keep[index] = i64::from(kept));
        FlexTensor::from_data(TensorData::new(keep, [rows, columns]).convert_dtype(dtype))
    }

    fn convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: Residual<Self>,
        relu: bool,
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        if linear::suits(dims(&x), dims(&weight), &options) {
            return fallback::residual_and_relu(linear::forward(x, weight, bias), residual, relu);
        }
        let geometry = geometry(dims(&x), dims(&weight), &options);
        convolve(x, weight, bias, residual, relu, geometry, conv2d::forward)
    }

    fn winograd_convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: Residual<Self>,
        relu: bool,
    ) -> FloatTensor<Self> {
        let [_, outputs, inputs] = dims(&weight);
        let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
        let geometry = geometry(dims(&x), [outputs, inputs, 3, 3], &options);
        convolve(x, weight, bias, residual, relu, geometry, winograd::forward_transformed)
    }

    fn convolution_input_backward(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        shape: [usize; 4],
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        if linear::suits(shape, dims(&weight), &options) {
            return linear::input_backward(weight, grad, shape);
        }
        let geometry = geometry(shape, dims(&weight), &options);
        let (weight, grad) = (contiguous(weight), contiguous(grad));
        tensor(conv2d::input_backward(floats(&weight), floats(&grad), &geometry), shape)
    }

    fn convolution_weight_backward(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        shape: [usize; 4],
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        if linear::suits(dims(&x), shape, &options) {
            return linear::weight_backward(x, grad, shape);
        }
        let geometry = geometry(dims(&x), shape, &options);
        let (x, grad) = (contiguous(x), contiguous(grad));
        tensor(conv2d::weight_backward(floats(&x), floats(&grad), &geometry), shape)
    }

    fn convolution_bias_backward(grad: FloatTensor<Self>) -> FloatTensor<Self> {
        let [batch, channels, height, width] = dims(&grad);
        let grad = contiguous(grad);
        let sums = conv2d::bias_backward(floats(&grad), [batch, channels, height * width]);
        tensor(sums, [channels])
    }

    fn max_pool(x: FloatTensor<Self>, options: PoolOptions) -> FloatTensor<Self> {
        let x = contiguous(x);
        let shape = dims(&x);
        let output = pool_shape(shape, options);
        tensor(max_pool::forward(floats(&x), sides(shape, output), options), output)
    }

    fn max_pool_backward(
        x: FloatTensor<Self>,
        output: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: PoolOptions,
    ) -> FloatTensor<Self> {
        let (x, output, grad) = (contiguous(x), contiguous(output), contiguous(grad));
        let sides = sides(dims(&x), dims(&output));
        let x_grad = max_pool::backward(floats(&x), floats(&output), floats(&grad), sides, options);
        tensor::<4>(x_grad, dims(&x))
    }

    fn normalize(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        residual: Residual<Self>,
        relu: bool,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (x, gamma, beta) = (contiguous(x), contiguous(gamma), contiguous(beta));
        let residual = residual.into_option().map(contiguous);
        let epilogue = epilogue(&beta, &residual, relu);
        let (sets, epsilon) = (sets(dims(&x), options), options.epsilon as f32);
        let (output, mean, variance) = norm::forward(floats(&x), floats(&gamma), epilogue, epsilon, sets);
        let count = sets.count();
        (tensor::<4>(output, dims(&x)), tensor(mean, [count]), tensor(variance, [count]))
    }

    fn normalize_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (x, gamma, grad) = (contiguous(x), contiguous(gamma), contiguous(grad));
        let statistics = [floats(&mean), floats(&variance)];
        let (sets, epsilon) = (sets(dims(&x), options), options.epsilon as f32);
        let (x_grad, gamma_grad, beta_grad) =
            norm::backward(floats(&x), floats(&gamma), statistics, floats(&grad), epsilon, sets);
        let channels = [sets.channels];
        (tensor::<4>(x_grad, dims(&x)), tensor(gamma_grad, channels), tensor(beta_grad, channels))
    }
}

/// Runs one of the algorithms of a convolution, `forward`.
fn convolve(
    x: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    residual: Residual<Flex>,
    relu: bool,
    geometry: Geometry,
    forward: impl FnOnce(&[f32], &[f32], Epilogue, &Geometry) -> Vec<f32>,
) -> FlexTensor {
    let (x, weight, bias) = (contiguous(x), contiguous(weight), contiguous(bias));
    let residual = residual.into_option().map(contiguous);
    if let Some(residual) = &residual {
        let shape = dims::<4>(residual);
        assert_eq!(shape, geometry.output, "the residual of a convolution has the shape of its output");
    }
    let output = forward(floats(&x), floats(&weight), epilogue(&bias, &residual, relu), &geometry);
    tensor(output, geometry.output)
}

/// Whether Winograd's algorithm computes a convolution of these shapes, and its gradients, with a plain
/// weight.
pub fn conv2d_uses_winograd(x: [usize; 4], weight: [usize; 4], options: &ConvOptions<2>) -> bool {
    conv2d::uses_winograd(&geometry(x, weight, options))
}

/// Whether `winograd_convolution` computes what a convolution with a weight of this shape does.
pub(super) fn transforms(weight: [usize; 4], options: &ConvOptions<2>) -> bool {
    // It does for maps of any size.
    !options.is_asymmetric() && geometry([1, weight[1], 1, 1], weight, options).suits_winograd()
}

/// The weight `[C out, C in, 3, 3]` of a convolution as `[36, C out, C in]`, which `winograd_convolution`
/// takes.
pub(super) fn transformed(weight: &[f32], [outputs, inputs]: [usize; 2]) -> Vec<f32> {
    let mut values = vec![0.0; winograd::POINTS * outputs * inputs];
    winograd::transform_weight(weight, [outputs, inputs], &mut values);
    values
}

fn sides([_, _, height, width]: [usize; 4], [_, _, height_out, width_out]: [usize; 4]) -> Sides {
    Sides { input: [height, width], output: [height_out, width_out] }
}

fn sets([batch, channels, height, width]: [usize; 4], options: NormOptions) -> Sets {
    Sets { batch, channels, pixels: height * width, groups: options.groups }
}

fn epilogue<'a>(bias: &'a FlexTensor, residual: &'a Option<FlexTensor>, relu: bool) -> Epilogue<'a> {
    Epilogue { bias: Some(floats(bias)), residual: residual.as_ref().map(floats), relu }
}

fn geometry(x: [usize; 4], weight: [usize; 4], options: &ConvOptions<2>) -> Geometry {
    assert!(!options.is_asymmetric(), "convolutions are padded alike on both sides, got {options:?}");
    Geometry {
        x,
        weight,
        output: conv2d_shape(x, weight, options),
        stride: options.stride,
        padding: options.padding_begin(),
        dilation: options.dilation,
    }
}

fn dims<const D: usize>(tensor: &FlexTensor) -> [usize; D] {
    tensor.layout().shape().dims()
}

fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
}

/// The elements of a contiguous tensor.
fn floats(tensor: &FlexTensor) -> &[f32] {
    tensor
        .as_slice()
        .unwrap_or_else(|| panic!("the CPU detection kernels take contiguous f32, got {:?}", tensor.dtype()))
}

fn tensor<const D: usize>(data: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(data, shape))
}
