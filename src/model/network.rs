//! The layers of the detector, and the way of a batch through them.
//!
//! Source: torchvision `models/detection/generalized_rcnn.py`.

use burn::module::Module;
use burn::tensor::Tensor;

use super::config::FasterRcnnConfig;
use super::detections::DeviceDetections;
use super::fpn::Fpn;
use super::init::WeightInit;
use super::layers::{ConvBlock, ConvNorm, PreparedConvNorm};
use super::resnet::ResNet;
use super::roi_heads::{RoiHeads, RoiOutput};
use super::rpn::{Rpn, RpnOutput};
use super::scored_boxes::ScoredBoxes;
use super::transform::ImageList;
use crate::structures::Xyxy;

/// All layers; of [`ConvNorm`] where they are trained, of [`PreparedConvNorm`] for inference only.
#[derive(Module, Debug)]
pub struct Network<C = ConvNorm> {
    /// C2..C5.
    pub body: ResNet<C>,
    /// P2..P6.
    pub fpn: Fpn<C>,
    /// Proposals.
    pub rpn: Rpn<C>,
    /// Detections.
    pub roi_heads: RoiHeads<C>,
}

/// Everything that is computed between a batch of images and its detections.
#[derive(Debug, Clone)]
pub struct Activations {
    /// C2..C5.
    pub maps: Vec<Tensor<4>>,
    /// P2..P6.
    pub pyramid: Vec<Tensor<4>>,
    /// What the RPN says of the anchors.
    pub rpn: RpnOutput,
    /// The boxes that the RoI heads look at.
    pub proposals: ScoredBoxes,
    /// What the RoI heads say of each slot of `proposals`.
    pub roi: RoiOutput,
}

impl Network {
    /// Layers with weights of `init`. The settings must be valid.
    pub fn new(config: &FasterRcnnConfig, init: &mut WeightInit) -> Self {
        let (channels, anchors_per_cell) = (config.fpn_channels, config.anchors.aspect_ratios.len());
        let mut network = Self {
            body: ResNet::new(config.backbone, config.norm, init).train_last_layers(config.trainable_layers),
            fpn: Fpn::new(config.backbone.channels(), channels, config.fpn_norm, init),
            rpn: Rpn::new(channels, anchors_per_cell, &config.rpn, init),
            roi_heads: RoiHeads::new(channels, config.num_classes, &config.roi_heads, init),
        };
        network.set_frozen_epsilon(config.frozen_epsilon);
        network
    }

    /// Sets what frozen batch norms add to the variance.
    pub fn set_frozen_epsilon(&mut self, epsilon: f64) {
        self.body.convs_mut().chain(self.fpn.convs_mut()).for_each(|conv| conv.set_frozen_epsilon(epsilon));
    }

    /// For inference: see [`ConvNorm::prepare`].
    pub fn prepare(self) -> Network<PreparedConvNorm> {
        Network {
            body: self.body.prepare(),
            fpn: self.fpn.prepare(),
            rpn: self.rpn.prepare(),
            roi_heads: self.roi_heads.prepare(),
        }
    }
}

impl<C: ConvBlock> Network<C> {
    /// A batch to what the RoI heads say of its proposals.
    pub fn activations(&self, images: &ImageList, config: &FasterRcnnConfig) -> Activations {
        let maps = self.body.forward(images.tensor.clone());
        let pyramid = self.fpn.forward(maps.clone());
        let rpn = self.rpn.forward(&pyramid);
        let anchors = anchors(&pyramid, images, config);
        let proposals = rpn.proposals(&anchors, &images.resized_sizes, &config.rpn, false).trim();
        let roi = self.roi_heads.forward(&pyramid, proposals.rois(), &config.roi_heads);
        Activations { maps, pyramid, rpn, proposals, roi }
    }
}

impl Activations {
    /// The last step: to detections.
    pub fn detections(&self, images: &ImageList, config: &FasterRcnnConfig) -> DeviceDetections {
        self.roi.detections(&self.proposals, &images.resized_sizes, &config.roi_heads)
    }
}

/// The anchors of each level of the pyramid.
pub fn anchors(pyramid: &[Tensor<4>], images: &ImageList, config: &FasterRcnnConfig) -> Vec<Vec<Xyxy>> {
    let sizes: Vec<_> = pyramid.iter().map(|map| (map.dims()[2], map.dims()[3])).collect();
    config.anchors.anchors(&sizes, images.padded_size())
}
