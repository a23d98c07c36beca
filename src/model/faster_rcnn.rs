//! The whole detector: images to detections, and images with targets to losses.
//!
//! Source: [Ren et al. 2015](https://arxiv.org/abs/1506.01497), torchvision
//! `models/detection/{generalized_rcnn,faster_rcnn}.py`.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::anchors::AnchorConfig;
use super::box_head::BoxHeadKind;
use super::candidates::Candidates;
use super::fpn::Fpn;
use super::init::WeightInit;
use super::layers::{FrozenBatchNorm, NormKind};
use super::resnet::{ResNet, ResNetDepth};
use super::roi_heads::{RoiHeads, RoiHeadsConfig, RoiOutput, RoiTargets};
use super::roi_pool::rois_of;
use super::rpn::{Rpn, RpnConfig, RpnOutput, RpnTargets};
use super::sampler::Draw;
use super::transform::{ImageList, TransformConfig, resize_box};
use crate::error::{Error, Result};
use crate::structures::{Annotation, Detection, Image, Xyxy};

/// Architecture and settings; the defaults are torchvision's `fasterrcnn_resnet50_fpn`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FasterRcnnConfig {
    /// The backbone.
    pub backbone: ResNetDepth,
    /// The norm in the backbone.
    pub norm: NormKind,
    /// The norm in the pyramid; none in torchvision's v1 detector, batch norm in its v2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fpn_norm: Option<NormKind>,
    /// What frozen batch norms add to the variance; torchvision has 0 with its COCO v1 weights.
    #[serde(default = "default_frozen_epsilon")]
    pub frozen_epsilon: f64,
    /// Backbone stages that are trained, of five (stem, layer1..layer4), counted from the last.
    pub trainable_layers: usize,
    /// Channels of the pyramid.
    pub fpn_channels: usize,
    /// Classes, the background (0) included.
    pub num_classes: usize,
    /// Names of the classes 1, 2, ...; empty where they are not known.
    #[serde(default)]
    pub class_names: Vec<String>,
    /// Seed of the random weights.
    pub seed: u64,
    /// The input transform.
    #[serde(default)]
    pub transform: TransformConfig,
    /// The anchors.
    #[serde(default)]
    pub anchors: AnchorConfig,
    /// The first stage.
    #[serde(default)]
    pub rpn: RpnConfig,
    /// The second stage.
    #[serde(default)]
    pub roi_heads: RoiHeadsConfig,
}

/// No layer is wider: a bound for what a file may ask for, far above what trains.
const MAX_WIDTH: usize = 1 << 16;

/// No image is larger, in pixels: the same for memory that no machine has.
const MAX_SIDE: usize = 1 << 14;

fn default_frozen_epsilon() -> f64 {
    FrozenBatchNorm::EPSILON
}

impl FasterRcnnConfig {
    /// A backbone of any depth with torchvision's defaults for pre-trained weights: frozen batch
    /// norm, the last three stages trained. `num_classes` counts the background.
    pub fn new(backbone: ResNetDepth, num_classes: usize) -> Self {
        Self {
            backbone,
            norm: NormKind::FrozenBatch,
            fpn_norm: None,
            frozen_epsilon: FrozenBatchNorm::EPSILON,
            trainable_layers: 3,
            fpn_channels: 256,
            num_classes,
            class_names: Vec::new(),
            seed: 0,
            transform: TransformConfig::default(),
            anchors: AnchorConfig::default(),
            rpn: RpnConfig::default(),
            roi_heads: RoiHeadsConfig::default(),
        }
    }

    /// torchvision's `fasterrcnn_resnet50_fpn`.
    pub fn resnet50_fpn(num_classes: usize) -> Self {
        Self::new(ResNetDepth::ResNet50, num_classes)
    }

    /// torchvision's `fasterrcnn_resnet50_fpn_v2`: batch norm in the backbone and the pyramid, two
    /// convolutions in the RPN, four in the box head.
    pub fn resnet50_fpn_v2(num_classes: usize) -> Self {
        let mut config = Self::resnet50_fpn(num_classes).with_norm(NormKind::Batch);
        config.fpn_norm = Some(NormKind::Batch);
        config.rpn.conv_depth = 2;
        config.roi_heads.box_head = BoxHeadKind::FourConv;
        config
    }

    /// Names the classes 1, 2, ... and sets their number.
    pub fn with_class_names<S: ToString>(mut self, names: &[S]) -> Self {
        self.class_names = names.iter().map(S::to_string).collect();
        self.num_classes = names.len() + 1;
        self
    }

