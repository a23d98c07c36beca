//! The hidden layers of the RoI heads: pooled features to one vector per proposal.
//!
//! Shape letters: K proposals of all images together, R the width of the vectors.
//!
//! Source: torchvision `models/detection/faster_rcnn.py`, `TwoMLPHead` and `FastRCNNConvFCHead`.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::init::WeightInit;
use super::layers::{ConvBlock, ConvNorm, NormKind, PreparedConvNorm, linear};
use crate::ops::Fused;

/// Which layers the box head has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoxHeadKind {
    /// Two linear layers: torchvision's v1 detector.
    TwoMlp,
    /// Four 3x3 convolutions with batch norm and one linear layer: torchvision's v2 detector.
    FourConv,
}

/// The box head.
#[derive(Module, Debug)]
pub enum BoxHead<C = ConvNorm> {
    /// See [`BoxHeadKind::TwoMlp`].
    TwoMlp(TwoMlpHead),
    /// See [`BoxHeadKind::FourConv`].
    FourConv(FourConvHead<C>),
}

/// See [`BoxHeadKind::TwoMlp`].
#[derive(Module, Debug)]
pub struct TwoMlpHead {
    fc6: Linear,
    fc7: Linear,
}

/// See [`BoxHeadKind::FourConv`].
#[derive(Module, Debug)]
pub struct FourConvHead<C = ConvNorm> {
    convs: Vec<C>,
    fc: Linear,
}

impl BoxHead {
    /// For maps of `[channels, size, size]`; `hidden` is the width R. Linear layers as PyTorch
    /// initialises them, Kaiming-normal convolutions (fan out).
    pub fn new(
        kind: BoxHeadKind,
        channels: usize,
        size: usize,
        hidden: usize,
        init: &mut WeightInit,
    ) -> Self {
        let flat = channels * size * size;
        match kind {
            BoxHeadKind::TwoMlp => {
                Self::TwoMlp(TwoMlpHead { fc6: init.linear(flat, hidden), fc7: init.linear(hidden, hidden) })
            }
            BoxHeadKind::FourConv => {
                let mut conv = || {
                    let weight = init.kaiming_normal([channels, channels, 3, 3]);
                    ConvNorm::new(weight, 1, Some(NormKind::Batch), init)
                };
                let convs = (0..4).map(|_| conv()).collect();
                Self::FourConv(FourConvHead { convs, fc: init.linear(flat, hidden) })
            }
        }
    }

    /// For inference: see [`ConvNorm::prepare`].
    pub fn prepare(self) -> BoxHead<PreparedConvNorm> {
        match self {
            Self::TwoMlp(head) => BoxHead::TwoMlp(head),
            Self::FourConv(FourConvHead { convs, fc }) => {
                let convs = convs.into_iter().map(ConvNorm::prepare).collect();
                BoxHead::FourConv(FourConvHead { convs, fc })
            }
        }
    }
}

impl<C: ConvBlock> BoxHead<C> {
    /// `[K, channels, size, size]` to `[K, R]`.
    pub fn forward(&self, pooled: Tensor<4>) -> Tensor<2> {
        match self {
            Self::TwoMlp(TwoMlpHead { fc6, fc7 }) => {
                let x = linear(fc6, pooled.flatten::<2>(1, 3), true);
                linear(fc7, x, true)
            }
            Self::FourConv(FourConvHead { convs, fc }) => {
                let x = convs.iter().fold(pooled, |x, conv| conv.forward(x, Fused::default().relu()));
                linear(fc, x.flatten::<2>(1, 3), true)
            }
        }
    }
}
