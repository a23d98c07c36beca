//! Convolutions and norms.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor};

use super::reference::{self, Array};
use super::{
    Places, Source, assert_close, assert_differences, assert_repeatable, floats, gradient, non_contiguous, on,
};
use crate::ops::options::conv2d_shape;
use crate::ops::{
    ConvWeight, Fused, NormOptions, PoolOptions, conv2d, in_host_memory, max_pool2d, normalize,
};

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
    let (places, mut source) = (Places::new(), Source::new(&Device::flex()));
    for (x_shape, weight_shape, options) in cases {
        let (x, weight) = (source.random(x_shape), source.random(weight_shape));
        let bias: Tensor<1> = source.random([weight_shape[0]]);
        let shape = conv2d_shape(x_shape, weight_shape, &options);
        let (residual, grad) = (source.random(shape), source.random(shape));
        let slow = reference::Convolution {
            x: x_shape,
            weight: weight_shape,
            output: shape,
            options: options.clone(),
        };
        let (x_array, weight_array, bias_array) = (Array::from(&x), Array::from(&weight), Array::from(&bias));
        let output = slow.output(&x_array, &weight_array, &bias_array).values;
        let sums = output.iter().zip(floats(&residual)).map(|(sum, residual)| sum + residual);
        let residual_and_relu: Vec<f64> = sums.map(|sum| sum.max(0.0)).collect();
        let grad_array = Array::from(&grad);
        let input_gradient = slow.input_gradient(&weight_array, &grad_array).values;
        let weight_gradient = slow.weight_gradient(&x_array, &grad_array).values;
        let bias_gradient = slow.bias_gradient(&grad_array).values;

        places.for_each(|device| {
            let what =
                |which: &str| format!("{x_shape:?} {weight_shape:?} {options:?} on {device:?}, {which}");
            let (x, weight, bias) = (on(device, &x), on(device, &weight), on(device, &bias));
            let (residual, grad) = (on(device, &residual), on(device, &grad));
            let convolve = |x: &Tensor<4>, weight: &Tensor<4>, bias: &Tensor<1>, fused| {
                conv2d(x.clone(), weight.clone(), bias.clone(), options.clone(), fused)
            };
            let plain = |x: &Tensor<4>, weight: &Tensor<4>, bias: &Tensor<1>| {
                convolve(x, weight, bias, Fused::default())
            };
            assert_close(&floats(&plain(&x, &weight, &bias)), &output, &what("forward"));
            let strided = plain(&non_contiguous(&x), &non_contiguous(&weight), &bias);
            assert_close(&floats(&strided), &output, &what("not contiguous"));
            assert_repeatable(|| plain(&x, &weight, &bias), &what("forward"));
            let fused = convolve(&x, &weight, &bias, Fused::default().plus(non_contiguous(&residual)).relu());
            assert_close(&floats(&fused), &residual_and_relu, &what("residual and ReLU"));

            let of_x = |x: Tensor<4>| plain(&x, &weight, &bias);
            assert_close(&floats(&gradient(of_x, &x, &grad)), &input_gradient, &what("gradient of x"));
            assert_repeatable(|| gradient(of_x, &x, &grad), &what("gradient of x"));
            let of_weight = |weight: Tensor<4>| plain(&x, &weight, &bias);
            let actual = floats(&gradient(of_weight, &weight, &grad));
            assert_close(&actual, &weight_gradient, &what("gradient of the weight"));
            let strided = gradient(|weight| plain(&non_contiguous(&x), &weight, &bias), &weight, &grad);
            assert_close(
                &floats(&strided),
                &weight_gradient,
                &what("gradient of the weight, not contiguous"),
            );
            assert_repeatable(|| gradient(of_weight, &weight, &grad), &what("gradient of the weight"));
            let of_bias = |bias: Tensor<1>| plain(&x, &weight, &bias);
            let actual = floats(&gradient(of_bias, &bias, &grad));
            assert_close(&actual, &bias_gradient, &what("gradient of the bias"));

            // ReLU and the residual hand on the gradient where the output is not zero.
            let of_residual =
                |residual: Tensor<4>| convolve(&x, &weight, &bias, Fused::default().plus(residual).relu());
            let passed = floats(&fused).into_iter().zip(&grad_array.values);
            let expected: Vec<f64> = passed.map(|(y, grad)| if y > 0.0 { *grad } else { 0.0 }).collect();
            let actual = floats(&gradient(of_residual, &residual, &grad));
            assert_close(&actual, &expected, &what("gradient of the residual"));

            if x.shape().num_elements() < 1000 {
                let grads = &grad_array.values;
                let of_x_64 = |x: &Array<4>| slow.output(x, &weight_array, &bias_array).dot(grads);
                assert_differences(&gradient(of_x, &x, &grad), &x_array, of_x_64, &what("x"));
                let of_weight_64 = |weight: &Array<4>| slow.output(&x_array, weight, &bias_array).dot(grads);
                let actual = gradient(of_weight, &weight, &grad);
                assert_differences(&actual, &weight_array, of_weight_64, &what("weight"));
                let of_bias_64 = |bias: &Array<1>| slow.output(&x_array, &weight_array, bias).dot(grads);
                assert_differences(&gradient(of_bias, &bias, &grad), &bias_array, of_bias_64, &what("bias"));
            }
        });
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
        // As many elements in a set as a large image has.
        ([1, 1, 301, 203], None),
    ];
    Places::new().for_each(|device| {
        let mut source = Source::new(device);
        for (shape, groups) in cases {
            let options = NormOptions { groups, epsilon: 1e-3 };
            let what = format!("{shape:?}, {options:?}");
            let spread = source.random(shape);
            let x = spread.clone() * 3.0 + 2.0;
            let (gamma, beta): (Tensor<1>, Tensor<1>) =
                (source.random([shape[1]]), source.random([shape[1]]));
            let plain = |x: &Tensor<4>, gamma: &Tensor<1>, beta: &Tensor<1>| {
                normalize(x.clone(), gamma.clone(), beta.clone(), options, Fused::default())
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
                normalize(
                    x.clone(),
                    gamma.clone(),
                    beta.clone(),
                    options,
                    Fused::default().plus(residual).relu(),
                )
                .0
            };
            let sums = expected.values.iter().zip(floats(&residual)).map(|(sum, residual)| sum + residual);
            let expected: Vec<f64> = sums.map(|sum| sum.max(0.0)).collect();
            assert_close(&floats(&fused(non_contiguous(&residual))), &expected, &format!("{what}, ReLU"));
            // Of one sign and in step with x, so that no sum over a large map cancels.
            let grad = source.random(shape) + spread + 1.0;
            let passed = expected.iter().zip(floats(&grad));
            let expected: Vec<f64> = passed.map(|(y, grad)| if *y > 0.0 { grad } else { 0.0 }).collect();
            let actual = gradient(fused, &residual, &grad);
            assert_close(&floats(&actual), &expected, &format!("{what}, gradient of the residual"));

            let grads = floats(&grad);
            let weighted = |x: &Array<4>, gamma: &Array<1>, beta: &Array<1>| -> f64 {
                reference::normalize(x, gamma, beta, options).0.dot(&grads)
            };
            let of_x = |x: Tensor<4>| plain(&x, &gamma, &beta).0;
            let function = |x: &Array<4>| weighted(x, &arrays.1, &arrays.2);
            assert_differences(&gradient(of_x, &x, &grad), &arrays.0, function, &format!("{what}, of x"));
            assert_repeatable(|| gradient(of_x, &x, &grad), &what);
            let of_gamma = |gamma: Tensor<1>| plain(&x, &gamma, &beta).0;
            let function = |gamma: &Array<1>| weighted(&arrays.0, gamma, &arrays.2);
            let actual = gradient(of_gamma, &gamma, &grad);
            assert_differences(&actual, &arrays.1, function, &format!("{what}, of gamma"));
            let of_beta = |beta: Tensor<1>| plain(&x, &gamma, &beta).0;
            let function = |beta: &Array<1>| weighted(&arrays.0, &arrays.1, beta);
            let actual = gradient(of_beta, &beta, &grad);
            assert_differences(&actual, &arrays.2, function, &format!("{what}, of beta"));
        }
    });
}

