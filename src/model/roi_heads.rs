//! RoI heads: proposals to classes and refined boxes, their losses, and the final detections.
//!
//! Shape letters: K proposals of all images together, C classes with background.
//!
//! Source: [Ren et al. 2015](https://arxiv.org/abs/1506.01497), torchvision `models/detection/roi_heads.py`.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::activation::softmax;
use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::box_coder::BoxCoder;
use super::box_head::{BoxHead, BoxHeadKind};
use super::detections::DeviceDetections;
use super::exclusion::Exclusion;
use super::init::WeightInit;
use super::layers::{ConvBlock, ConvNorm, PreparedConvNorm, linear};
use super::losses::{cross_entropy, smooth_l1_sum};
use super::matcher::{Match, Matcher};
use super::roi_pool::multi_scale_roi_align;
use super::sampler::{BalancedSampler, Sampling};
use super::scored_boxes::{NO_BOX, ScoredBoxes};
use crate::bounds::{self, MAX_COUNT};
use crate::error::Result;
use crate::structures::{Annotation, Xyxy};

/// Settings of the RoI heads; names and defaults are torchvision's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoiHeadsConfig {
    /// A box is pooled to this many bins per side.
    pub output_size: usize,
    /// Samples per bin and axis; 0 takes as many as the bin has pixels.
    pub sampling_ratio: usize,
    /// Which hidden layers there are.
    pub box_head: BoxHeadKind,
    /// Width of the hidden layers.
    pub representation_size: usize,
    /// A proposal is trained as an object from this IoU with a ground truth, else as background.
    pub fg_iou_thresh: f32,
    /// Proposals per image in the losses.
    pub batch_size_per_image: usize,
    /// The largest fraction of them that are objects, in `0..=1`.
    pub positive_fraction: f64,
    /// Factors of the box offsets dx, dy, dw, dh.
    pub bbox_reg_weights: [f32; 4],
    /// Detections have a score above this.
    pub score_thresh: f32,
    /// Of two detections of a class with an IoU above this, the one of the lower score is dropped.
    pub nms_thresh: f64,
    /// Detections of two classes with an IoU above this are one object, which has one class: the lower score
    /// falls. 1, as in torchvision, leaves all scores as they are.
    pub exclusive_iou: f64,
    /// The most detections per image.
    pub detections_per_img: usize,
}

impl Default for RoiHeadsConfig {
    fn default() -> Self {
        Self {
            output_size: 7,
            sampling_ratio: 2,
            box_head: BoxHeadKind::TwoMlp,
            representation_size: 1024,
            fg_iou_thresh: 0.5,
            batch_size_per_image: 512,
            positive_fraction: 0.25,
            bbox_reg_weights: [10.0, 10.0, 5.0, 5.0],
            score_thresh: 0.05,
            nms_thresh: 0.5,
            exclusive_iou: 1.0,
            detections_per_img: 100,
        }
    }
}

impl RoiHeadsConfig {
    /// Finds settings that cannot work.
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) names the first one.
    pub(super) fn validate(&self) -> Result<()> {
        bounds::within("roi_heads.output_size", self.output_size, 1..=64)?;
        bounds::within("roi_heads.sampling_ratio", self.sampling_ratio, 0..=64)?;
        bounds::within("roi_heads.representation_size", self.representation_size, 1..=16_384)?;
        let counts = [
            ("roi_heads.batch_size_per_image", self.batch_size_per_image),
            ("roi_heads.detections_per_img", self.detections_per_img),
        ];
        bounds::all_within(&counts, 1..=MAX_COUNT)?;
        let weight = |weight: &f32| bounds::within("roi_heads.bbox_reg_weights", *weight, 1e-3..=1e6);
        self.bbox_reg_weights.iter().try_for_each(weight)?;
        let thresholds =
            [("roi_heads.score_thresh", self.score_thresh), ("roi_heads.fg_iou_thresh", self.fg_iou_thresh)];
        bounds::all_within(&thresholds, 0.0..=1.0)?;
        let fractions = [
            ("roi_heads.nms_thresh", self.nms_thresh),
            ("roi_heads.exclusive_iou", self.exclusive_iou),
            ("roi_heads.positive_fraction", self.positive_fraction),
        ];
        bounds::all_within(&fractions, 0.0..=1.0)
    }

    /// How the classes of an object exclude each other.
    pub(crate) fn exclusion(&self) -> Exclusion {
        Exclusion { iou: self.exclusive_iou, score_thresh: self.score_thresh }
    }
}

