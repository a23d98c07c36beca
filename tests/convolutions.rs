//! Every distinct convolution of Faster R-CNN ResNet-50-FPN on one image of 640x640, forward and backward,
//! against sums in f64: how exact each algorithm is on the shapes that it is used for.

use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData};
use faster_rcnn::internals::conv2d_uses_winograd;
use faster_rcnn::ops::{ConvWeight, Fused, conv2d};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Most that a value may be off, of the root mean square of all. The longest sums, of 25,600 products in a
/// gradient of the weight, are made of partial sums of at most 2,048, so that their errors add up no further
/// than those of the others.
const MATRIX_PRODUCT: f64 = 1e-5;
/// Of transforms with factors up to 2 sqrt(2), twice each way.
const WINOGRAD: f64 = 3e-5;
/// Values that are looked at, of each result.
const SAMPLES: usize = 300;

/// A square map and kernel, padded as the model does: `kernel / 2`.
struct Case {
    side: usize,
    kernel: usize,
    stride: usize,
}

#[rustfmt::skip]
const CASES: [[usize; 5]; 36] = [
    // C in, side, C out, kernel, stride
    // ResNet-50
    [3, 640, 64, 7, 2],
    [64, 160, 64, 1, 1], [64, 160, 64, 3, 1], [64, 160, 256, 1, 1], [256, 160, 64, 1, 1],
    [256, 160, 128, 1, 1], [128, 160, 128, 3, 2], [128, 80, 512, 1, 1], [256, 160, 512, 1, 2],
    [512, 80, 128, 1, 1], [128, 80, 128, 3, 1],
    [512, 80, 256, 1, 1], [256, 80, 256, 3, 2], [256, 40, 1024, 1, 1], [512, 80, 1024, 1, 2],
    [1024, 40, 256, 1, 1], [256, 40, 256, 3, 1],
    [1024, 40, 512, 1, 1], [512, 40, 512, 3, 2], [512, 20, 2048, 1, 1], [1024, 40, 2048, 1, 2],
    [2048, 20, 512, 1, 1], [512, 20, 512, 3, 1],
    // FPN and RPN
    [2048, 20, 256, 1, 1], [256, 160, 256, 1, 1],
    [256, 10, 256, 3, 1], [256, 20, 256, 3, 1], [256, 80, 256, 3, 1], [256, 160, 256, 3, 1],
    [256, 10, 3, 1, 1], [256, 20, 3, 1, 1], [256, 160, 3, 1, 1],
    [256, 10, 12, 1, 1], [256, 40, 12, 1, 1], [256, 80, 12, 1, 1], [256, 160, 12, 1, 1],
];

impl Case {
    fn side_out(&self) -> usize {
        (self.side + self.kernel / 2 * 2 - self.kernel) / self.stride + 1
    }

    /// The input pixel that an output pixel sees at a position of the kernel, along one axis.
    fn source(&self, output: usize, position: usize) -> Option<usize> {
        (output * self.stride + position).checked_sub(self.kernel / 2).filter(|pixel| *pixel < self.side)
    }
}

