//! Region proposal network: P2..P6 to proposals, and its two losses.
//!
//! Shape letters: N images, A anchors a cell, T anchors of all levels together (P2 first; row, column,
//! anchor within a level).
//!
//! Source: [Ren et al. 2015](https://arxiv.org/abs/1506.01497), torchvision `models/detection/rpn.py`.

use burn::module::Module;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::box_coder::{BoxCoder, Deltas};
use super::candidates::{Candidates, NO_BOX};
use super::init::WeightInit;
use super::layers::Conv2d;
use super::losses::{binary_cross_entropy, smooth_l1_sum};
use super::matcher::{Match, Matcher};
use super::sampler::{BalancedSampler, Draw};
use crate::ops::{Fused, top_k};
use crate::structures::Xyxy;

/// Settings of the RPN; defaults are torchvision's, and so are the names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RpnConfig {
    /// 3x3 convolutions before the two heads: 1 in torchvision's v1 detector, 2 in its v2.
    pub conv_depth: usize,
    /// Best anchors a level that enter suppression, in training.
    pub pre_nms_top_n_train: usize,
    /// The same at inference.
    pub pre_nms_top_n_test: usize,
    /// Proposals an image, in training.
    pub post_nms_top_n_train: usize,
    /// The same at inference.
    pub post_nms_top_n_test: usize,
    /// IoU above which the lower-scored of two proposals of a level is dropped.
    pub nms_thresh: f64,
    /// Lowest objectness, in `0..=1`, of a proposal.
    pub score_thresh: f32,
    /// IoU with a ground truth from which an anchor is trained as an object.
    pub fg_iou_thresh: f32,
    /// IoU below which it is trained as background.
    pub bg_iou_thresh: f32,
    /// Anchors an image in the losses.
    pub batch_size_per_image: usize,
    /// The most of them that are objects, as a part.
    pub positive_fraction: f64,
}

impl Default for RpnConfig {
    fn default() -> Self {
        Self {
            conv_depth: 1,
            pre_nms_top_n_train: 2000,
            pre_nms_top_n_test: 1000,
            post_nms_top_n_train: 2000,
            post_nms_top_n_test: 1000,
            nms_thresh: 0.7,
            score_thresh: 0.0,
            fg_iou_thresh: 0.7,
            bg_iou_thresh: 0.3,
            batch_size_per_image: 256,
            positive_fraction: 0.5,
        }
    }
}

const CODER: BoxCoder = BoxCoder { weights: [1.0; 4] };
/// Proposals with a shorter side, in pixels of the resized image, are dropped.
const MIN_SIZE: f32 = 1e-3;
/// Where the box loss turns from quadratic to linear.
const BETA: f32 = 1.0 / 9.0;

/// The network: 3x3 convolutions and two 1x1 heads, shared by all levels.
#[derive(Module, Debug)]
pub struct Rpn {
    conv: Vec<Conv2d>,
    cls_logits: Conv2d,
    bbox_pred: Conv2d,
}

/// What the network says of every anchor.
#[derive(Debug, Clone)]
pub struct RpnOutput {
    /// Logits, `[N, T]`.
    pub objectness: Tensor<2>,
    /// `[N, T, 4]`
    pub deltas: Tensor<3>,
}

/// A box that may hold an object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Proposal {
    /// In pixels of the resized image.
    pub xyxy: Xyxy,
    /// Objectness in `0..=1`.
    pub score: f32,
}

/// The anchors a loss is computed on, and what they should become.
#[derive(Debug, Clone)]
pub struct RpnTargets {
    /// Indices into the anchors of all images, image by image: `0..N * T`.
    pub anchors: Vec<usize>,
    /// Of each, the offsets to the matched ground truth; none where background.
    pub regression: Vec<Option<Deltas>>,
}

/// The RPN's part of the loss, `[1]` each.
#[derive(Debug, Clone)]
pub struct RpnLosses {
    /// Is there an object?
    pub objectness: Tensor<1>,
    /// Where is it?
    pub rpn_box_reg: Tensor<1>,
}

impl Rpn {
    /// Normal weights of standard deviation 0.01, zero biases.
    pub fn new(channels: usize, anchors_per_cell: usize, config: &RpnConfig, init: &mut WeightInit) -> Self {
        let mut conv = |outputs: usize, kernel: usize| {
            let weight = init.normal([outputs, channels, kernel, kernel], 0.01);
            Conv2d::new(weight, Some(init.constant([outputs], 0.0)), 1)
        };
        Self {
            conv: (0..config.conv_depth).map(|_| conv(channels, 3)).collect(),
            cls_logits: conv(anchors_per_cell, 1),
            bbox_pred: conv(4 * anchors_per_cell, 1),
        }
    }

    /// For inference: see [`Norm::prepare`](super::layers::Norm::prepare).
    pub fn prepare(&mut self) {
        self.conv.iter_mut().for_each(Conv2d::prepare);
    }

    /// P2..P6, `[N, C, H, W]` each, to logits and deltas.
    pub fn forward(&self, pyramid: &[Tensor<4>]) -> RpnOutput {
        let (objectness, deltas) = pyramid
            .iter()
            .map(|map| {
                let [batch, _, height, width] = map.dims();
                let hidden = self
                    .conv
                    .iter()
                    .fold(map.clone(), |x, conv| conv.forward_with(x, Fused::default().relu()));
                let logits = self.cls_logits.forward(hidden.clone()); // [N, A, H, W]
                let deltas = self.bbox_pred.forward(hidden); // [N, A*4, H, W]
                let anchors = logits.dims()[1] * height * width;
                (
                    channels_last(logits).reshape([batch, anchors]), // [N, H*W*A]
                    channels_last(deltas).reshape([batch, anchors, 4]), // [N, H*W*A, 4]
                )
            })
            .unzip();
        RpnOutput { objectness: Tensor::cat(objectness, 1), deltas: Tensor::cat(deltas, 1) }
    }
}