    /// Sets the norm of the backbone.
    pub fn with_norm(mut self, norm: NormKind) -> Self {
        self.norm = norm;
        self
    }

    /// Sets how many of the backbone's five stages are trained.
    pub fn with_trainable_layers(mut self, stages: usize) -> Self {
        self.trainable_layers = stages;
        self
    }

    /// Sets the short and the long side that images are resized to, in pixels.
    pub fn with_image_size(mut self, min_size: usize, max_size: usize) -> Self {
        (self.transform.min_size, self.transform.max_size) = (min_size, max_size);
        self
    }

    /// Finds settings that cannot work.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] names the first one.
    pub fn validate(&self) -> Result<()> {
        let fraction = |value: f64| (0.0..=1.0).contains(&value);
        let (rpn, roi, transform) = (&self.rpn, &self.roi_heads, &self.transform);
        let named = self.class_names.len();
        let checks = [
            (self.num_classes >= 2, "num_classes must be at least 2: the background and one class"),
            (
                named == 0 || named + 1 == self.num_classes,
                "class_names must name each class but the background: num_classes - 1 names",
            ),
            (self.trainable_layers <= 5, "trainable_layers must be in 0..=5"),
            (
                [self.num_classes, self.fpn_channels, roi.representation_size]
                    .iter()
                    .all(|width| (1..=MAX_WIDTH).contains(width)),
                "num_classes, fpn_channels and representation_size must be in 1..=65536",
            ),
            (
                self.fpn_norm != Some(NormKind::Group) || self.fpn_channels.is_multiple_of(32),
                "fpn_channels must be a multiple of 32 for group norm",
            ),
            (
                self.frozen_epsilon.is_finite() && self.frozen_epsilon >= 0.0,
                "frozen_epsilon must be finite and not below 0",
            ),
            ((1..=16).contains(&rpn.conv_depth), "rpn: conv_depth must be in 1..=16"),
            (
                0 < transform.min_size
                    && transform.min_size <= transform.max_size
                    && transform.max_size <= MAX_SIDE,
                "transform: 0 < min_size <= max_size <= 16384 must hold",
            ),
            (
                transform.image_std.iter().all(|std| std.is_finite() && *std > 0.0)
                    && transform.image_mean.iter().all(|mean| mean.is_finite()),
                "transform: image_mean and image_std must be finite, image_std above 0",
            ),
            (
                !self.anchors.aspect_ratios.is_empty()
                    && self
                        .anchors
                        .aspect_ratios
                        .iter()
                        .chain(&self.anchors.sizes)
                        .all(|v| *v > 0.0 && v.is_finite()),
                "anchors: sizes and aspect_ratios must be above 0, and there must be a ratio",
            ),
            (
                [rpn.score_thresh, rpn.fg_iou_thresh, rpn.bg_iou_thresh]
                    .iter()
                    .all(|v| fraction(f64::from(*v)))
                    && fraction(rpn.nms_thresh)
                    && fraction(rpn.positive_fraction),
                "rpn: thresholds and positive_fraction must be in 0..=1",
            ),
            (rpn.bg_iou_thresh <= rpn.fg_iou_thresh, "rpn: bg_iou_thresh must not be above fg_iou_thresh"),
            (
                [roi.score_thresh, roi.fg_iou_thresh].iter().all(|v| fraction(f64::from(*v)))
                    && fraction(roi.nms_thresh)
                    && fraction(roi.positive_fraction),
                "roi_heads: thresholds and positive_fraction must be in 0..=1",
            ),
            ((1..=64).contains(&roi.output_size), "roi_heads: output_size must be in 1..=64"),
            (
                rpn.batch_size_per_image > 0 && roi.batch_size_per_image > 0,
                "batch_size_per_image must not be 0",
            ),
            (
                roi.bbox_reg_weights.iter().all(|weight| *weight > 0.0 && weight.is_finite()),
                "roi_heads: bbox_reg_weights must be above 0",
            ),
        ];
        match checks.into_iter().find(|(holds, _)| !holds) {
            Some((_, message)) => Err(Error::Config(message.to_string())),
            None => Ok(()),
        }
    }

    /// A detector with random weights.
    ///
    /// # Panics
    ///
    /// If [`validate`](Self::validate) finds a fault.
    pub fn init(&self, device: &Device) -> FasterRcnn {
        self.build(WeightInit::new(self.seed, device))
    }

