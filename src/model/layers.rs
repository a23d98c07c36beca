//! A convolution and the norm after it: as it is trained, and as it runs at inference.

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::{BatchNorm, BatchNormConfig, GroupNorm, GroupNormConfig, Linear};
use burn::tensor::Tensor;
use burn::tensor::ops::ConvOptions;
use serde::{Deserialize, Serialize};

use super::init::WeightInit;
use crate::ops::{self, ConvWeight, Fused, NormOptions};

/// A convolution and the norm after it: [`ConvNorm`], or [`PreparedConvNorm`] at inference.
pub trait ConvBlock {
    /// `norm(conv(x))`, then the steps of `fused`: `[N, C in, H, W]` to `[N, C out, H / stride, W / stride]`,
    /// sides rounded up.
    fn forward(&self, x: Tensor<4>, fused: Fused) -> Tensor<4>;
}

/// A linear layer, and ReLU if `relu`: `[K, in]` to `[K, out]`.
pub fn linear(layer: &Linear, x: Tensor<2>, relu: bool) -> Tensor<2> {
    let bias = layer.bias.as_ref().expect("linear layers of the detector have a bias");
    ops::linear(x, layer.weight.val(), bias.val(), relu)
}

/// A square convolution with the same stride and padding on both axes.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[C out, C in, K, K]`
    weight: Param<Tensor<4>>,
    /// `[C out]`
    bias: Option<Param<Tensor<1>>>,
    stride: usize,
    padding: usize,
}

impl Conv2d {
    /// Wraps a weight and a bias; the padding keeps the size of the map at stride 1.
    pub fn new(weight: Param<Tensor<4>>, bias: Option<Param<Tensor<1>>>, stride: usize) -> Self {
        let padding = weight.lazy_shape()[3] / 2;
        Self { weight, bias, stride, padding }
    }

    /// `[N, C in, H, W]` to `[N, C out, H / stride, W / stride]`, sides rounded up.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward_fused(x, Fused::default())
    }

    fn forward_fused(&self, x: Tensor<4>, fused: Fused) -> Tensor<4> {
        ops::conv2d(x, self.weight.val(), self.bias_or_zeros(), self.options(), fused)
    }

    fn bias_or_zeros(&self) -> Tensor<1> {
        match &self.bias {
            Some(bias) => bias.val(),
            None => Tensor::zeros([self.weight.lazy_shape()[0]], &self.weight.lazy_device()),
        }
    }

    /// Folds a per-channel scale and shift into the weight and bias. The convolution has no bias of its own.
    fn folded(&self, (scale, shift): (Tensor<1>, Tensor<1>)) -> (Tensor<4>, Tensor<1>) {
        (self.weight.val() * scale.reshape([-1, 1, 1, 1]), shift)
    }

    fn options(&self) -> ConvOptions<2> {
        ConvOptions::new([self.stride; 2], [self.padding; 2], [1, 1], 1)
    }
}

/// Which norm follows a convolution.
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

/// Batch norm with constant statistics and affine (`torchvision.ops.misc.FrozenBatchNorm2d`).
#[derive(Module, Debug)]
pub struct FrozenBatchNorm {
    /// `[C]`
    weight: Param<Tensor<1>>,
    /// `[C]`
    bias: Param<Tensor<1>>,
    /// `[C]`
    running_mean: Param<Tensor<1>>,
    /// `[C]`
    running_var: Param<Tensor<1>>,
    /// Added to the variance; torchvision sets it to 0 for its COCO v1 weights.
    epsilon: f64,
}

impl FrozenBatchNorm {
    /// torchvision's default of what is added to the variance.
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
}

/// The norm after one convolution.
#[derive(Module, Debug)]
enum Norm {
    FrozenBatch(FrozenBatchNorm),
    Batch(BatchNorm),
    Group(GroupNorm),
}

impl Norm {
    /// A norm that starts as the identity on its statistics.
    fn new(kind: NormKind, channels: usize, init: &WeightInit) -> Self {
        match kind {
            NormKind::FrozenBatch => Self::FrozenBatch(FrozenBatchNorm::new(channels, init)),
            NormKind::Batch => Self::Batch(BatchNormConfig::new(channels).init(init.device())),
            NormKind::Group => Self::Group(GroupNormConfig::new(32, channels).init(init.device())),
        }
    }
}

/// A convolution and the norm after it, where there is one.
///
/// A batch norm with constant statistics is folded into the weight and the bias at each call, which saves
/// passes over the map; [`prepare`](Self::prepare) does that once.
#[derive(Module, Debug)]
pub struct ConvNorm {
    conv: Conv2d,
    norm: Option<Norm>,
}

impl ConvNorm {
    /// If a norm follows, the convolution has no bias. Else its bias starts at zero.
    pub fn new(weight: Param<Tensor<4>>, stride: usize, norm: Option<NormKind>, init: &WeightInit) -> Self {
        let outputs = weight.lazy_shape()[0];
        let bias = norm.is_none().then(|| init.constant([outputs], 0.0));
        Self {
            conv: Conv2d::new(weight, bias, stride),
            norm: norm.map(|kind| Norm::new(kind, outputs, init)),
        }
    }

    /// Sets what a frozen batch norm adds to the variance; other norms keep theirs.
    pub fn set_frozen_epsilon(&mut self, epsilon: f64) {
        if let Some(Norm::FrozenBatch(norm)) = &mut self.norm {
            norm.epsilon = epsilon;
        }
    }

