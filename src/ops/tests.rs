//! Every own operation against its reference on each device there is, its gradients against finite
//! differences too.

use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::reference::{self, Array};
use super::{NormOptions, RoiAlignOptions, batched_nms, conv2d, normalize, roi_align, round_down};

/// Largest difference allowed, over the largest element expected (at least 1). The sums here have
/// at most some thousand f32 products, whose rounding errors of 6e-8 each mostly cancel.
const TOLERANCE: f64 = 1e-5;

/// Those that every operation is tested on: the CPU, and a GPU (a software one will do) with fused operations.
fn devices() -> Vec<Device> {
    [Some(Device::flex()), gpu()].into_iter().flatten().collect()
}

#[cfg(feature = "wgpu")]
fn gpu() -> Option<Device> {
    let found = !Device::enumerate(burn::tensor::DeviceType::Wgpu).is_empty();
    if !found {
        println!("skipped: no device for the feature `wgpu`; Debian's mesa-vulkan-drivers has a software one");
    }
    found.then(|| Device::wgpu(burn::tensor::DeviceKind::DefaultDevice))
}

#[cfg(not(feature = "wgpu"))]
fn gpu() -> Option<Device> {
    println!("skipped: the GPU kernels, in a build without the feature `wgpu`");
    None
}

/// Deterministic test data on a device.
struct Source {
    rng: ChaCha8Rng,
    device: Device,
}

impl Source {
    fn new(device: &Device) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(7), device: device.clone() }
    }

    fn tensor<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values, shape), &self.device)
    }

    /// Uniform in -1..1.
    fn random<const D: usize>(&mut self, shape: [usize; D]) -> Tensor<D> {
        let values = (0..shape.iter().product()).map(|_| self.rng.random_range(-1.0..1.0)).collect();
        self.tensor(values, shape)
    }

    /// Boxes of which some reach out of an image of `size` x `size`.
    fn boxes(&mut self, count: usize, size: f32) -> Vec<[f32; 4]> {
        let mut side = |range: std::ops::Range<f32>| size * self.rng.random_range(range);
        (0..count)
            .map(|_| {
                let (x, y) = (side(-0.3..1.0), side(-0.3..1.0));
                [x, y, x + side(0.01..0.6), y + side(0.01..0.6)]
            })
            .collect()
    }
}

/// The same values, the last two axes exchanged in memory.
fn non_contiguous<const D: usize>(tensor: &Tensor<D>) -> Tensor<D> {
    let transposed = tensor.clone().swap_dims(D - 2, D - 1).into_data();
    Tensor::<D>::from_data(transposed, &tensor.device()).swap_dims(D - 2, D - 1)
}

fn floats<const D: usize>(tensor: &Tensor<D>) -> Vec<f64> {
    Array::from(tensor).values
}

fn integers<const D: usize>(tensor: &Tensor<D, Int>) -> Vec<i64> {
    tensor.to_data().iter::<i64>().collect()
}

fn assert_close(actual: &[f64], expected: &[f64], what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0_f64, |scale, value| scale.max(value.abs()));
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        // NaN is not below anything, so it fails.
        let close = (actual - expected).abs() <= TOLERANCE * scale;
        assert!(close, "{what}, element {index}: {actual}, expected {expected}");
    }
}

/// Two runs, and one on a single thread, give the same bits.
fn assert_repeatable<const D: usize>(function: impl Fn() -> Tensor<D> + Sync, what: &str) {
    let bits = || -> Vec<u64> { floats(&function()).into_iter().map(f64::to_bits).collect() };
    let first = bits();
    assert_eq!(first, bits(), "{what}, second run");
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(first, one_thread.install(bits), "{what}, one thread");
}