impl RpnOutput {
    /// The best boxes of each image, by falling score, after suppression within each level.
    ///
    /// `anchors` holds those of each level; `sizes` are `(height, width)` of the resized images.
    pub fn proposals(
        &self,
        anchors: &[Vec<Xyxy>],
        sizes: &[(usize, usize)],
        config: &RpnConfig,
        training: bool,
    ) -> Candidates {
        let (pre_nms, post_nms) = if training {
            (config.pre_nms_top_n_train, config.post_nms_top_n_train)
        } else {
            (config.pre_nms_top_n_test, config.post_nms_top_n_test)
        };
        let device = self.objectness.device();
        let [batch, total] = self.objectness.dims();
        let objectness = self.objectness.clone().detach();
        let deltas = self.deltas.clone().detach();

        // Of each level the best anchors, as places among those of all levels, and the level.
        let (mut best, mut levels, mut start) = (Vec::new(), Vec::new(), 0);
        for (level, anchors) in anchors.iter().enumerate() {
            let count = pre_nms.min(anchors.len());
            let places = top_k(objectness.clone().narrow(1, start, anchors.len()), count);
            best.push(places + start as i64);
            levels.extend(std::iter::repeat_n(level as i64, count));
            start += anchors.len();
        }
        let best = Tensor::cat(best, 1); // [N, K]
        let count = levels.len();
        let levels = Tensor::<2, Int>::from_data(TensorData::new(levels, [1, count]), &device);

        let of_deltas = best.clone().unsqueeze_dim::<3>(2).expand([batch, count, 4]);
        let deltas = deltas.gather(1, of_deltas);
        let anchors = TensorData::new(anchors.concat().concat(), [total, 4]);
        let anchors = Tensor::<2>::from_data(anchors, &device).select(0, best.clone().flatten::<1>(0, 1));
        let boxes = CODER.decode(deltas, anchors.reshape([batch, count, 4]));
        let scores = sigmoid(objectness.gather(1, best));
        let likely = scores.clone().greater_equal_elem(config.score_thresh);
        let scores = scores.mask_fill(likely.bool_not(), NO_BOX);
        Candidates { boxes, scores }
            .clip(sizes, MIN_SIZE)
            .suppress(levels.expand([batch, count]), config.nms_thresh)
            .best(post_nms)
            .0
    }

    /// Both losses, means over the sampled anchors.
    pub fn losses(&self, targets: &RpnTargets) -> RpnLosses {
        let device = self.objectness.device();
        let count = targets.anchors.len();
        let indices = |anchors: Vec<i64>| {
            let count = anchors.len();
            Tensor::<1, Int>::from_data(TensorData::new(anchors, [count]), &device)
        };
        let labels: Vec<f32> =
            targets.regression.iter().map(|object| if object.is_some() { 1.0 } else { 0.0 }).collect();
        let labels = Tensor::from_data(TensorData::new(labels, [count]), &device);
        let sampled = indices(targets.anchors.iter().map(|&anchor| anchor as i64).collect());
        let logits = self.objectness.clone().flatten::<1>(0, 1).select(0, sampled);

        let sampled = targets.anchors.iter().zip(&targets.regression);
        let (objects, regression): (Vec<i64>, Vec<Deltas>) =
            sampled.filter_map(|(&anchor, object)| object.map(|deltas| (anchor as i64, deltas))).unzip();
        let rpn_box_reg = if objects.is_empty() {
            Tensor::zeros([1], &device)
        } else {
            let regression = TensorData::new(regression.concat(), [objects.len(), 4]);
            let deltas = self.deltas.clone().flatten::<2>(0, 1).select(0, indices(objects)); // [N*T, 4] -> [P, 4]
            smooth_l1_sum(deltas, Tensor::from_data(regression, &device), BETA) / count as f32
        };
        RpnLosses { objectness: binary_cross_entropy(logits, labels), rpn_box_reg }
    }
}

impl RpnTargets {
    /// Assigns and samples the anchors of each image.
    ///
    /// `anchors` holds those of each level; `targets` the boxes of each image in pixels of the
    /// resized image.
    pub fn select(anchors: &[Vec<Xyxy>], targets: &[Vec<Xyxy>], config: &RpnConfig, draw: &mut Draw) -> Self {
        let matcher = Matcher {
            foreground_iou: config.fg_iou_thresh,
            background_iou: config.bg_iou_thresh,
            allow_low_quality: true,
        };
        let sampler = BalancedSampler {
            batch_size: config.batch_size_per_image,
            positive_fraction: config.positive_fraction,
        };
        let anchors = anchors.concat();
        let mut selected = Self { anchors: Vec::new(), regression: Vec::new() };
        for (image, targets) in targets.iter().enumerate() {
            let matches = matcher.assign(targets, &anchors);
            for index in sampler.sample(&matches, image, draw).all() {
                selected.anchors.push(image * anchors.len() + index);
                selected.regression.push(match matches[index] {
                    Match::Object(target) => Some(CODER.encode(&targets[target], &anchors[index])),
                    _ => None,
                });
            }
        }
        selected
    }
}

/// `[N, C, H, W]` to `[N, H, W, C]`. Not by `permute`: burn-fusion 0.23.0-pre.1 tells a remote device that what it
/// permutes were integers, and the worker ends the session.
fn channels_last(map: Tensor<4>) -> Tensor<4> {
    map.swap_dims(1, 2).swap_dims(2, 3)
}