    /// For inference with these weights: folds a batch norm into the convolution, and transforms the
    /// convolution's weight into the form that its device multiplies with.
    pub fn prepare(self) -> PreparedConvNorm {
        let (conv, options) = (&self.conv, self.conv.options());
        let plain = || (conv.weight.val(), conv.bias_or_zeros());
        let ((weight, bias), norm) = match &self.norm {
            None => (plain(), None),
            Some(Norm::Group(norm)) => (plain(), Some(GroupAffine::of(norm))),
            Some(Norm::Batch(norm)) => (conv.folded(running_affine(norm)), None),
            Some(Norm::FrozenBatch(norm)) => (conv.folded(frozen_affine(norm)), None),
        };
        PreparedConvNorm { weight: ConvWeight::prepared(weight, &options), bias, options, norm }
    }
}

impl ConvBlock for ConvNorm {
    fn forward(&self, x: Tensor<4>, fused: Fused) -> Tensor<4> {
        let conv = &self.conv;
        let affine = match &self.norm {
            None => return conv.forward_fused(x, fused),
            Some(Norm::Group(norm)) => return GroupAffine::of(norm).forward(conv.forward(x), fused),
            Some(Norm::Batch(norm)) if x.device().is_autodiff() && norm.training.is_enabled() => {
                return train_batch_norm(norm, conv.forward(x), fused);
            }
            Some(Norm::Batch(norm)) => running_affine(norm),
            Some(Norm::FrozenBatch(norm)) => frozen_affine(norm),
        };
        let (weight, bias) = conv.folded(affine);
        ops::conv2d(x, weight, bias, conv.options(), fused)
    }
}

/// A [`ConvNorm`] that is ready for inference. Its weights cannot be replaced or trained.
#[derive(Debug)]
pub struct PreparedConvNorm {
    weight: ConvWeight,
    /// `[C out]`
    bias: Tensor<1>,
    options: ConvOptions<2>,
    norm: Option<GroupAffine>,
}

impl ConvBlock for PreparedConvNorm {
    fn forward(&self, x: Tensor<4>, fused: Fused) -> Tensor<4> {
        let conv =
            |fused| ops::conv2d(x, self.weight.clone(), self.bias.clone(), self.options.clone(), fused);
        match &self.norm {
            None => conv(fused),
            Some(norm) => norm.forward(conv(Fused::default()), fused),
        }
    }
}

/// What a group norm computes with.
#[derive(Debug)]
struct GroupAffine {
    /// `[C]`
    gamma: Tensor<1>,
    /// `[C]`
    beta: Tensor<1>,
    options: NormOptions,
}

impl GroupAffine {
    fn of(norm: &GroupNorm) -> Self {
        let (gamma, beta) = norm.gamma.as_ref().zip(norm.beta.as_ref()).expect("a norm has an affine");
        let options = NormOptions { groups: Some(norm.num_groups), epsilon: norm.epsilon };
        Self { gamma: gamma.val(), beta: beta.val(), options }
    }

    fn forward(&self, x: Tensor<4>, fused: Fused) -> Tensor<4> {
        ops::normalize(x, self.gamma.clone(), self.beta.clone(), self.options, fused).0
    }
}

/// Normalises with the statistics of the batch, and updates the running statistics with them.
fn train_batch_norm(norm: &BatchNorm, x: Tensor<4>, fused: Fused) -> Tensor<4> {
    let options = NormOptions { groups: None, epsilon: norm.epsilon };
    let [images, _, height, width] = x.dims();
    let (output, mean, variance) = ops::normalize(x, norm.gamma.val(), norm.beta.val(), options, fused);
    let count = (images * height * width) as f64;
    if count == 0.0 {
        return output; // no statistics to keep
    }
    let variance = variance * (count / (count - 1.0).max(1.0)); // of the population
    for (running, batch) in [(&norm.running_mean, mean), (&norm.running_var, variance)] {
        let kept = running.value().detach() * (1.0 - norm.momentum);
        // At once, for all clones. burn's own `update` is seen only by the next one on the same thread, so a
        // checkpoint in between would be without it.
        let _ = running.clone().map(&mut Replaced(kept + batch.detach() * norm.momentum));
    }
    output
}

/// Puts another value of the same shape in the place of one.
struct Replaced(Tensor<1>);

impl ModuleMapper for Replaced {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| self.0.clone().reshape(value.dims()))
    }
}

/// Scale and shift equal to this batch norm with its running statistics.
fn running_affine(norm: &BatchNorm) -> (Tensor<1>, Tensor<1>) {
    let [mean, variance] = [&norm.running_mean, &norm.running_var].map(|value| value.value());
    affine(norm.gamma.val(), norm.beta.val(), mean, variance, norm.epsilon)
}

/// Scale and shift of a frozen batch norm.
fn frozen_affine(norm: &FrozenBatchNorm) -> (Tensor<1>, Tensor<1>) {
    let [gamma, beta, mean, variance] =
        [&norm.weight, &norm.bias, &norm.running_mean, &norm.running_var].map(|value| value.val().detach());
    affine(gamma, beta, mean, variance, norm.epsilon)
}

/// Scale and shift per channel, `[C]` each, of a batch norm with these statistics.
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
