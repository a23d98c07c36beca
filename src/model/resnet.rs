//! ResNet, the bottom-up path: image batch to C2..C5.
//!
//! `[N, 3, H, W]` to four maps, `[N, C, H / s, W / s]` at strides s of 4, 8, 16, 32.
//!
//! Source: [He et al. 2015](https://arxiv.org/abs/1512.03385), torchvision `models/resnet.py` (stride on
//! the 3x3 convolution of a bottleneck). Fields carry torchvision's names.

use std::iter;

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::init::WeightInit;
use super::layers::{Conv2d, ConvNorm, Norm, NormKind};
use crate::ops::{Fused, PoolOptions, max_pool2d};

/// Number of layers.
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
pub struct Block {
    conv1: Conv2d,
    bn1: Norm,
    conv2: Conv2d,
    bn2: Norm,
    conv3: Option<Conv2d>,
    bn3: Option<Norm>,
    /// The projection of the shortcut where its shape changes.
    downsample: Option<ConvNorm>,
}

/// One ResNet without its classifier.
#[derive(Module, Debug)]
pub struct ResNet {
    conv1: Conv2d,
    bn1: Norm,
    layer1: Vec<Block>,
    layer2: Vec<Block>,
    layer3: Vec<Block>,
    layer4: Vec<Block>,
}

impl ResNet {
    /// Kaiming-normal convolutions (fan out), norms at the identity.
    pub fn new(depth: ResNetDepth, norm: NormKind, init: &mut WeightInit) -> Self {
        let conv1 = conv(3, 64, 7, 2, init);
        let bn1 = Norm::new(norm, 64, init);
        let blocks = depth.blocks();
        let mut inputs = 64;
        let mut layer = |stage: usize| {
            let width = 64 << stage;
            let outputs = width * depth.expansion();
            (0..blocks[stage])
                .map(|index| {
                    let stride = if stage > 0 && index == 0 { 2 } else { 1 };
                    let block = Block::new([inputs, width, outputs], stride, norm, init);
                    inputs = outputs;
                    block
                })
                .collect()
        };
        let (layer1, layer2, layer3, layer4) = (layer(0), layer(1), layer(2), layer(3));
        Self { conv1, bn1, layer1, layer2, layer3, layer4 }
    }

    /// Excludes all but the last `stages` of five (stem, layer1..layer4) from training.
    pub fn train_last_stages(self, stages: usize) -> Self {
        let frozen = 5_usize.saturating_sub(stages);
        Self {
            conv1: if frozen > 0 { self.conv1.freeze() } else { self.conv1 },
            bn1: if frozen > 0 { self.bn1.freeze() } else { self.bn1 },
            layer1: if frozen > 1 { self.layer1.freeze() } else { self.layer1 },
            layer2: if frozen > 2 { self.layer2.freeze() } else { self.layer2 },
            layer3: if frozen > 3 { self.layer3.freeze() } else { self.layer3 },
            layer4: if frozen > 4 { self.layer4.freeze() } else { self.layer4 },
        }
    }

    /// All its norms.
    pub fn norms_mut(&mut self) -> impl Iterator<Item = &mut Norm> {
        let layers = [&mut self.layer1, &mut self.layer2, &mut self.layer3, &mut self.layer4];
        iter::once(&mut self.bn1).chain(layers.into_iter().flatten().flat_map(|block| {
            let downsample = block.downsample.as_mut().and_then(ConvNorm::norm_mut);
            [Some(&mut block.bn1), Some(&mut block.bn2), block.bn3.as_mut(), downsample].into_iter().flatten()
        }))
    }

    /// For inference: see [`Norm::prepare`].
    pub fn prepare(&mut self) {
        let layers = [&mut self.layer1, &mut self.layer2, &mut self.layer3, &mut self.layer4];
        for block in layers.into_iter().flatten() {
            block.bn1.prepare(&mut block.conv1);
            block.bn2.prepare(&mut block.conv2);
        }
    }

    /// `[N, 3, H, W]` to C2..C5.
    pub fn forward(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        let x = self.bn1.after(&self.conv1, images, Fused::default().relu());
        let mut x = max_pool2d(x, PoolOptions { kernel: [3, 3], stride: [2, 2], padding: [1, 1] });
        let mut maps = Vec::with_capacity(4);
        for layer in [&self.layer1, &self.layer2, &self.layer3, &self.layer4] {
            for block in layer {
                x = block.forward(x);
            }
            maps.push(x.clone());
        }
        maps
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
                conv(inputs, width, 1, 1, init),
                conv(width, width, 3, stride, init),
                Some(conv(width, outputs, 1, 1, init)),
            )
        } else {
            (conv(inputs, width, 3, stride, init), conv(width, width, 3, 1, init), None)
        };
        let downsample = (stride != 1 || inputs != outputs).then(|| {
            let weight = kernel(inputs, outputs, 1, init);
            ConvNorm::new(weight, stride, Some(norm), init)
        });
        Self {
            conv1,
            bn1: Norm::new(norm, width, init),
            conv2,
            bn2: Norm::new(norm, width, init),
            bn3: conv3.is_some().then(|| Norm::new(norm, outputs, init)),
            conv3,
            downsample,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let shortcut = match &self.downsample {
            Some(downsample) => downsample.forward(x.clone(), Fused::default()),
            None => x.clone(),
        };
        let end = Fused::default().plus(shortcut).relu();
        let x = self.bn1.after(&self.conv1, x, Fused::default().relu());
        match (&self.conv3, &self.bn3) {
            (Some(conv3), Some(bn3)) => {
                let x = self.bn2.after(&self.conv2, x, Fused::default().relu());
                bn3.after(conv3, x, end)
            }
            _ => self.bn2.after(&self.conv2, x, end),
        }
    }
}

fn conv(inputs: usize, outputs: usize, size: usize, stride: usize, init: &mut WeightInit) -> Conv2d {
    Conv2d::new(kernel(inputs, outputs, size, init), None, stride)
}

fn kernel(inputs: usize, outputs: usize, size: usize, init: &mut WeightInit) -> Param<Tensor<4>> {
    init.kaiming_normal([outputs, inputs, size, size])
}