/// The gradient of `sum(grad * function(at))`. It enters `function`'s backward pass transposed in
/// memory, as gradients often do.
fn gradient<const D: usize>(
    function: impl Fn(Tensor<D>) -> Tensor<4>,
    at: &Tensor<D>,
    grad: &Tensor<4>,
) -> Tensor<D> {
    let device = at.device().autodiff();
    let at = Tensor::<D>::from_data(at.to_data(), &device).require_grad();
    let grad = Tensor::<4>::from_data(grad.clone().swap_dims(2, 3).to_data(), &device);
    let gradients = (function(at.clone()).swap_dims(2, 3) * grad).sum().backward();
    at.grad(&gradients).expect("the operation is differentiable here")
}

/// [`gradient`] is what central differences give.
///
/// `function` must be linear, as RoIAlign is in the features and a convolution in each argument: it
/// has no kinks, and a step of 1 has no error but rounding.
fn assert_gradient<const D: usize>(
    function: impl Fn(Tensor<D>) -> Tensor<4>,
    at: &Tensor<D>,
    grad: &Tensor<4>,
    what: &str,
) {
    let device = at.device().autodiff();
    let grads = floats(grad);
    let values: Vec<f32> = at.to_data().iter::<f32>().collect();
    let evaluate = |index: usize, step: f32| -> f64 {
        let mut values = values.clone();
        values[index] += step;
        let output = function(Tensor::from_data(TensorData::new(values, at.dims()), &device));
        floats(&output).iter().zip(&grads).map(|(output, grad)| output * grad).sum()
    };
    let differences: Vec<f64> =
        (0..values.len()).map(|index| (evaluate(index, 1.0) - evaluate(index, -1.0)) / 2.0).collect();
    assert_close(&floats(&gradient(&function, at, grad)), &differences, what);
}

#[test]
fn roi_align_equals_its_reference() {
    const NAN: f32 = f32::NAN;
    let options = |output_size, spatial_scale, sampling_ratio, aligned| RoiAlignOptions {
        output_size,
        spatial_scale,
        sampling_ratio,
        aligned,
    };
    for device in devices() {
        let mut source = Source::new(&device);
        let shape = [2, 5, 7, 11];
        let features = source.random(shape);
        for options in [
            options((3, 2), 1.0, 2, false),
            options((1, 4), 1.0, 0, true),
            options((2, 3), 0.25, 0, false),
            options((2, 2), 0.5, 3, true),
        ] {
            let awkward = [
                [3.0, 3.0, 3.0, 3.0],         // a point
                [2.0, 1.0, 2.0, 6.0],         // a line
                [8.0, 6.0, 2.0, 1.0],         // inverted
                [-1.0, -1.0, 0.0, 0.0],       // the last samples that count
                [10.0, 6.0, 11.0, 7.0],       // the last pixel
                [-20.0, -20.0, -10.0, -10.0], // outside
                [90.0, 90.0, 120.0, 95.0],
                [-300.0, -200.0, 400.0, 300.0], // around everything
                [NAN, 1.0, 5.0, 5.0],
                [1.0, NAN, 5.0, 5.0],
                [1.0, 1.0, NAN, 5.0],
                [1.0, 1.0, 5.0, NAN],
            ];
            let scaled = awkward.map(|box_| box_.map(|side| side / options.spatial_scale));
            let boxes = [scaled.as_slice(), &source.boxes(9, 11.0 / options.spatial_scale)].concat();
            for count in [0, 1, boxes.len()] {
                let what = format!("{count} boxes, {options:?}");
                let image = |index: usize| (index % 3 % 2) as f32;
                let rois = boxes[..count].iter().enumerate();
                let rois = rois.flat_map(|(index, [x1, y1, x2, y2])| [image(index), *x1, *y1, *x2, *y2]);
                let rois = source.tensor(rois.collect(), [count, 5]);

                let expected = reference::roi_align(&Array::from(&features), &rois, options);
                let actual = roi_align(features.clone(), rois.clone(), options);
                assert_close(&floats(&actual), &expected.values, &what);
                let strided = roi_align(non_contiguous(&features), non_contiguous(&rois), options);
                assert_close(&floats(&strided), &expected.values, &format!("{what}, not contiguous"));
                assert_repeatable(|| roi_align(features.clone(), rois.clone(), options), &what);

                let grad = source.random(actual.dims());
                let expected = reference::roi_align_backward(&Array::from(&grad), &rois, shape, options);
                let pool = |features: Tensor<4>| {
                    let rois = Tensor::from_data(rois.to_data(), &features.device());
                    roi_align(features, rois, options)
                };
                let actual = gradient(pool, &features, &grad);
                assert_close(&floats(&actual), &expected.values, &format!("{what}, backward"));
                assert_repeatable(|| gradient(pool, &features, &grad), &format!("{what}, backward"));
                assert_gradient(pool, &features, &grad, &format!("{what}, finite differences"));
            }
        }
    }
}

