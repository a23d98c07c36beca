//! Feature pyramid, the top-down path: C2..C5 to P2..P6.
//!
//! Every P has the same number of channels; P6 is P5 at half the size, for the RPN's largest anchors.
//!
//! Source: [Lin et al. 2017](https://arxiv.org/abs/1612.03144), torchvision
//! `ops/feature_pyramid_network.py` with `LastLevelMaxPool`.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};

use super::init::WeightInit;
use super::layers::{ConvBlock, ConvNorm, NormKind, PreparedConvNorm};
use crate::ops::{Fused, PoolOptions, max_pool2d};

/// The pyramid's convolutions, one of each kind per level, from C2 to C5.
#[derive(Module, Debug)]
pub struct Fpn<C = ConvNorm> {
    /// 1x1, to the pyramid's channels.
    inner_blocks: Vec<C>,
    /// 3x3, on the sum.
    layer_blocks: Vec<C>,
}

impl Fpn {
    /// Kaiming-uniform (a = 1) weights and zero biases, as in torchvision. Where a norm is given, it follows
    /// each convolution and takes the place of the bias.
    pub fn new(inputs: [usize; 4], outputs: usize, norm: Option<NormKind>, init: &mut WeightInit) -> Self {
        let mut conv = |inputs: usize, kernel: usize| {
            let bound = (3.0 / (inputs * kernel * kernel) as f32).sqrt();
            let weight = init.uniform([outputs, inputs, kernel, kernel], bound);
            ConvNorm::new(weight, 1, norm, init)
        };
        Self {
            inner_blocks: inputs.iter().map(|&inputs| conv(inputs, 1)).collect(),
            layer_blocks: inputs.iter().map(|_| conv(outputs, 3)).collect(),
        }
    }

    /// All its convolutions.
    pub fn convs_mut(&mut self) -> impl Iterator<Item = &mut ConvNorm> {
        self.inner_blocks.iter_mut().chain(&mut self.layer_blocks)
    }

    /// For inference: see [`ConvNorm::prepare`].
    pub fn prepare(self) -> Fpn<PreparedConvNorm> {
        let prepare = |blocks: Vec<ConvNorm>| blocks.into_iter().map(ConvNorm::prepare).collect();
        Fpn { inner_blocks: prepare(self.inner_blocks), layer_blocks: prepare(self.layer_blocks) }
    }
}

impl<C: ConvBlock> Fpn<C> {
    /// C2..C5 to P2..P6, `[N, channels, H, W]` each.
    pub fn forward(&self, maps: Vec<Tensor<4>>) -> Vec<Tensor<4>> {
        let mut pyramid = Vec::with_capacity(maps.len() + 1);
        let mut above: Option<Tensor<4>> = None;
        for ((map, inner), layer) in maps.into_iter().zip(&self.inner_blocks).zip(&self.layer_blocks).rev() {
            let [_, _, height, width] = map.dims();
            let above_upsampled = above.map(|above| {
                let mut nearest = InterpolateOptions::new(InterpolateMode::Nearest);
                nearest.output_size = Some([height, width]);
                interpolate(above, nearest)
            });
            let merged = inner.forward(map, Fused { residual: above_upsampled, relu: false });
            if pyramid.is_empty() {
                let p5 = layer.forward(merged.clone(), Fused::default());
                pyramid.push(max_pool2d(
                    p5.clone(),
                    PoolOptions { kernel: [1, 1], stride: [2, 2], padding: [0, 0] },
                ));
                pyramid.push(p5);
            } else {
                pyramid.push(layer.forward(merged.clone(), Fused::default()));
            }
            above = Some(merged);
        }
        pyramid.reverse();
        pyramid
    }
}