    /// A detector without weights yet, for those of a file: no tensor is drawn or allocated before it
    /// is looked at.
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
        let body = ResNet::new(self.backbone, self.norm, &mut init).train_last_stages(self.trainable_layers);
        let anchors_per_cell = self.anchors.aspect_ratios.len();
        let model = FasterRcnn {
            body,
            fpn: Fpn::new(self.backbone.channels(), self.fpn_channels, self.fpn_norm, &mut init),
            rpn: Rpn::new(self.fpn_channels, anchors_per_cell, &self.rpn, &mut init),
            roi_heads: RoiHeads::new(self.fpn_channels, self.num_classes, &self.roi_heads, &mut init),
            config: self.clone(),
        };
        model.with_frozen_epsilon(self.frozen_epsilon)
    }
}

/// Faster R-CNN with a ResNet-FPN backbone.
#[derive(Module, Debug)]
pub struct FasterRcnn {
    /// C2..C5.
    pub body: ResNet,
    /// P2..P6.
    pub fpn: Fpn,
    /// First stage.
    pub rpn: Rpn,
    /// Second stage.
    pub roi_heads: RoiHeads,
    #[module(skip)]
    config: FasterRcnnConfig,
}

/// The four terms of the training loss, `[1]` each.
#[derive(Debug, Clone)]
pub struct Losses {
    /// First stage: is there an object?
    pub objectness: Tensor<1>,
    /// First stage: where is it?
    pub rpn_box_reg: Tensor<1>,
    /// Second stage: what is it?
    pub classifier: Tensor<1>,
    /// Second stage: where is it?
    pub box_reg: Tensor<1>,
}

impl Losses {
    /// Names of the terms, in the order of [`terms`](Self::terms).
    pub const NAMES: [&str; 4] = ["objectness", "rpn_box_reg", "classifier", "box_reg"];

    /// The terms.
    pub fn terms(&self) -> [Tensor<1>; 4] {
        [&self.objectness, &self.rpn_box_reg, &self.classifier, &self.box_reg].map(Tensor::clone)
    }

    /// Their sum, which is minimised.
    pub fn sum(&self) -> Tensor<1> {
        let [objectness, rpn_box_reg, classifier, box_reg] = self.terms();
        objectness + rpn_box_reg + classifier + box_reg
    }
}

/// Everything between an image and its detections, for looking inside.
#[derive(Debug, Clone)]
pub struct Stages {
    /// C2..C5.
    pub maps: Vec<Tensor<4>>,
    /// P2..P6.
    pub pyramid: Vec<Tensor<4>>,
    /// Of the first stage.
    pub rpn: RpnOutput,
    /// Of each image, in pixels of the resized image.
    pub proposals: Candidates,
    /// Of the second stage, a row a place of `proposals`.
    pub roi: RoiOutput,
}

impl FasterRcnn {
    /// The settings it was made with.
    pub fn config(&self) -> &FasterRcnnConfig {
        &self.config
    }

    /// The same weights with other settings of the transform, such as the image size.
    pub fn with_transform(mut self, transform: TransformConfig) -> Self {
        self.config.transform = transform;
        self
    }

    /// The same weights with another lowest score of a detection.
    pub fn with_score_thresh(mut self, score_thresh: f32) -> Self {
        self.config.roi_heads.score_thresh = score_thresh;
        self
    }

    /// The same weights with another [`frozen_epsilon`](FasterRcnnConfig::frozen_epsilon).
    pub fn with_frozen_epsilon(mut self, epsilon: f64) -> Self {
        self.config.frozen_epsilon = epsilon;
        for norm in self.body.norms_mut().chain(self.fpn.norms_mut()) {
            norm.set_frozen_epsilon(epsilon);
        }
        self
    }

    /// For inference with these weights: each convolution keeps its weight, and the norm after it, as the device
    /// multiplies with it, instead of computing it for each image. On a CPU this saves time and takes more memory; on
    /// other devices there is nothing to do. It does not see weights that are loaded into it later.
    pub fn prepare(mut self) -> Self {
        self.body.prepare();
        self.fpn.prepare();
        self.rpn.prepare();
        self.roi_heads.prepare();
        self
    }

    /// Detects: images to detections by falling score, in pixels of the original images.
    pub fn forward(&self, images: &[Image]) -> Vec<Vec<Detection>> {
        let images = self.config.transform.batch(images, &self.device());
        self.detections(&images, &self.stages(&images))
    }