#[test]
fn batched_nms_equals_its_reference() {
    const NAN: f32 = f32::NAN;
    for device in devices() {
        let mut source = Source::new(&device);
        let awkward = [
            [5.0, 5.0, 5.0, 5.0], // points and lines, twice
            [5.0, 5.0, 5.0, 5.0],
            [2.0, 2.0, 2.0, 9.0],
            [2.0, 2.0, 2.0, 9.0],
            [9.0, 9.0, 1.0, 1.0], // inverted
            [1.0, 9.0, 9.0, 1.0],
            [NAN, 0.0, 10.0, 10.0],
            [0.0, 0.0, 10.0, NAN],
            [NAN; 4],
            [0.0, 0.0, f32::INFINITY, f32::INFINITY],
            [-50.0, -50.0, -40.0, -40.0],
        ];
        // With the first of these boxes, the n-th has an IoU of n tenths.
        let tenths: Vec<[f32; 4]> = (1..=10).rev().map(|n| [0.0, 0.0, n as f32, 1.0]).collect();
        let awkward = [awkward.as_slice(), &tenths].concat();
        let random = source.boxes(300, 100.0);
        let mixed = [awkward.as_slice(), &source.boxes(50, 20.0), &awkward].concat();
        for (boxes, groups) in
            [(&random[..0], 3), (&random[..1], 3), (&tenths[..], 1), (&mixed[..], 2), (&random[..], 4)]
        {
            let count = boxes.len();
            // A few distinct scores, so that many are equal; some are NaN.
            let score = |rng: &mut ChaCha8Rng| match rng.random_range(0..9) {
                8 => NAN,
                step => step as f32 / 8.0,
            };
            let scores = (0..count).map(|_| score(&mut source.rng)).collect();
            let scores: Tensor<1> = source.tensor(scores, [count]);
            let groups: Vec<i64> = (0..count).map(|_| source.rng.random_range(0..groups) - 2).collect();
            let groups = Tensor::<1, Int>::from_data(TensorData::new(groups, [count]), &device);
            let boxes: Tensor<2> = source.tensor(boxes.concat(), [count, 4]);
            for tenth in 0..=10 {
                let threshold = f64::from(tenth) / 10.0;
                let suppress = |boxes: Tensor<2>| {
                    let (scores, groups) = (scores.clone().unsqueeze(), groups.clone().unsqueeze());
                    integers(&batched_nms(boxes.unsqueeze(), scores, groups, threshold))
                };
                let expected = reference::batched_nms(&boxes, &scores, &groups, threshold);
                assert_eq!(suppress(boxes.clone()), expected, "{count} boxes above {threshold}");
                assert_eq!(suppress(non_contiguous(&boxes)), expected, "not contiguous");
            }
            assert_repeatable(
                || {
                    let (scores, groups) = (scores.clone().unsqueeze(), groups.clone().unsqueeze());
                    batched_nms(boxes.clone().unsqueeze(), scores, groups, 0.5).float()
                },
                "batched_nms",
            );
        }
    }
}

