//! Convolutions.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor};

use super::reference::{self, Array};
use super::{
    Places, Source, assert_close, assert_differences, assert_repeatable, floats, gradient, non_contiguous, on,
};
use crate::ops::options::conv2d_shape;
use crate::ops::{ConvWeight, Fused, conv2d, in_host_memory};

/// `[N, C in, H, W]`, `[C out, C in, kernel height, kernel width]`, stride, padding, dilation.
type Shapes = ([usize; 4], [usize; 4], [usize; 2], [usize; 2], [usize; 2]);

#[test]
fn conv2d_and_its_gradients_equal_their_reference() {
    check(&[
        // One matrix product.
        ([2, 3, 5, 7], [4, 3, 1, 1], [1, 1], [0, 0], [1, 1]),
        // Winograd, with whole and with cut tiles, more channels than lanes.
        ([2, 3, 24, 32], [5, 3, 3, 3], [1, 1], [1, 1], [1, 1]),
        ([3, 18, 17, 14], [33, 18, 3, 3], [1, 1], [1, 1], [1, 1]),
        ([70, 2, 3, 2], [3, 2, 3, 3], [1, 1], [1, 1], [1, 1]),
        // Unrolled columns.
        ([2, 3, 5, 7], [4, 3, 1, 1], [2, 3], [0, 0], [1, 1]),
        ([1, 2, 5, 7], [3, 2, 1, 1], [1, 1], [1, 2], [1, 1]),
        ([2, 2, 6, 9], [3, 2, 3, 3], [1, 1], [1, 1], [1, 1]),
        ([2, 2, 6, 9], [3, 2, 3, 2], [2, 1], [0, 1], [1, 2]),
        ([1, 3, 13, 10], [2, 3, 7, 7], [2, 2], [3, 3], [1, 1]),
        ([1, 1, 3, 2], [2, 1, 3, 5], [3, 1], [2, 4], [2, 1]),
        // Nothing in, nothing out.
        ([0, 3, 8, 8], [4, 3, 3, 3], [1, 1], [1, 1], [1, 1]),
        ([0, 3, 8, 8], [4, 3, 1, 1], [1, 1], [0, 0], [1, 1]),
    ]);
}

#[test]
fn conv2d_of_large_maps_equals_its_reference() {
    check(&[
        // One matrix product in several tiles.
        ([2, 70, 33, 35], [40, 70, 1, 1], [1, 1], [0, 0], [1, 1]),
        // Winograd in several chunks of tiles.
        ([1, 2, 301, 203], [1, 2, 3, 3], [1, 1], [1, 1], [1, 1]),
        ([1, 300, 30, 29], [260, 300, 3, 3], [1, 1], [1, 1], [1, 1]),
        // As wide as the model is, in lines of tiles that do not fill vectors.
        ([2, 512, 58, 57], [5, 512, 3, 3], [1, 1], [1, 1], [1, 1]),
        ([2, 5, 58, 57], [512, 5, 3, 3], [1, 1], [1, 1], [1, 1]),
        // More pixels than a tile of unrolled columns holds, forward and backward.
        ([1, 64, 134, 133], [2, 64, 3, 3], [2, 2], [1, 1], [1, 1]),
    ]);
}

fn check(cases: &[Shapes]) {
    let (places, mut source) = (Places::new(), Source::new(&Device::flex()));
    for shapes in cases {
        let case = Case::new(&mut source, *shapes);
        let expected = Expected::new(&case);
        places.for_each(|device| {
            let case = case.on(device);
            case.check_forward(&expected);
            case.check_gradients(&expected);
            if case.x.shape().num_elements() < 1000 {
                case.check_differences();
            }
        });
    }
}

/// One convolution, with the gradient of its output.
struct Case {
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    residual: Tensor<4>,
    grad: Tensor<4>,
    options: ConvOptions<2>,
}

/// What the reference gives, in f64.
struct Expected {
    output: Vec<f64>,
    /// With the residual, then ReLU.
    fused: Vec<f64>,
    input_gradient: Vec<f64>,
    weight_gradient: Vec<f64>,
    bias_gradient: Vec<f64>,
}

impl Expected {
    fn new(case: &Case) -> Self {
        let slow = case.reference();
        let (x, weight, bias) = (Array::from(&case.x), Array::from(&case.weight), Array::from(&case.bias));
        let grad = Array::from(&case.grad);
        let output = slow.output(&x, &weight, &bias).values;
        let sums = output.iter().zip(floats(&case.residual)).map(|(sum, residual)| sum + residual);
        Self {
            fused: sums.map(|sum| sum.max(0.0)).collect(),
            output,
            input_gradient: slow.input_gradient(&weight, &grad).values,
            weight_gradient: slow.weight_gradient(&x, &grad).values,
            bias_gradient: slow.bias_gradient(&grad).values,
        }
    }
}

impl Case {
    fn new(source: &mut Source, (x, weight, stride, padding, dilation): Shapes) -> Self {
        let options = ConvOptions::new(stride, padding, dilation, 1);
        let output = conv2d_shape(x, weight, &options);
        Self {
            x: source.random(x),
            weight: source.random(weight),
            bias: source.random([weight[0]]),
            residual: source.random(output),
            grad: source.random(output),
            options,
        }
    }

