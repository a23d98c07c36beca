//! ResNet, the bottom-up path: image batch to C2..C5.
//!
//! `[N, 3, H, W]` to four maps, `[N, C, H / s, W / s]` at strides s of 4, 8, 16, 32.
//!
//! Source: [He et al. 2015](https://arxiv.org/abs/1512.03385), torchvision `models/resnet.py` (stride on the
//! 3x3 convolution of a bottleneck). Fields carry torchvision's names; a norm is in the field of its
//! convolution.

use std::iter;

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::init::WeightInit;
use super::layers::{ConvBlock, ConvNorm, NormKind, PreparedConvNorm};
use crate::ops::{Fused, PoolOptions, max_pool2d};

/// Which ResNet the backbone is, by its number of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResNetDepth {
    /// Basic blocks, 2-2-2-2.
    ResNet18,
    /// Basic blocks, 3-4-6-3.
    ResNet34,
    /// Bottlenecks, 3-4-6-3.
    ResNet50,
    /// Bottlenecks, 3-4-23-3.
    ResNet101,
}

impl ResNetDepth {
    fn blocks(self) -> [usize; 4] {
        match self {
            Self::ResNet18 => [2, 2, 2, 2],
            Self::ResNet34 | Self::ResNet50 => [3, 4, 6, 3],
            Self::ResNet101 => [3, 4, 23, 3],
        }
    }

    /// Output channels of a block per channel of its inner convolution.
    fn expansion(self) -> usize {
        match self {
            Self::ResNet18 | Self::ResNet34 => 1,
            Self::ResNet50 | Self::ResNet101 => 4,
        }
    }

    /// Channels of C2..C5.
    pub fn channels(self) -> [usize; 4] {
        [64, 128, 256, 512].map(|width| width * self.expansion())
    }
}

/// A residual block: two 3x3 convolutions, or a bottleneck where `conv3` is there.
#[derive(Module, Debug)]
pub struct Block<C = ConvNorm> {
    conv1: C,
    conv2: C,
    conv3: Option<C>,
    /// The projection of the shortcut where its shape changes.
    downsample: Option<C>,
}

/// One ResNet without its classifier.
#[derive(Module, Debug)]
pub struct ResNet<C = ConvNorm> {
    pub(super) conv1: C,
    pub(super) layer1: Vec<Block<C>>,
    pub(super) layer2: Vec<Block<C>>,
    pub(super) layer3: Vec<Block<C>>,
    pub(super) layer4: Vec<Block<C>>,
}

impl ResNet {
    /// Kaiming-normal convolutions (fan out), norms at the identity.
    pub fn new(depth: ResNetDepth, norm: NormKind, init: &mut WeightInit) -> Self {
        let conv1 = conv(3, 64, 7, 2, norm, init);
        let blocks = depth.blocks();
        let mut inputs = 64;
        let mut layer = |index: usize| {
            let width = 64 << index;
            let outputs = width * depth.expansion();
            (0..blocks[index])
                .map(|block| {
                    let stride = if index > 0 && block == 0 { 2 } else { 1 };
                    let block = Block::new([inputs, width, outputs], stride, norm, init);
                    inputs = outputs;
                    block
                })
                .collect()
        };
        let (layer1, layer2, layer3, layer4) = (layer(0), layer(1), layer(2), layer(3));
        Self { conv1, layer1, layer2, layer3, layer4 }
    }

    /// Excludes all but the last `count` of the five layers (conv1, layer1..layer4) from training.
    pub fn train_last_layers(self, count: usize) -> Self {
        let frozen = 5_usize.saturating_sub(count);
        Self {
            conv1: if frozen > 0 { self.conv1.freeze() } else { self.conv1 },
            layer1: if frozen > 1 { self.layer1.freeze() } else { self.layer1 },
            layer2: if frozen > 2 { self.layer2.freeze() } else { self.layer2 },
            layer3: if frozen > 3 { self.layer3.freeze() } else { self.layer3 },
            layer4: if frozen > 4 { self.layer4.freeze() } else { self.layer4 },
        }
    }