/// A prepared weight gives what the plain one gives, also on maps too small for Winograd's algorithm to pay once.
#[test]
fn a_prepared_weight_convolves_as_the_weight_does() {
    let options = |stride, padding| ConvOptions::new([stride; 2], [padding; 2], [1, 1], 1);
    // N, C in, C out, H, W; kernel, stride; whether the CPU transforms the weight
    let cases = [
        ([1, 3, 5, 1, 1], 3, 1, true),
        ([2, 17, 33, 10, 9], 3, 1, true),
        ([1, 4, 2, 33, 30], 3, 1, true),
        ([0, 2, 3, 8, 8], 3, 1, true),
        ([2, 3, 4, 10, 9], 3, 2, false),
        ([2, 3, 4, 10, 9], 1, 1, false),
    ];
    Places::new().for_each(|device| {
        let mut source = Source::new(device);
        for ([batch, inputs, outputs, height, width], kernel, stride, transformed) in cases {
            let options = options(stride, kernel / 2);
            let x = source.random([batch, inputs, height, width]);
            let (weight, bias) = (source.random([outputs, inputs, kernel, kernel]), source.random([outputs]));
            let prepared = ConvWeight::prepared(weight.clone(), &options);
            let is_transformed = matches!(prepared, ConvWeight::Winograd(_));
            assert_eq!(
                is_transformed,
                transformed && in_host_memory(device),
                "{kernel} / {stride} on {device:?}"
            );
            assert_eq!(prepared.dims(), weight.dims());
            let output = conv2d_shape(x.dims(), weight.dims(), &options);
            let residual: Tensor<4> = source.random(output);
            let slow = reference::Convolution {
                x: x.dims(),
                weight: weight.dims(),
                output,
                options: options.clone(),
            };
            let expected = slow.output(&Array::from(&x), &Array::from(&weight), &Array::from(&bias));
            let sums = expected.values.iter().zip(floats(&residual)).map(|(sum, residual)| sum + residual);
            let expected: Vec<f64> = sums.map(|sum| sum.max(0.0)).collect();
            let fused = Fused::default().plus(residual).relu();
            let actual = conv2d(non_contiguous(&x), prepared, bias, options, fused);
            assert_close(&floats(&actual), &expected, &format!("{:?} on {device:?}", x.dims()));
        }
    });
}