    fn on(&self, device: &Device) -> Self {
        Self {
            x: on(device, &self.x),
            weight: on(device, &self.weight),
            bias: on(device, &self.bias),
            residual: on(device, &self.residual),
            grad: on(device, &self.grad),
            options: self.options.clone(),
        }
    }

    fn reference(&self) -> reference::Convolution {
        reference::Convolution {
            x: self.x.dims(),
            weight: self.weight.dims(),
            output: self.grad.dims(),
            options: self.options.clone(),
        }
    }

    fn what(&self, which: &str) -> String {
        let (x, weight) = (self.x.dims(), self.weight.dims());
        format!("{x:?} {weight:?} {:?} on {:?}, {which}", self.options, self.x.device())
    }

    fn conv2d(&self, x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>, fused: Fused) -> Tensor<4> {
        conv2d(x, weight, bias, self.options.clone(), fused)
    }

    fn of_x(&self, x: Tensor<4>) -> Tensor<4> {
        self.conv2d(x, self.weight.clone(), self.bias.clone(), Fused::default())
    }

    fn of_weight(&self, weight: Tensor<4>) -> Tensor<4> {
        self.conv2d(self.x.clone(), weight, self.bias.clone(), Fused::default())
    }

    fn of_bias(&self, bias: Tensor<1>) -> Tensor<4> {
        self.conv2d(self.x.clone(), self.weight.clone(), bias, Fused::default())
    }

    /// Ends with a ReLU.
    fn of_residual(&self, residual: Tensor<4>) -> Tensor<4> {
        let fused = Fused::default().plus(residual).relu();
        self.conv2d(self.x.clone(), self.weight.clone(), self.bias.clone(), fused)
    }

    fn check_forward(&self, expected: &Expected) {
        let plain = || self.of_x(self.x.clone());
        assert_close(&floats(&plain()), &expected.output, &self.what("forward"));
        assert_repeatable(plain, &self.what("forward"));
        let (x, weight) = (non_contiguous(&self.x), non_contiguous(&self.weight));
        let strided = self.conv2d(x, weight, self.bias.clone(), Fused::default());
        assert_close(&floats(&strided), &expected.output, &self.what("not contiguous"));
        let fused = self.of_residual(non_contiguous(&self.residual));
        assert_close(&floats(&fused), &expected.fused, &self.what("residual and ReLU"));
    }

    fn check_gradients(&self, expected: &Expected) {
        let grad = &self.grad;
        let of_x = || gradient(|x| self.of_x(x), &self.x, grad);
        assert_close(&floats(&of_x()), &expected.input_gradient, &self.what("gradient of x"));
        assert_repeatable(of_x, &self.what("gradient of x"));
        let of_weight = || gradient(|weight| self.of_weight(weight), &self.weight, grad);
        let what = self.what("gradient of the weight");
        assert_close(&floats(&of_weight()), &expected.weight_gradient, &what);
        assert_repeatable(of_weight, &what);
        let strided = Self { x: non_contiguous(&self.x), ..self.on(&self.x.device()) };
        let actual = gradient(|weight| strided.of_weight(weight), &self.weight, grad);
        assert_close(&floats(&actual), &expected.weight_gradient, &format!("{what}, not contiguous"));
        let actual = gradient(|bias| self.of_bias(bias), &self.bias, grad);
        assert_close(&floats(&actual), &expected.bias_gradient, &self.what("gradient of the bias"));

        // ReLU and the residual hand on the gradient where the output is not zero.
        let output = floats(&self.of_residual(self.residual.clone()));
        let passed = output.into_iter().zip(floats(grad));
        let expected: Vec<f64> = passed.map(|(y, grad)| if y > 0.0 { grad } else { 0.0 }).collect();
        let actual = gradient(|residual| self.of_residual(residual), &self.residual, grad);
        assert_close(&floats(&actual), &expected, &self.what("gradient of the residual"));
    }

    fn check_differences(&self) {
        let (slow, grads) = (self.reference(), floats(&self.grad));
        let (x, weight, bias) = (Array::from(&self.x), Array::from(&self.weight), Array::from(&self.bias));
        let actual = gradient(|x| self.of_x(x), &self.x, &self.grad);
        let function = |x: &Array<4>| slow.output(x, &weight, &bias).dot(&grads);
        assert_differences(&actual, &x, function, &self.what("x"));
        let actual = gradient(|weight| self.of_weight(weight), &self.weight, &self.grad);
        let function = |weight: &Array<4>| slow.output(&x, weight, &bias).dot(&grads);
        assert_differences(&actual, &weight, function, &self.what("weight"));
        let actual = gradient(|bias| self.of_bias(bias), &self.bias, &self.grad);
        let function = |bias: &Array<1>| slow.output(&x, &weight, bias).dot(&grads);
        assert_differences(&actual, &bias, function, &self.what("bias"));
    }
}

/// A prepared weight gives what the plain one gives, also on maps too small for Winograd's algorithm to pay
/// once.
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

/// A transformed weight is never taken for a plain one: neither if gradients are requested, nor with other
/// options.
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