    /// All its convolutions.
    pub fn convs_mut(&mut self) -> impl Iterator<Item = &mut ConvNorm> {
        let layers = [&mut self.layer1, &mut self.layer2, &mut self.layer3, &mut self.layer4];
        iter::once(&mut self.conv1).chain(layers.into_iter().flatten().flat_map(|block| {
            let always = [&mut block.conv1, &mut block.conv2].into_iter();
            always.chain(&mut block.conv3).chain(&mut block.downsample)
        }))
    }

    /// For inference: see [`ConvNorm::prepare`].
    pub fn prepare(self) -> ResNet<PreparedConvNorm> {
        let layer = |blocks: Vec<Block>| blocks.into_iter().map(Block::prepare).collect();
        ResNet {
            conv1: self.conv1.prepare(),
            layer1: layer(self.layer1),
            layer2: layer(self.layer2),
            layer3: layer(self.layer3),
            layer4: layer(self.layer4),
        }
    }
}

impl<C: ConvBlock> ResNet<C> {
    /// `[N, 3, H, W]` to C2..C5.
    pub fn forward(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        let [c2, c3] = self.lower(images);
        let c4 = self.third(c3.clone());
        let c5 = self.fourth(c4.clone());
        vec![c2, c3, c4, c5]
    }

    /// The first part of [`forward`](Self::forward), to C2 and C3.
    pub fn lower(&self, images: Tensor<4>) -> [Tensor<4>; 2] {
        let x = self.conv1.forward(images, Fused::default().relu());
        let x = max_pool2d(x, PoolOptions { kernel: [3, 3], stride: [2, 2], padding: [1, 1] });
        let c2 = through(&self.layer1, x);
        let c3 = through(&self.layer2, c2.clone());
        [c2, c3]
    }

    /// C3 to C4.
    pub fn third(&self, c3: Tensor<4>) -> Tensor<4> {
        through(&self.layer3, c3)
    }

    /// C4 to C5.
    pub fn fourth(&self, c4: Tensor<4>) -> Tensor<4> {
        through(&self.layer4, c4)
    }
}

impl Block {
    fn new(
        [inputs, width, outputs]: [usize; 3],
        stride: usize,
        norm: NormKind,
        init: &mut WeightInit,
    ) -> Self {
        let bottleneck = outputs != width;
        let (conv1, conv2, conv3) = if bottleneck {
            (
                conv(inputs, width, 1, 1, norm, init),
                conv(width, width, 3, stride, norm, init),
                Some(conv(width, outputs, 1, 1, norm, init)),
            )
        } else {
            (conv(inputs, width, 3, stride, norm, init), conv(width, width, 3, 1, norm, init), None)
        };
        let projected = stride != 1 || inputs != outputs;
        let downsample = projected.then(|| conv(inputs, outputs, 1, stride, norm, init));
        Self { conv1, conv2, conv3, downsample }
    }

    fn prepare(self) -> Block<PreparedConvNorm> {
        Block {
            conv1: self.conv1.prepare(),
            conv2: self.conv2.prepare(),
            conv3: self.conv3.map(ConvNorm::prepare),
            downsample: self.downsample.map(ConvNorm::prepare),
        }
    }
}

impl<C: ConvBlock> Block<C> {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let shortcut = match &self.downsample {
            Some(downsample) => downsample.forward(x.clone(), Fused::default()),
            None => x.clone(),
        };
        let last = Fused::default().plus(shortcut).relu();
        let x = self.conv1.forward(x, Fused::default().relu());
        match &self.conv3 {
            Some(conv3) => conv3.forward(self.conv2.forward(x, Fused::default().relu()), last),
            None => self.conv2.forward(x, last),
        }
    }
}

fn through<C: ConvBlock>(layer: &[Block<C>], x: Tensor<4>) -> Tensor<4> {
    layer.iter().fold(x, |x, block| block.forward(x))
}

fn conv(
    inputs: usize,
    outputs: usize,
    size: usize,
    stride: usize,
    norm: NormKind,
    init: &mut WeightInit,
) -> ConvNorm {
    let weight = init.kaiming_normal([outputs, inputs, size, size]);
    ConvNorm::new(weight, stride, Some(norm), init)
}