/// A transformed weight is never taken for a plain one: not where gradients are asked for, not with other options.
#[test]
fn a_transformed_weight_in_the_wrong_place_is_refused() {
    let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
    let device = Device::flex();
    let weight = || ConvWeight::prepared(Tensor::<4>::ones([2, 3, 3, 3], &device), &options);
    let message = |device: &Device, options: &ConvOptions<2>| {
        let (x, bias) = (Tensor::<4>::ones([1, 3, 8, 8], device), Tensor::<1>::zeros([2], device));
        let run = AssertUnwindSafe(|| conv2d(x, weight(), bias, options.clone(), Fused::default()));
        *catch_unwind(run).expect_err("this must panic").downcast::<String>().expect("a message")
    };
    let refused = message(&device.clone().autodiff(), &options);
    assert!(refused.contains("without autodiff"), "{refused}");
    let refused = message(&device, &ConvOptions::new([2, 2], [1, 1], [1, 1], 1));
    assert!(refused.contains("stride 1, padding 1"), "{refused}");
    assert!(matches!(
        ConvWeight::prepared(Tensor::<4>::ones([2, 3, 3, 3], &device.autodiff()), &options),
        ConvWeight::Plain(_)
    ));
}

#[test]
fn max_pool2d_and_its_gradient_equal_their_reference() {
    let cases = [
        // [N, C, H, W], kernel, stride, padding
        ([2, 3, 12, 17], [3, 3], [2, 2], [1, 1]),
        ([2, 3, 11, 40], [3, 3], [2, 2], [1, 1]),
        ([1, 2, 10, 9], [1, 1], [2, 2], [0, 0]),
        ([1, 2, 7, 12], [2, 5], [3, 1], [1, 2]),
        ([1, 1, 1, 1], [3, 3], [2, 2], [1, 1]),
        ([1, 1, 1, 2], [2, 2], [1, 4], [1, 1]),
        ([0, 2, 6, 6], [3, 3], [2, 2], [1, 1]),
    ];
    Places::new().for_each(|device| {
        let mut source = Source::new(device);
        for (shape, kernel, stride, padding) in cases {
            let options = PoolOptions { kernel, stride, padding };
            let what = format!("{shape:?} {options:?}");
            if shape[0] == 0 && !in_host_memory(device) {
                continue; // burn's kernels are not launched for nothing
            }
            let x: Tensor<4> = source.random(shape);
            let output = max_pool2d(x.clone(), options);
            let grad: Tensor<4> = source.random(output.dims());
            let (x_array, grad_array) = (Array::from(&x), Array::from(&grad));
            let (expected, expected_grad) = reference::max_pool2d(&x_array, &grad_array, options);
            assert_eq!(floats(&output), expected.values, "{what}");
            assert_eq!(floats(&max_pool2d(non_contiguous(&x), options)), expected.values, "{what}, strided");
            if shape[0] > 0 {
                let pool = |x: Tensor<4>| max_pool2d(x, options);
                let actual = gradient(pool, &x, &grad);
                assert_close(&floats(&actual), &expected_grad.values, &format!("{what}, gradient"));
                assert_repeatable(|| gradient(pool, &x, &grad), &what);
            }
        }
    });
    // NaN is the highest, and of equal values the first gets the gradient.
    let device = Device::flex().autodiff();
    let x = Tensor::<4>::from_floats([[[[1.0, 1.0, 0.0, f32::NAN, 2.0, 3.0]]]], &device).require_grad();
    let options = PoolOptions { kernel: [1, 3], stride: [1, 3], padding: [0, 0] };
    let output = max_pool2d(x.clone(), options);
    let values = floats(&output);
    assert!(values[0] == 1.0 && values[1].is_nan(), "{values:?}");
    let grad = x.grad(&output.sum().backward()).expect("pooling is differentiable");
    assert_eq!(floats(&grad), [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
}