#[test]
fn a_threshold_rounds_to_the_next_f32_below() {
    for tenth in 0..=10 {
        let threshold = f64::from(tenth) / 10.0;
        let rounded = round_down(threshold);
        assert!(f64::from(rounded) <= threshold && f64::from(rounded.next_up()) > threshold);
    }
}

#[test]
fn conv2d_and_its_gradients_equal_their_reference() {
    // [N, C in, H, W], [C out, C in, kernel height, kernel width], options
    let options = |stride, padding, dilation| ConvOptions::new(stride, padding, dilation, 1);
    let cases = [
        // One matrix product.
        ([2, 3, 5, 7], [4, 3, 1, 1], options([1, 1], [0, 0], [1, 1])),
        ([2, 70, 33, 35], [40, 70, 1, 1], options([1, 1], [0, 0], [1, 1])),
        // Winograd, with whole and with cut tiles, one and several chunks of them, more channels than lanes.
        ([2, 3, 24, 32], [5, 3, 3, 3], options([1, 1], [1, 1], [1, 1])),
        ([3, 18, 17, 14], [33, 18, 3, 3], options([1, 1], [1, 1], [1, 1])),
        ([70, 2, 3, 2], [3, 2, 3, 3], options([1, 1], [1, 1], [1, 1])),
        ([1, 2, 301, 203], [1, 2, 3, 3], options([1, 1], [1, 1], [1, 1])),
        ([1, 300, 30, 29], [260, 300, 3, 3], options([1, 1], [1, 1], [1, 1])),
        // As wide as the model is, in lines of tiles that do not fill vectors, in several chunks.
        ([2, 512, 58, 57], [5, 512, 3, 3], options([1, 1], [1, 1], [1, 1])),
        ([2, 5, 58, 57], [512, 5, 3, 3], options([1, 1], [1, 1], [1, 1])),
        // Unrolled columns.
        ([2, 3, 5, 7], [4, 3, 1, 1], options([2, 3], [0, 0], [1, 1])),
        ([1, 2, 5, 7], [3, 2, 1, 1], options([1, 1], [1, 2], [1, 1])),
        ([2, 2, 6, 9], [3, 2, 3, 3], options([1, 1], [1, 1], [1, 1])),
        ([2, 2, 6, 9], [3, 2, 3, 2], options([2, 1], [0, 1], [1, 2])),
        ([1, 3, 13, 10], [2, 3, 7, 7], options([2, 2], [3, 3], [1, 1])),
        ([1, 1, 3, 2], [2, 1, 3, 5], options([3, 1], [2, 4], [2, 1])),
        // Nothing in, nothing out.
        ([0, 3, 8, 8], [4, 3, 3, 3], options([1, 1], [1, 1], [1, 1])),
        ([0, 3, 8, 8], [4, 3, 1, 1], options([1, 1], [0, 0], [1, 1])),
        // More pixels than a tile of unrolled columns holds, forward and backward.
        ([1, 64, 134, 133], [2, 64, 3, 3], options([2, 2], [1, 1], [1, 1])),
    ];
    for device in devices() {
        let mut source = Source::new(&device);
        for (x_shape, weight_shape, options) in &cases {
            let what = format!("{x_shape:?} {weight_shape:?} {options:?}");
            let (x, weight) = (source.random(*x_shape), source.random(*weight_shape));
            let bias: Tensor<1> = source.random([weight_shape[0]]);
            let convolve = |x: &Tensor<4>, weight: &Tensor<4>, bias: &Tensor<1>, residual, relu| {
                conv2d(x.clone(), weight.clone(), bias.clone(), residual, relu, options.clone())
            };
            let plain =
                |x: &Tensor<4>, weight: &Tensor<4>, bias: &Tensor<1>| convolve(x, weight, bias, None, false);

            let output = plain(&x, &weight, &bias);
            let slow = reference::Convolution {
                x: *x_shape,
                weight: *weight_shape,
                output: output.dims(),
                options: options.clone(),
            };
            let (x_array, weight_array) = (Array::from(&x), Array::from(&weight));
            let expected = slow.output(&x_array, &weight_array, &Array::from(&bias));
            assert_close(&floats(&output), &expected.values, &what);
            let strided = plain(&non_contiguous(&x), &non_contiguous(&weight), &bias);
            assert_close(&floats(&strided), &expected.values, &format!("{what}, not contiguous"));
            assert_repeatable(|| plain(&x, &weight, &bias), &what);

            let residual: Tensor<4> = source.random(output.dims());
            let fused = convolve(&x, &weight, &bias, Some(non_contiguous(&residual)), true);
            let sums = expected.values.iter().zip(floats(&residual)).map(|(sum, residual)| sum + residual);
            let expected: Vec<f64> = sums.map(|sum| sum.max(0.0)).collect();
            assert_close(&floats(&fused), &expected, &format!("{what}, residual and ReLU"));

            let grad = source.random(output.dims());
            let grad_array = Array::from(&grad);
            let of_x = |x: Tensor<4>| plain(&x, &weight, &bias);
            let of_weight = |weight: Tensor<4>| plain(&x, &weight, &bias);
            let actual = gradient(of_x, &x, &grad);
            let expected = slow.input_gradient(&weight_array, &grad_array);
            assert_close(&floats(&actual), &expected.values, &format!("{what}, gradient of x"));
            assert_repeatable(|| gradient(of_x, &x, &grad), &what);
            let actual = gradient(of_weight, &weight, &grad);
            let expected = slow.weight_gradient(&x_array, &grad_array);
            assert_close(&floats(&actual), &expected.values, &format!("{what}, gradient of the weight"));
            let strided = gradient(|weight| plain(&non_contiguous(&x), &weight, &bias), &weight, &grad);
            assert_close(&floats(&strided), &expected.values, &format!("{what}, not contiguous"));
            assert_repeatable(|| gradient(of_weight, &weight, &grad), &what);

            // ReLU and the residual hand on the gradient where the output is not zero.
            let of_residual = |residual: Tensor<4>| convolve(&x, &weight, &bias, Some(residual), true);
            let actual = gradient(of_residual, &residual, &grad);
            let passed = floats(&fused).into_iter().zip(&grad_array.values);
            let expected: Vec<f64> = passed.map(|(y, grad)| if y > 0.0 { *grad } else { 0.0 }).collect();
            assert_close(&floats(&actual), &expected, &format!("{what}, gradient of the residual"));

            if x.shape().num_elements() < 1000 {
                assert_gradient(of_weight, &weight, &grad, &format!("{what}, weight"));
                assert_gradient(of_x, &x, &grad, &format!("{what}, x"));
                assert_gradient(|bias| plain(&x, &weight, &bias), &bias, &grad, &format!("{what}, bias"));
            }
        }
    }
}

