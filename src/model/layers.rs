//! Convolutions and the norms that follow them.

use burn::module::{Module, Param};
use burn::nn::{BatchNorm, BatchNormConfig, GroupNorm, GroupNormConfig};
use burn::tensor::Tensor;
use burn::tensor::ops::ConvOptions;
use serde::{Deserialize, Serialize};

use super::init::WeightInit;
use crate::ops::{self, ConvWeight, Fused, NormOptions};

/// A square convolution with the same stride and padding on both axes.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[C out, C in, K, K]`
    pub weight: Param<Tensor<4>>,
    /// `[C out]`
    pub bias: Option<Param<Tensor<1>>>,
    stride: usize,
    padding: usize,
    /// For inference: what the weight and the norm after it come to.
    prepared: Option<Prepared>,
}

/// A convolution's weight and bias with the norm after it, as the device multiplies with it.
#[derive(Module, Debug)]
struct Prepared {
    weight: ConvWeight,
    /// `[C out]`
    bias: Tensor<1>,
}

impl Conv2d {
    /// Wraps a weight and a bias; the padding keeps the size of the map at stride 1.
    pub fn new(weight: Param<Tensor<4>>, bias: Option<Param<Tensor<1>>>, stride: usize) -> Self {
        let padding = weight.lazy_shape()[3] / 2;
        Self { weight, bias, stride, padding, prepared: None }
    }

    /// `[N, C in, H, W]` to `[N, C out, H / stride, W / stride]`, sides rounded up.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward_with(x, Fused::default())
    }

    /// [`forward`](Self::forward), then the steps of `fused`.
    pub fn forward_with(&self, x: Tensor<4>, fused: Fused) -> Tensor<4> {
        let (weight, bias) = match &self.prepared {
            Some(prepared) => (prepared.weight.clone(), prepared.bias.clone()),
            None => (self.weight.val().into(), self.bias_or_zeros()),
        };
        ops::conv2d(x, weight, bias, self.options(), fused)
    }

    /// Keeps the weight as the device multiplies with it, where that is another form.
    pub fn prepare(&mut self) {
        self.keep(|conv| (conv.weight.val(), conv.bias_or_zeros()));
    }

    fn keep(&mut self, weight_and_bias: impl FnOnce(&Self) -> (Tensor<4>, Tensor<1>)) {
        let (shape, device) = (self.weight.lazy_shape().dims(), self.weight.lazy_device());
        if self.prepared.is_none() && ConvWeight::is_transformed_for(shape, &self.options(), &device) {
            let (weight, bias) = weight_and_bias(self);
            let weight = ConvWeight::prepared(weight, &self.options());
            self.prepared = Some(Prepared { weight, bias });
        }
    }

    fn bias_or_zeros(&self) -> Tensor<1> {
        match &self.bias {
            Some(bias) => bias.val(),
            None => Tensor::zeros([self.weight.lazy_shape()[0]], &self.weight.lazy_device()),
        }
    }

    /// The weight with a factor per output channel, `[C out]`.
    fn scaled(&self, scale: Tensor<1>) -> Tensor<4> {
        self.weight.val() * scale.reshape([-1, 1, 1, 1])
    }

    fn options(&self) -> ConvOptions<2> {
        ConvOptions::new([self.stride; 2], [self.padding; 2], [1, 1], 1)
    }
}

/// Which norm follows a convolution of the backbone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// Batch norm whose statistics and affine are constants: for pre-trained weights.
    FrozenBatch,
    /// Batch norm; wants batches of several images.
    Batch,
    /// Group norm with 32 groups: for training from random weights with small batches.
    Group,
}

/// Batch norm with constant statistics and affine
/// (`torchvision.ops.misc.FrozenBatchNorm2d`).
#[derive(Module, Debug)]
pub struct FrozenBatchNorm {
    /// `[C]`
    pub weight: Param<Tensor<1>>,
    /// `[C]`
    pub bias: Param<Tensor<1>>,
    /// `[C]`
    pub running_mean: Param<Tensor<1>>,
    /// `[C]`
    pub running_var: Param<Tensor<1>>,
    /// Added to the variance; torchvision sets it to 0 for its COCO v1 weights.
    pub epsilon: f64,
}

impl FrozenBatchNorm {
    /// The default of [`epsilon`](Self::epsilon).
    pub const EPSILON: f64 = 1e-5;

    fn new(channels: usize, init: &WeightInit) -> Self {
        let constant = |value| init.constant([channels], value).set_require_grad(false);
        Self {
            weight: constant(1.0),
            bias: constant(0.0),
            running_mean: constant(0.0),
            running_var: constant(1.0),
            epsilon: Self::EPSILON,
        }
    }

    /// The factor and the summand per channel, `[C]` each.
    fn affine(&self) -> (Tensor<1>, Tensor<1>) {
        let [gamma, beta, mean, variance] = [&self.weight, &self.bias, &self.running_mean, &self.running_var]
            .map(|value| value.val().detach());
        affine(gamma, beta, mean, variance, self.epsilon)
    }
}

/// The norm of one convolution.
#[derive(Module, Debug)]
pub enum Norm {
    /// See [`NormKind::FrozenBatch`].
    FrozenBatch(FrozenBatchNorm),
    /// See [`NormKind::Batch`].
    Batch(BatchNorm),
    /// See [`NormKind::Group`].
    Group(GroupNorm),
}

