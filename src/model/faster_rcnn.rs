//! The detector that is trained: images with targets to losses, and images to detections.
//!
//! Source: [Ren et al. 2015](https://arxiv.org/abs/1506.01497), torchvision
//! `models/detection/{generalized_rcnn,faster_rcnn}.py`.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::config::FasterRcnnConfig;
use super::init::WeightInit;
use super::network::{Activations, Network, anchors};
use super::prepared::PreparedFasterRcnn;
use super::roi_heads::RoiTargets;
use super::roi_pool::rois_of;
use super::rpn::RpnTargets;
use super::sampler::Sampling;
use super::stages::{Stage, Stages, Whole};
use super::transform::{ImageList, resize_box};
use crate::structures::{Annotation, Detection, Image, Xyxy};

impl FasterRcnnConfig {
    /// A detector with random weights.
    ///
    /// # Panics
    ///
    /// If [`validate`](Self::validate) finds a fault.
    pub fn init(&self, device: &Device) -> FasterRcnn {
        self.build(WeightInit::new(self.seed, device))
    }

    /// A detector whose weights will come from a file. No weights are drawn, and a tensor is allocated when
    /// it is first used.
    ///
    /// # Panics
    ///
    /// As [`init`](Self::init).
    pub(crate) fn blank(&self, device: &Device) -> FasterRcnn {
        self.build(WeightInit::blank(device))
    }

    fn build(&self, mut init: WeightInit) -> FasterRcnn {
        if let Err(error) = self.validate() {
            panic!("{error}");
        }
        FasterRcnn { network: Network::new(self, &mut init), config: self.clone() }
    }
}

/// Faster R-CNN with a ResNet-FPN backbone, to be trained or to be [`prepare`](Self::prepare)d for inference.
#[derive(Module, Debug)]
pub struct FasterRcnn {
    network: Network,
    #[module(skip)]
    config: FasterRcnnConfig,
}

/// The four terms of the training loss, `[1]` each, under torchvision's names.
#[derive(Debug, Clone)]
pub struct Losses {
    /// Of the RPN: does an anchor hold an object?
    pub loss_objectness: Tensor<1>,
    /// Of the RPN: where is it?
    pub loss_rpn_box_reg: Tensor<1>,
    /// Of the RoI heads: what is it?
    pub loss_classifier: Tensor<1>,
    /// Of the RoI heads: where is it?
    pub loss_box_reg: Tensor<1>,
}

impl Losses {
    /// Names of the terms, in the order of [`terms`](Self::terms).
    pub const NAMES: [&str; 4] = ["loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"];

    /// The terms.
    pub fn terms(&self) -> [Tensor<1>; 4] {
        [&self.loss_objectness, &self.loss_rpn_box_reg, &self.loss_classifier, &self.loss_box_reg]
            .map(Tensor::clone)
    }

    /// Their sum, which is minimised.
    pub fn sum(&self) -> Tensor<1> {
        let [objectness, rpn_box_reg, classifier, box_reg] = self.terms();
        objectness + rpn_box_reg + classifier + box_reg
    }
}

impl FasterRcnn {
    /// The settings it was made with.
    pub fn config(&self) -> &FasterRcnnConfig {
        &self.config
    }

    /// The device the weights are on.
    pub fn device(&self) -> Device {
        self.devices().into_iter().next().expect("a detector has weights")
    }

    /// The layers.
    #[doc(hidden)]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The same weights with another [`frozen_epsilon`](FasterRcnnConfig::frozen_epsilon).
    ///
    /// # Panics
    ///
    /// If it is not in the bounds that [`FasterRcnnConfig::validate`] checks.
    #[must_use]
    pub fn with_frozen_epsilon(mut self, epsilon: f64) -> Self {
        self.config.frozen_epsilon = epsilon;
        if let Err(error) = self.config.validate() {
            panic!("{error}");
        }
        self.network.set_frozen_epsilon(epsilon);
        self
    }

    /// For inference with these weights: folds batch norms into the convolutions, and transforms the weights
    /// into the form that the device multiplies with. On a CPU this saves time, and a 3x3 convolution's
    /// weight takes four times the memory. A detector on an autodiff device becomes one on the inner device.
    pub fn prepare(self) -> PreparedFasterRcnn {
        let Self { network, config } = self.valid();
        drop(self); // each weight is freed once it is prepared
        PreparedFasterRcnn::new(network, config)
    }