    /// Runs the network on a batch and keeps what each stage gives.
    pub fn stages(&self, images: &ImageList) -> Stages {
        let maps = self.body.forward(images.tensor.clone());
        let pyramid = self.fpn.forward(maps.clone());
        let rpn = self.rpn.forward(&pyramid);
        let anchors = self.anchors(&pyramid, images);
        let proposals = rpn.proposals(&anchors, &images.resized_sizes, &self.config.rpn, false).trim();
        let roi = self.roi_heads.forward(&pyramid, proposals.rois(), &self.config.roi_heads);
        Stages { maps, pyramid, rpn, proposals, roi }
    }

    /// The last step: what the stages gave, to detections in pixels of the original images.
    pub fn detections(&self, images: &ImageList, stages: &Stages) -> Vec<Vec<Detection>> {
        let nothing = Tensor::zeros([0], &stages.proposals.scores.device());
        self.detections_and(images, stages, nothing).0
    }

    /// The same and the values of another tensor, in the one read from the device that it takes.
    pub(crate) fn detections_and(
        &self,
        images: &ImageList,
        stages: &Stages,
        extra: Tensor<1>,
    ) -> (Vec<Vec<Detection>>, Vec<f32>) {
        let Stages { proposals, roi, .. } = stages;
        let found = roi.detections(proposals, &images.resized_sizes, &self.config.roi_heads);
        let (mut detections, extra) = found.read(extra);
        let sizes = images.resized_sizes.iter().zip(&images.original_sizes);
        for (detections, (&resized, &original)) in detections.iter_mut().zip(sizes) {
            for detection in detections {
                detection.xyxy = resize_box(&detection.xyxy, resized, original);
            }
        }
        (detections, extra)
    }

    /// The losses of a batch. `targets` are in pixels of the original images; crowds are left out.
    ///
    /// # Panics
    ///
    /// If there is not one list of targets an image, or a label is not in `1..num_classes`.
    pub fn losses(&self, images: &ImageList, targets: &[Vec<Annotation>], draw: &mut Draw) -> Losses {
        let targets = self.resized_targets(images, targets);
        let target_boxes: Vec<Vec<Xyxy>> =
            targets.iter().map(|targets| targets.iter().map(|target| target.xyxy).collect()).collect();

        let pyramid = self.fpn.forward(self.body.forward(images.tensor.clone()));
        let rpn = self.rpn.forward(&pyramid);
        let anchors = self.anchors(&pyramid, images);
        let proposals = rpn.proposals(&anchors, &images.resized_sizes, &self.config.rpn, true);
        let rpn_losses = rpn.losses(&RpnTargets::select(&anchors, &target_boxes, &self.config.rpn, draw));

        let config = &self.config.roi_heads;
        let boxes =
            proposals.to_vec().into_iter().map(|proposals| proposals.iter().map(|p| p.xyxy).collect());
        let selected = RoiTargets::select(boxes.collect(), &targets, config, draw);
        let rois = rois_of(&selected.proposals, &proposals.scores.device());
        let roi_losses = self.roi_heads.forward(&pyramid, rois, config).losses(&selected);
        Losses {
            objectness: rpn_losses.objectness,
            rpn_box_reg: rpn_losses.rpn_box_reg,
            classifier: roi_losses.classifier,
            box_reg: roi_losses.box_reg,
        }
    }

    /// The device the weights are on.
    pub fn device(&self) -> Device {
        self.devices().into_iter().next().expect("a detector has weights")
    }

    fn anchors(&self, pyramid: &[Tensor<4>], images: &ImageList) -> Vec<Vec<Xyxy>> {
        let sizes: Vec<_> = pyramid.iter().map(|map| (map.dims()[2], map.dims()[3])).collect();
        self.config.anchors.anchors(&sizes, images.padded_size())
    }

    fn resized_targets(&self, images: &ImageList, targets: &[Vec<Annotation>]) -> Vec<Vec<Annotation>> {
        assert_eq!(targets.len(), images.resized_sizes.len(), "one list of targets an image");
        let sizes = images.original_sizes.iter().zip(&images.resized_sizes);
        let resize = |(targets, (&original, &resized)): (&Vec<Annotation>, (&_, &_))| {
            let resize = |target: &Annotation| {
                assert!(
                    (1..self.config.num_classes).contains(&target.label),
                    "label {} is not in 1..{}",
                    target.label,
                    self.config.num_classes
                );
                Annotation { xyxy: resize_box(&target.xyxy, original, resized), ..*target }
            };
            targets.iter().filter(|target| !target.crowd).map(resize).collect()
        };
        targets.iter().zip(sizes).map(resize).collect()
    }
}