impl Norm {
    /// A norm that starts as the identity on its statistics.
    pub fn new(kind: NormKind, channels: usize, init: &WeightInit) -> Self {
        match kind {
            NormKind::FrozenBatch => Self::FrozenBatch(FrozenBatchNorm::new(channels, init)),
            NormKind::Batch => Self::Batch(BatchNormConfig::new(channels).init(init.device())),
            NormKind::Group => Self::Group(GroupNormConfig::new(32, channels).init(init.device())),
        }
    }

    /// Sets what a frozen batch norm adds to the variance; the other kinds keep theirs.
    pub fn set_frozen_epsilon(&mut self, epsilon: f64) {
        if let Self::FrozenBatch(norm) = self {
            norm.epsilon = epsilon;
        }
    }

    /// For inference: has the convolution keep what it and this norm after it come to.
    pub fn prepare(&self, conv: &mut Conv2d) {
        let folded = |conv: &Conv2d, (scale, shift)| (conv.scaled(scale), shift);
        match self {
            Self::FrozenBatch(norm) => conv.keep(|conv| folded(conv, norm.affine())),
            Self::Batch(norm) => conv.keep(|conv| folded(conv, running_affine(norm))),
            Self::Group(_) => conv.prepare(),
        }
    }

    /// `norm(conv(x))` and the steps of `fused`. A batch norm of constant
    /// statistics is folded into the weight and the bias, which saves passes over the map.
    pub fn after(&self, conv: &Conv2d, x: Tensor<4>, fused: Fused) -> Tensor<4> {
        match self {
            Self::FrozenBatch(_) | Self::Batch(_) if conv.prepared.is_some() => conv.forward_with(x, fused),
            Self::FrozenBatch(norm) => folded(conv, norm.affine(), x, fused),
            Self::Batch(norm) if x.device().is_autodiff() && norm.training.is_enabled() => {
                let options = NormOptions { groups: None, epsilon: norm.epsilon };
                let x = conv.forward(x);
                let [images, _, height, width] = x.dims();
                let (gamma, beta) = (norm.gamma.val(), norm.beta.val());
                let (output, mean, variance) = ops::normalize(x, gamma, beta, options, fused);
                let count = (images * height * width) as f64;
                if count == 0.0 {
                    return output; // no statistics to keep
                }
                let variance = variance * (count / (count - 1.0).max(1.0)); // of the population
                for (running, batch) in [(&norm.running_mean, mean), (&norm.running_var, variance)] {
                    let kept = running.value_sync().detach() * (1.0 - norm.momentum);
                    running.update(kept + batch.detach() * norm.momentum);
                }
                output
            }
            Self::Batch(norm) => folded(conv, running_affine(norm), x, fused),
            Self::Group(norm) => {
                let options = NormOptions { groups: Some(norm.num_groups), epsilon: norm.epsilon };
                let (gamma, beta) =
                    norm.gamma.as_ref().zip(norm.beta.as_ref()).expect("a norm has an affine");
                let (gamma, beta) = (gamma.val(), beta.val());
                ops::normalize(conv.forward(x), gamma, beta, options, fused).0
            }
        }
    }
}

/// `conv(x) * scale + shift` and the steps of `fused`, `[C out]` each of the factor and the summand.
fn folded(conv: &Conv2d, (scale, shift): (Tensor<1>, Tensor<1>), x: Tensor<4>, fused: Fused) -> Tensor<4> {
    ops::conv2d(x, conv.scaled(scale), shift, conv.options(), fused)
}

/// What a batch norm with the statistics of training is at inference.
fn running_affine(norm: &BatchNorm) -> (Tensor<1>, Tensor<1>) {
    let [mean, variance] = [&norm.running_mean, &norm.running_var].map(|value| value.value());
    affine(norm.gamma.val(), norm.beta.val(), mean, variance, norm.epsilon)
}

/// The factor and the summand per channel that a batch norm of these statistics is.
fn affine(
    gamma: Tensor<1>,
    beta: Tensor<1>,
    mean: Tensor<1>,
    variance: Tensor<1>,
    epsilon: f64,
) -> (Tensor<1>, Tensor<1>) {
    let scale = gamma / (variance + epsilon).sqrt();
    let shift = beta - mean * scale.clone();
    (scale, shift)
}

/// A convolution and the norm on its output, if there is one.
#[derive(Module, Debug)]
pub struct ConvNorm {
    conv: Conv2d,
    norm: Option<Norm>,
}

impl ConvNorm {
    /// The convolution gets no bias where a norm follows, else one that starts at zero.
    pub fn new(weight: Param<Tensor<4>>, stride: usize, norm: Option<NormKind>, init: &WeightInit) -> Self {
        let outputs = weight.lazy_shape()[0];
        let bias = norm.is_none().then(|| init.constant([outputs], 0.0));
        Self {
            conv: Conv2d::new(weight, bias, stride),
            norm: norm.map(|kind| Norm::new(kind, outputs, init)),
        }
    }

    /// `norm(conv(x))` and the steps of `fused`; `[N, C in, H, W]` to `[N, C out, H / stride, W / stride]`.
    pub fn forward(&self, x: Tensor<4>, fused: Fused) -> Tensor<4> {
        match &self.norm {
            Some(norm) => norm.after(&self.conv, x, fused),
            None => self.conv.forward_with(x, fused),
        }
    }

    /// For inference: see [`Norm::prepare`].
    pub fn prepare(&mut self) {
        match &self.norm {
            Some(norm) => norm.prepare(&mut self.conv),
            None => self.conv.prepare(),
        }
    }

    /// Its norm, if there is one.
    pub fn norm_mut(&mut self) -> Option<&mut Norm> {
        self.norm.as_mut()
    }
}