    /// Detects: images to detections by falling score, in pixels of the original images.
    ///
    /// # Panics
    ///
    /// If there is no image.
    pub fn forward(&self, images: &[Image]) -> Vec<Vec<Detection>> {
        let images = self.config.transform.batch(images, &self.device());
        self.detections(&images, &self.activations(&images))
    }

    /// Runs the network on a batch and keeps what each part of it gives, to look inside.
    #[doc(hidden)]
    pub fn activations(&self, images: &ImageList) -> Activations {
        self.network.activations(images, &self.config)
    }

    /// The last step of [`forward`](Self::forward).
    #[doc(hidden)]
    pub fn detections(&self, images: &ImageList, activations: &Activations) -> Vec<Vec<Detection>> {
        activations.detections(images, &self.config).download(images).detections
    }

    /// The losses of a batch. `targets` are those of each image, in its pixels; crowds and difficult ones are
    /// left out.
    ///
    /// # Panics
    ///
    /// If there is no image, not one list of targets per image, or a label that is not in `1..num_classes`.
    pub fn losses(&self, images: &[Image], targets: &[Vec<Annotation>], sampling: &mut Sampling) -> Losses {
        self.losses_in_stages(images, targets, sampling, &mut Whole(&self.network))
    }

    /// [`losses`](Self::losses), with `stages` between the stages.
    pub(crate) fn losses_in_stages(
        &self,
        images: &[Image],
        targets: &[Vec<Annotation>],
        sampling: &mut Sampling,
        stages: &mut impl Stages,
    ) -> Losses {
        let images = &self.config.transform.batch(images, &self.device());
        let targets = self.resized_targets(images, targets);
        let target_boxes: Vec<Vec<Xyxy>> =
            targets.iter().map(|targets| targets.iter().map(|target| target.xyxy).collect()).collect();

        let lower = stages.network(Stage::Lower).body.lower(images.tensor.clone());
        let [c2, c3] = lower.map(|map| stages.hand_on(Stage::Lower, map));
        let c4 = stages.network(Stage::Layer3).body.third(c3.clone());
        let c4 = stages.hand_on(Stage::Layer3, c4);
        let c5 = stages.network(Stage::Layer4).body.fourth(c4.clone());
        let c5 = stages.hand_on(Stage::Layer4, c5);
        let pyramid = stages.network(Stage::Fpn).fpn.forward(vec![c2, c3, c4, c5]).into_iter();
        let pyramid: Vec<_> = pyramid.map(|map| stages.hand_on(Stage::Fpn, map)).collect();
        let rpn = stages.network(Stage::Rpn).rpn.forward(&pyramid);
        let anchors = anchors(&pyramid, images, &self.config);
        let proposals = rpn.proposals(&anchors, &images.resized_sizes, &self.config.rpn, true);
        let rpn_losses = rpn.losses(&RpnTargets::select(&anchors, &target_boxes, &self.config.rpn, sampling));

        let config = &self.config.roi_heads;
        let boxes =
            proposals.to_vec().into_iter().map(|proposals| proposals.iter().map(|p| p.xyxy).collect());
        let selected = RoiTargets::select(boxes.collect(), &targets, config, sampling);
        let rois = rois_of(&selected.proposals, &proposals.scores.device());
        let network = stages.network(Stage::Heads);
        let roi_losses = network.roi_heads.forward(&pyramid, rois, config).losses(&selected);
        Losses {
            loss_objectness: rpn_losses.loss_objectness,
            loss_rpn_box_reg: rpn_losses.loss_rpn_box_reg,
            loss_classifier: roi_losses.loss_classifier,
            loss_box_reg: roi_losses.loss_box_reg,
        }
    }

    fn resized_targets(&self, images: &ImageList, targets: &[Vec<Annotation>]) -> Vec<Vec<Annotation>> {
        let (count, num_classes) = (images.resized_sizes.len(), self.config.num_classes);
        assert_eq!(targets.len(), count, "there must be one list of targets per image");
        let sizes = images.original_sizes.iter().zip(&images.resized_sizes);
        let resize = |(targets, (&original, &resized)): (&Vec<Annotation>, (&_, &_))| {
            let resize = |target: &Annotation| {
                let label = target.label;
                assert!((1..num_classes).contains(&label), "label {label} is not in 1..{num_classes}");
                Annotation { xyxy: resize_box(&target.xyxy, original, resized), ..*target }
            };
            targets.iter().filter(|target| !target.is_ignored()).map(resize).collect()
        };
        targets.iter().zip(sizes).map(resize).collect()
    }
}
