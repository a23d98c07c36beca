//! The weight of a convolution, in the form that its device multiplies with.

use burn::module::Module;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData};

use super::cpu;
use super::device::in_host_memory;

/// The weight of a convolution, which [`conv2d`](super::conv2d) takes in either form.
#[derive(Module, Debug)]
pub enum ConvWeight {
    /// `[C out, C in, kernel height, kernel width]`
    Plain(Tensor<4>),
    /// Transformed once, for a convolution that runs more than once; see [`prepared`](Self::prepared).
    Winograd(WinogradWeight),
}

/// The weight of a 3x3 convolution of stride 1, padded by 1, transformed by Winograd's algorithm for the CPU.
#[derive(Module, Debug)]
pub struct WinogradWeight {
    /// `[36, C out, C in]`
    pub(super) values: Tensor<3>,
}

impl ConvWeight {
    /// The form in which the device of `weight`, `[C out, C in, kernel height, kernel width]`, multiplies
    /// fastest.
    ///
    /// On the CPU that is [`Winograd`](Self::Winograd) for a 3x3 convolution of stride 1, padded by 1; it has
    /// four times as many values and is not differentiable. Anything else, and any weight on another device
    /// or under autodiff, stays [`Plain`](Self::Plain).
    pub fn prepared(weight: Tensor<4>, options: &ConvOptions<2>) -> Self {
        let device = weight.device();
        if !Self::is_transformed_for(weight.dims(), options, &device) {
            return Self::Plain(weight);
        }
        let [outputs, inputs, ..] = weight.dims();
        let weight: Vec<f32> = weight.into_data().try_into_vec().expect("weights are f32");
        let values = TensorData::new(cpu::transformed(&weight, [outputs, inputs]), [36, outputs, inputs]);
        Self::Winograd(WinogradWeight { values: Tensor::from_data(values, &device) })
    }

    /// Whether [`prepared`](Self::prepared) transforms a weight of this shape on this device.
    pub(crate) fn is_transformed_for(shape: [usize; 4], options: &ConvOptions<2>, device: &Device) -> bool {
        in_host_memory(device) && !device.is_autodiff() && cpu::transforms(shape, options)
    }

    /// The shape of the plain weight.
    pub fn dims(&self) -> [usize; 4] {
        match self {
            Self::Plain(weight) => weight.dims(),
            Self::Winograd(weight) => {
                let [_, outputs, inputs] = weight.values.dims();
                [outputs, inputs, 3, 3]
            }
        }
    }
}

impl WinogradWeight {
    /// Panics if the options differ from those that the weight was transformed for.
    pub(super) fn assert_serves(&self, options: &ConvOptions<2>) {
        let [_, outputs, inputs] = self.values.dims();
        assert!(
            cpu::transforms([outputs, inputs, 3, 3], options),
            "a transformed weight is for stride 1, padding 1 and dilation 1, got {options:?}"
        );
    }
}

impl From<Tensor<4>> for ConvWeight {
    fn from(weight: Tensor<4>) -> Self {
        Self::Plain(weight)
    }
}