#[test]
fn convolutions_of_the_model_are_as_exact_as_their_algorithm() {
    let mut random = ChaCha8Rng::seed_from_u64(0);
    for [inputs, side, outputs, kernel, stride] in CASES {
        let case = Case { side, kernel, stride };
        let side_out = case.side_out();
        // As after a ReLU, so that nothing cancels in the mean; weights and gradients of both signs.
        let x: Vec<f32> = (0..inputs * side * side).map(|_| random.random_range(0.0..1.0)).collect();
        let weight: Vec<f32> =
            (0..outputs * inputs * kernel * kernel).map(|_| random.random_range(-1.0..1.0)).collect();
        let grad: Vec<f32> =
            (0..outputs * side_out * side_out).map(|_| random.random_range(-1.0..1.0)).collect();

        let device = Device::flex().autodiff();
        let tensor = |values: &[f32], shape: [usize; 4]| {
            Tensor::<4>::from_data(TensorData::new(values.to_vec(), shape), &device).require_grad()
        };
        let (x_tensor, weight_tensor) =
            (tensor(&x, [1, inputs, side, side]), tensor(&weight, [outputs, inputs, kernel, kernel]));
        let grad_tensor = tensor(&grad, [1, outputs, side_out, side_out]);
        let options = ConvOptions::new([stride; 2], [kernel / 2; 2], [1, 1], 1);
        let winograd = conv2d_uses_winograd(x_tensor.dims(), weight_tensor.dims(), &options);
        let bias = Tensor::zeros([outputs], &device);
        let output = conv2d(x_tensor.clone(), weight_tensor.clone(), bias, options.clone(), Fused::default());
        let gradients = (output.clone() * grad_tensor).sum().backward();
        let values = |tensor: Tensor<4>| tensor.into_data().iter::<f32>().map(f64::from).collect::<Vec<_>>();
        let of_x = values(x_tensor.grad(&gradients).unwrap());
        let of_weight = values(weight_tensor.grad(&gradients).unwrap());
        let output = values(output);

        let product = |a: f32, b: f32| f64::from(a) * f64::from(b);
        let kernel_positions = || (0..kernel).flat_map(|v| (0..kernel).map(move |u| (v, u)));
        let pixel = |y: usize, x: usize, v, u| Some((case.source(y, v)?, case.source(x, u)?));

        let check = |what: &str, winograd: bool, results: Vec<(f64, f64)>| {
            let squares = results.iter().map(|(_, expected)| expected * expected).sum::<f64>();
            let size = (squares / results.len() as f64).sqrt();
            let error =
                results.iter().map(|(actual, expected)| (actual - expected).abs()).fold(0.0, f64::max) / size;
            let bound = if winograd { WINOGRAD } else { MATRIX_PRODUCT };
            println!(
                "{inputs}x{side}x{side}, {outputs}x{kernel}x{kernel}/{stride}, {what}: {error:.1e} of {bound:.0e}"
            );
            assert!(
                error <= bound,
                "{inputs}x{side}x{side} {outputs}x{kernel}x{kernel}/{stride} {what}: {error:e}"
            );
        };

        let mut sample =
            |length: usize, actual: &[f64], expected: &dyn Fn(usize) -> f64| -> Vec<(f64, f64)> {
                let indices = (0..SAMPLES).map(|_| random.random_range(0..length));
                indices.map(|index| (actual[index], expected(index))).collect()
            };
        let forward = |index: usize| -> f64 {
            let (channel, row, column) = split(index, side_out);
            let terms = (0..inputs).flat_map(|input| kernel_positions().map(move |(v, u)| (input, v, u)));
            let terms = terms.filter_map(|(input, v, u)| {
                let (y, x_) = pixel(row, column, v, u)?;
                let place = ((channel * inputs + input) * kernel + v) * kernel + u;
                Some(product(x[(input * side + y) * side + x_], weight[place]))
            });
            terms.sum()
        };
        check("forward", winograd, sample(output.len(), &output, &forward));
        // The weight of a model that is prepared for inference. Winograd's algorithm computes it on maps of
        // any size.
        let prepared = ConvWeight::prepared(weight_tensor.inner(), &options);
        let is_transformed = matches!(prepared, ConvWeight::Winograd(_));
        let bias = Tensor::zeros([outputs], &device.clone().without_autodiff());
        let output = values(conv2d(x_tensor.inner(), prepared, bias, options, Fused::default()));
        check("forward, prepared", is_transformed, sample(output.len(), &output, &forward));
        let of_weight_exact = |index: usize| -> f64 {
            let (connection, v, u) = split(index, kernel);
            let (channel, input) = (connection / inputs, connection % inputs);
            let terms = (0..side_out * side_out).filter_map(|place| {
                let (y, x_) = pixel(place / side_out, place % side_out, v, u)?;
                Some(product(x[(input * side + y) * side + x_], grad[channel * side_out * side_out + place]))
            });
            terms.sum()
        };
        check("gradient of the weight", winograd, sample(of_weight.len(), &of_weight, &of_weight_exact));
        let of_x_exact = |index: usize| -> f64 {
            let (input, y, x_) = split(index, side);
            let seen = |pixel: usize, position: usize| {
                let steps = (pixel + kernel / 2).checked_sub(position)?;
                Some(steps / stride).filter(|output| steps.is_multiple_of(stride) && *output < side_out)
            };
            let terms =
                (0..outputs).flat_map(|channel| kernel_positions().map(move |(v, u)| (channel, v, u)));
            let terms = terms.filter_map(|(channel, v, u)| {
                let place = (channel * side_out + seen(y, v)?) * side_out + seen(x_, u)?;
                Some(product(grad[place], weight[((channel * inputs + input) * kernel + v) * kernel + u]))
            });
            terms.sum()
        };
        check("gradient of the input", winograd, sample(of_x.len(), &of_x, &of_x_exact));
    }
}

/// Plane, row and column of an element, in planes of `side` x `side`.
fn split(index: usize, side: usize) -> (usize, usize, usize) {
    (index / (side * side), index / side % side, index % side)
}
