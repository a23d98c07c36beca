//! A convolution of 1x1 on maps of one pixel, which is a linear layer. Devices that may be a GPU get linear
//! layers in this form, so a worker's CPU does, too. As convolutions, each image would read the whole weight.

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::Shape;
use burn::tensor::ops::ConvOptions;

/// Whether a convolution is a linear layer, by the shapes of its input and its weight and its options.
pub(super) fn suits(x: [usize; 4], weight: [usize; 4], options: &ConvOptions<2>) -> bool {
    let one_pixel = x[2..] == [1, 1] && weight[2..] == [1, 1] && options.padding == [(0, 0); 2];
    one_pixel && options.groups == 1 && x[0] > 0
}

/// `[N, C out, 1, 1]`.
pub(super) fn forward(
    x: FloatTensor<Flex>,
    weight: FloatTensor<Flex>,
    bias: FloatTensor<Flex>,
) -> FloatTensor<Flex> {
    let sums = Flex::float_matmul(matrix(x), Flex::float_transpose(matrix(weight)));
    let outputs = bias.shape()[0];
    let sums = Flex::float_add(sums, Flex::float_reshape(bias, Shape::from([1, outputs])));
    let rows = sums.shape()[0];
    Flex::float_reshape(sums, Shape::from([rows, outputs, 1, 1]))
}

/// Gradient of the input, of that `shape`.
pub(super) fn input_backward(
    weight: FloatTensor<Flex>,
    grad: FloatTensor<Flex>,
    shape: [usize; 4],
) -> FloatTensor<Flex> {
    Flex::float_reshape(Flex::float_matmul(matrix(grad), matrix(weight)), Shape::from(shape))
}

/// Gradient of the weight, of that `shape`.
pub(super) fn weight_backward(
    x: FloatTensor<Flex>,
    grad: FloatTensor<Flex>,
    shape: [usize; 4],
) -> FloatTensor<Flex> {
    let sums = Flex::float_matmul(Flex::float_transpose(matrix(grad)), matrix(x));
    Flex::float_reshape(sums, Shape::from(shape))
}

/// `[A, B, 1, 1]` to `[A, B]`.
fn matrix(tensor: FloatTensor<Flex>) -> FloatTensor<Flex> {
    let shape = tensor.shape();
    Flex::float_reshape(tensor, Shape::from([shape[0], shape[1]]))
}