/// Detections with a shorter side, in pixels of the resized image, are dropped.
pub const MIN_SIZE: f32 = 1e-2;
/// Where the box loss turns from quadratic to linear.
const BETA: f32 = 1.0 / 9.0;

/// The box head, and the two layers that turn its vectors into classes and boxes.
#[derive(Module, Debug)]
pub struct RoiHeads<C = ConvNorm> {
    box_head: BoxHead<C>,
    cls_score: Linear,
    bbox_pred: Linear,
}

/// What the heads say of every proposal.
#[derive(Debug, Clone)]
pub struct RoiOutput {
    /// `[K, C]`
    pub class_logits: Tensor<2>,
    /// `[K, C * 4]`
    pub box_deltas: Tensor<2>,
}

/// The proposals a loss is computed on, and what they should become.
#[derive(Debug, Clone)]
pub struct RoiTargets {
    /// The boxes of each image.
    pub proposals: Vec<Vec<Xyxy>>,
    /// Class of every box of all images, 0 where background.
    pub labels: Vec<usize>,
    /// Offsets to the matched ground truth, in the order of `labels`; zero where background.
    pub regression: Vec<[f32; 4]>,
}

/// The RoI heads' part of the loss, `[1]` each.
#[derive(Debug, Clone)]
pub struct RoiLosses {
    /// What is it?
    pub loss_classifier: Tensor<1>,
    /// Where is it?
    pub loss_box_reg: Tensor<1>,
}

impl RoiHeads {
    /// Layers as PyTorch initialises them.
    pub fn new(channels: usize, num_classes: usize, config: &RoiHeadsConfig, init: &mut WeightInit) -> Self {
        let hidden = config.representation_size;
        Self {
            box_head: BoxHead::new(config.box_head, channels, config.output_size, hidden, init),
            cls_score: init.linear(hidden, num_classes),
            bbox_pred: init.linear(hidden, num_classes * 4),
        }
    }

    /// For inference: see [`ConvNorm::prepare`].
    pub fn prepare(self) -> RoiHeads<PreparedConvNorm> {
        let Self { box_head, cls_score, bbox_pred } = self;
        RoiHeads { box_head: box_head.prepare(), cls_score, bbox_pred }
    }
}

impl<C: ConvBlock> RoiHeads<C> {
    /// Pools the boxes of each image from P2..P5 and classifies and refines them.
    ///
    /// `rois` are `[K, 5]`, image index and box.
    pub fn forward(&self, pyramid: &[Tensor<4>], rois: Tensor<2>, config: &RoiHeadsConfig) -> RoiOutput {
        let pooled = multi_scale_roi_align(pyramid, rois, config.output_size, config.sampling_ratio);
        self.classify(pooled)
    }

    /// `[K, channels, size, size]` to classes and boxes.
    pub fn classify(&self, pooled: Tensor<4>) -> RoiOutput {
        let x = self.box_head.forward(pooled);
        let class_logits = linear(&self.cls_score, x.clone(), false);
        RoiOutput { class_logits, box_deltas: linear(&self.bbox_pred, x, false) }
    }
}

impl RoiTargets {
    /// Adds the ground truth to the proposals, assigns and samples; both in pixels of the resized image.
    pub fn select(
        proposals: Vec<Vec<Xyxy>>,
        targets: &[Vec<Annotation>],
        config: &RoiHeadsConfig,
        sampling: &mut Sampling,
    ) -> Self {
        let matcher = Matcher {
            fg_iou_thresh: config.fg_iou_thresh,
            bg_iou_thresh: config.fg_iou_thresh,
            allow_low_quality_matches: false,
        };
        let sampler = BalancedSampler::new(config.batch_size_per_image, config.positive_fraction);
        let coder = BoxCoder { weights: config.bbox_reg_weights };
        let mut selected = Self { proposals: Vec::new(), labels: Vec::new(), regression: Vec::new() };
        for (image, (mut proposals, targets)) in proposals.into_iter().zip(targets).enumerate() {
            let boxes: Vec<Xyxy> = targets.iter().map(|target| target.xyxy).collect();
            proposals.extend(&boxes);
            let matches = matcher.assign(&boxes, &proposals);
            let indices = sampler.sample(&matches, image, sampling).all();
            for &index in &indices {
                let (label, regression) = match matches[index] {
                    Match::Object(target) => {
                        (targets[target].label, coder.encode(&boxes[target], &proposals[index]))
                    }
                    _ => (0, [0.0; 4]),
                };
                selected.labels.push(label);
                selected.regression.push(regression);
            }
            selected.proposals.push(indices.into_iter().map(|index| proposals[index]).collect());
        }
        selected
    }
}

