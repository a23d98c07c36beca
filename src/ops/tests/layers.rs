//! Norms and max pooling.

use burn::tensor::{Device, Tensor};

use super::reference::{self, Array};
use super::{
    Places, Source, assert_close, assert_differences, assert_repeatable, floats, gradient, non_contiguous,
};
use crate::ops::{Fused, NormOptions, PoolOptions, in_host_memory, max_pool2d, normalize};

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
