//! Seeded weight initialisation: ChaCha8, so that a seed gives the same weights on every machine.

use burn::module::{Param, ParamId};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// Draws the weights of a model, one tensor after the other.
pub struct WeightInit<'a> {
    /// None if every weight will come from a file.
    rng: Option<ChaCha8Rng>,
    device: &'a Device,
}

impl<'a> WeightInit<'a> {
    /// Starts the sequence of a seed.
    pub fn new(seed: u64, device: &'a Device) -> Self {
        Self { rng: Some(ChaCha8Rng::seed_from_u64(seed)), device }
    }

    /// Draws nothing: weights are zeros, allocated when they are first used.
    pub fn blank(device: &'a Device) -> Self {
        Self { rng: None, device }
    }

    /// The device the weights are made on.
    pub fn device(&self) -> &'a Device {
        self.device
    }

    /// Normal with mean 0.
    pub fn normal<const D: usize>(&mut self, shape: [usize; D], std: f32) -> Param<Tensor<D>> {
        self.draw(shape, |rng| std * Distribution::<f32>::sample(&StandardNormal, rng))
    }

    /// Kaiming normal for a ReLU, by fan out, of a convolution `[C out, C in, K, K]`.
    pub fn kaiming_normal(&mut self, shape: [usize; 4]) -> Param<Tensor<4>> {
        let [outputs, _, height, width] = shape;
        self.normal(shape, (2.0 / (outputs * height * width) as f32).sqrt())
    }

    /// Uniform in `-bound..bound`.
    pub fn uniform<const D: usize>(&mut self, shape: [usize; D], bound: f32) -> Param<Tensor<D>> {
        self.draw(shape, |rng| rng.random_range(-bound..bound))
    }

    /// The same value everywhere.
    pub fn constant<const D: usize>(&self, shape: [usize; D], value: f32) -> Param<Tensor<D>> {
        lazy(shape, value, self.device)
    }

    /// A linear layer as PyTorch initialises it: weight and bias uniform within `1 / sqrt(inputs)`.
    pub fn linear(&mut self, inputs: usize, outputs: usize) -> Linear {
        let bound = 1.0 / (inputs as f32).sqrt();
        Linear { weight: self.uniform([inputs, outputs], bound), bias: Some(self.uniform([outputs], bound)) }
    }

    fn draw<const D: usize>(
        &mut self,
        shape: [usize; D],
        mut value: impl FnMut(&mut ChaCha8Rng) -> f32,
    ) -> Param<Tensor<D>> {
        let Some(rng) = &mut self.rng else {
            return lazy(shape, 0.0, self.device);
        };
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| value(rng)).collect();
        Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), self.device))
    }
}

/// The same value everywhere, allocated when it is first used.
fn lazy<const D: usize>(shape: [usize; D], value: f32, device: &Device) -> Param<Tensor<D>> {
    let init = move |device: &Device, require_grad| {
        Tensor::full(shape, value, device).set_require_grad(require_grad)
    };
    Param::uninitialized(ParamId::new(), init, device.clone(), true, shape.into())
}
