//! A convolution's weight as the kernel multiplies with it, for one that is used more than once.

use burn::backend::Dispatch;
use burn::module::Module;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData};

use super::{DetectionOps, cpu, in_host_memory};

/// The weight of a 3x3 convolution of stride 1, padded by 1, transformed by Winograd's algorithm for the CPU.
#[derive(Module, Debug)]
pub struct TransformedWeight {
    /// `[36, C out, C in]`
    values: Tensor<3>,
}

impl TransformedWeight {
    /// Whether a weight of this shape is transformed; else the device or the algorithm takes it as it is.
    pub fn serves(shape: [usize; 4], options: &ConvOptions<2>, device: &Device) -> bool {
        in_host_memory(device) && !device.is_autodiff() && cpu::transforms(shape, options)
    }

    /// Transforms `[C out, C in, 3, 3]`; none where it does not [serve](Self::serves).
    pub fn new(weight: &Tensor<4>, options: &ConvOptions<2>) -> Option<Self> {
        let device = weight.device();
        if !Self::serves(weight.dims(), options, &device) {
            return None;
        }
        let [outputs, inputs, ..] = weight.dims();
        let weight: Vec<f32> = weight.to_data().try_into_vec().expect("weights are f32");
        let values = TensorData::new(cpu::transformed(&weight, [outputs, inputs]), [36, outputs, inputs]);
        Some(Self { values: Tensor::from_data(values, &device) })
    }

    /// [`conv2d`](super::conv2d) with this weight, not differentiable.
    pub fn conv2d(
        &self,
        x: Tensor<4>,
        bias: Tensor<1>,
        residual: Option<Tensor<4>>,
        relu: bool,
    ) -> Tensor<4> {
        let ([_, channels, ..], [_, outputs, inputs]) = (x.dims(), self.values.dims());
        assert!(
            channels == inputs && bias.dims() == [outputs],
            "a convolution of {inputs} to {outputs} channels got {:?}, {:?}",
            x.dims(),
            bias.dims()
        );
        Tensor::from_dispatch(<Dispatch as DetectionOps>::convolution(
            x.into_dispatch(),
            self.values.clone().into_dispatch(),
            bias.into_dispatch(),
            residual.into(),
            relu,
            ConvOptions::new([1, 1], [1, 1], [1, 1], 1),
        ))
    }
}