#[test]
fn normalize_and_its_gradients_equal_their_reference() {
    // [N, C, H, W], groups
    let cases = [
        ([0, 4, 3, 3], None),
        ([0, 4, 3, 3], Some(2)),
        ([1, 2, 1, 3], None),
        ([3, 5, 4, 7], None),
        ([2, 3, 9, 17], None),
        ([3, 6, 4, 7], Some(1)),
        ([2, 6, 5, 3], Some(2)),
        ([2, 4, 9, 17], Some(4)),
    ];
    for device in devices() {
        let mut source = Source::new(&device);
        for (shape, groups) in cases {
            let options = NormOptions { groups, epsilon: 1e-3 };
            let what = format!("{shape:?}, {options:?}");
            let x = source.random(shape) * 3.0 + 2.0;
            let (gamma, beta): (Tensor<1>, Tensor<1>) =
                (source.random([shape[1]]), source.random([shape[1]]));
            let plain = |x: &Tensor<4>, gamma: &Tensor<1>, beta: &Tensor<1>| {
                normalize(x.clone(), gamma.clone(), beta.clone(), None, false, options)
            };
            let arrays = (Array::from(&x), Array::from(&gamma), Array::from(&beta));
            let (expected, mean, variance) = reference::normalize(&arrays.0, &arrays.1, &arrays.2, options);
            let (actual, actual_mean, actual_variance) = plain(&x, &gamma, &beta);
            assert_close(&floats(&actual), &expected.values, &what);
            if shape[0] > 0 {
                assert_close(&floats(&actual_mean), &mean, &format!("{what}, mean"));
                assert_close(&floats(&actual_variance), &variance, &format!("{what}, variance"));
            }
            let strided = plain(&non_contiguous(&x), &gamma, &beta).0;
            assert_close(&floats(&strided), &expected.values, &format!("{what}, not contiguous"));
            assert_repeatable(|| plain(&x, &gamma, &beta).0, &what);

            let residual = source.random(shape);
            let fused = |residual: Tensor<4>| {
                normalize(x.clone(), gamma.clone(), beta.clone(), Some(residual), true, options).0
            };
            let sums = expected.values.iter().zip(floats(&residual)).map(|(sum, residual)| sum + residual);
            let expected: Vec<f64> = sums.map(|sum| sum.max(0.0)).collect();
            assert_close(&floats(&fused(non_contiguous(&residual))), &expected, &format!("{what}, ReLU"));
            let grad = source.random(shape);
            let passed = expected.iter().zip(floats(&grad));
            let expected: Vec<f64> = passed.map(|(y, grad)| if *y > 0.0 { grad } else { 0.0 }).collect();
            let actual = gradient(fused, &residual, &grad);
            assert_close(&floats(&actual), &expected, &format!("{what}, gradient of the residual"));

            // The gradients of the f64 reference, by central differences: exact to 1e-8.
            let weighted = |x: &Array<4>, gamma: &Array<1>, beta: &Array<1>| -> f64 {
                let (output, ..) = reference::normalize(x, gamma, beta, options);
                output.values.iter().zip(floats(&grad)).map(|(output, grad)| output * grad).sum()
            };
            let of_x = |x: Tensor<4>| plain(&x, &gamma, &beta).0;
            let differences = central_differences(&arrays.0, |x| weighted(x, &arrays.1, &arrays.2));
            assert_close(
                &floats(&gradient(of_x, &x, &grad)),
                &differences,
                &format!("{what}, gradient of x"),
            );
            assert_repeatable(|| gradient(of_x, &x, &grad), &what);
            let of_gamma = |gamma: Tensor<1>| plain(&x, &gamma, &beta).0;
            let differences = central_differences(&arrays.1, |gamma| weighted(&arrays.0, gamma, &arrays.2));
            assert_close(
                &floats(&gradient(of_gamma, &gamma, &grad)),
                &differences,
                &format!("{what}, of gamma"),
            );
            let of_beta = |beta: Tensor<1>| plain(&x, &gamma, &beta).0;
            let differences = central_differences(&arrays.2, |beta| weighted(&arrays.0, &arrays.1, beta));
            assert_close(
                &floats(&gradient(of_beta, &beta, &grad)),
                &differences,
                &format!("{what}, of beta"),
            );
        }
    }
}

fn central_differences<const D: usize>(at: &Array<D>, function: impl Fn(&Array<D>) -> f64) -> Vec<f64> {
    const STEP: f64 = 1e-4;
    let mut moved = at.clone();
    (0..at.values.len())
        .map(|index| {
            moved.values[index] = at.values[index] + STEP;
            let above = function(&moved);
            moved.values[index] = at.values[index] - STEP;
            let below = function(&moved);
            moved.values[index] = at.values[index];
            (above - below) / (2.0 * STEP)
        })
        .collect()
}