impl RoiOutput {
    /// Both losses; zero where there is no proposal at all.
    pub fn losses(&self, targets: &RoiTargets) -> RoiLosses {
        let device = self.class_logits.device();
        let [count, num_classes] = self.class_logits.dims();
        if count == 0 {
            return RoiLosses {
                loss_classifier: Tensor::zeros([1], &device),
                loss_box_reg: Tensor::zeros([1], &device),
            };
        }
        let labels: Vec<i64> = targets.labels.iter().map(|&label| label as i64).collect();
        let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [count]), &device);

        // Of each object's row, only the offsets of its class are trained.
        let (rows, regression): (Vec<i64>, Vec<[f32; 4]>) = targets
            .labels
            .iter()
            .zip(&targets.regression)
            .enumerate()
            .filter(|(_, (label, _))| **label > 0)
            .map(|(index, (label, regression))| ((index * num_classes + label) as i64, *regression))
            .unzip();
        let loss_box_reg = if rows.is_empty() {
            Tensor::zeros([1], &device)
        } else {
            let objects = rows.len();
            let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [objects]), &device);
            let regression = TensorData::new(regression.concat(), [objects, 4]);
            let deltas = self.box_deltas.clone().reshape([count * num_classes, 4]).select(0, rows);
            smooth_l1_sum(deltas, Tensor::from_data(regression, &device), BETA) / count as f32
        };
        RoiLosses { loss_classifier: cross_entropy(self.class_logits.clone(), labels), loss_box_reg }
    }

    /// The detections of each image by falling score.
    ///
    /// `proposals` are the boxes that were pooled; `sizes` are `(height, width)` of the resized images.
    pub fn detections(
        &self,
        proposals: &ScoredBoxes,
        sizes: &[(usize, usize)],
        config: &RoiHeadsConfig,
    ) -> DeviceDetections {
        let [batch, count] = proposals.scores.dims();
        let [_, num_classes] = self.class_logits.dims();
        let objects = num_classes - 1;
        let slots = count * objects; // a proposal, a class
        let coder = BoxCoder { weights: config.bbox_reg_weights };

        let scores = softmax(self.class_logits.clone(), 1).narrow(1, 1, objects); // [N*K, C-1]
        let scores = scores.reshape([batch, count, objects]);
        let empty = proposals.scores.clone().lower_elem(0.0).unsqueeze_dim::<3>(2);
        let unlikely = scores.clone().greater_elem(config.score_thresh).bool_not();
        let dropped = unlikely.bool_or(empty.expand([batch, count, objects]));
        let scores = scores.mask_fill(dropped, NO_BOX).reshape([batch, slots]);
        let deltas = self.box_deltas.clone().reshape([batch, count, num_classes, 4]);
        let deltas = deltas.narrow(2, 1, objects).reshape([batch, slots, 4]);
        let references = proposals.boxes.clone().unsqueeze_dim::<4>(2).expand([batch, count, objects, 4]);
        let boxes = coder.decode(deltas, references.reshape([batch, slots, 4]));
        let candidates = ScoredBoxes { boxes, scores }.clip(sizes, MIN_SIZE);

        // A row of each class of each image: [N, K, C-1] to [N*(C-1), K], and back.
        let rows = [batch * objects, count];
        let boxes = candidates.boxes.clone().reshape([batch, count, objects, 4]).swap_dims(1, 2);
        let by_class = ScoredBoxes {
            boxes: boxes.reshape([batch * objects, count, 4]),
            scores: candidates.scores.reshape([batch, count, objects]).swap_dims(1, 2).reshape(rows),
        };
        let groups = Tensor::zeros(rows, &by_class.scores.device());
        let scores = by_class.suppress(groups, config.nms_thresh).scores;
        let scores = scores.reshape([batch, objects, count]).swap_dims(1, 2).reshape([batch, slots]);

        let (best, indices) = ScoredBoxes { scores, ..candidates }.best(config.detections_per_img);
        let labels = indices.remainder_scalar(objects as i64) + 1;
        DeviceDetections::new(best, labels, config.exclusion())
    }
}
