//! Region proposal network: P2..P6 to proposals, and its two losses.
//!
//! Shape letters: N images, A anchors per cell, T anchors of all levels together (P2 first; row, column,
//! anchor within a level).
//!
//! Source: [Ren et al. 2015](https://arxiv.org/abs/1506.01497), torchvision `models/detection/rpn.py`.

use burn::module::Module;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::box_coder::{BoxCoder, Deltas};
use super::init::WeightInit;
use super::layers::{Conv2d, ConvBlock, ConvNorm, PreparedConvNorm};
use super::losses::{binary_cross_entropy, smooth_l1_sum};
use super::matcher::{Match, Matcher};
use super::sampler::{BalancedSampler, Sampling};
use super::scored_boxes::{NO_BOX, ScoredBoxes};
use crate::bounds::{self, MAX_COUNT};
use crate::error::Result;
use crate::ops::{Fused, top_k};
use crate::structures::Xyxy;

/// Settings of the region proposal network (RPN); names and defaults are torchvision's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RpnConfig {
    /// 3x3 convolutions before the two heads: 1 in torchvision's v1 detector, 2 in its v2.
    pub conv_depth: usize,
    /// Best anchors of each level that enter non-maximum suppression, in training.
    pub pre_nms_top_n_train: usize,
    /// The same at inference.
    pub pre_nms_top_n_test: usize,
    /// The most proposals per image, in training.
    pub post_nms_top_n_train: usize,
    /// The same at inference.
    pub post_nms_top_n_test: usize,
    /// Of two proposals of a level with an IoU above this, the one of the lower score is dropped.
    pub nms_thresh: f64,
    /// Lowest objectness, in `0..=1`, of a proposal.
    pub score_thresh: f32,
    /// An anchor is trained as an object from this IoU with a ground truth.
    pub fg_iou_thresh: f32,
    /// An anchor is trained as background below this IoU with every ground truth.
    pub bg_iou_thresh: f32,
    /// Anchors per image in the losses.
    pub batch_size_per_image: usize,
    /// The largest fraction of them that are objects, in `0..=1`.
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

impl RpnConfig {
    /// Finds settings that cannot work.
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) names the first one.
    pub(super) fn validate(&self) -> Result<()> {
        bounds::within("rpn.conv_depth", self.conv_depth, 1..=16)?;
        let counts = [
            ("rpn.pre_nms_top_n_train", self.pre_nms_top_n_train),
            ("rpn.pre_nms_top_n_test", self.pre_nms_top_n_test),
            ("rpn.post_nms_top_n_train", self.post_nms_top_n_train),
            ("rpn.post_nms_top_n_test", self.post_nms_top_n_test),
            ("rpn.batch_size_per_image", self.batch_size_per_image),
        ];
        bounds::all_within(&counts, 1..=MAX_COUNT)?;
        let thresholds = [
            ("rpn.score_thresh", self.score_thresh),
            ("rpn.fg_iou_thresh", self.fg_iou_thresh),
            ("rpn.bg_iou_thresh", self.bg_iou_thresh),
        ];
        bounds::all_within(&thresholds, 0.0..=1.0)?;
        let fractions =
            [("rpn.nms_thresh", self.nms_thresh), ("rpn.positive_fraction", self.positive_fraction)];
        bounds::all_within(&fractions, 0.0..=1.0)?;
        bounds::ensure(self.bg_iou_thresh <= self.fg_iou_thresh, || {
            "rpn.bg_iou_thresh must not be above rpn.fg_iou_thresh".to_string()
        })
    }
}

const CODER: BoxCoder = BoxCoder { weights: [1.0; 4] };
/// Proposals with a shorter side, in pixels of the resized image, are dropped.
pub const MIN_SIZE: f32 = 1e-3;
/// Where the box loss turns from quadratic to linear.
const BETA: f32 = 1.0 / 9.0;

/// The network: 3x3 convolutions and two 1x1 heads, shared by all levels.
#[derive(Module, Debug)]
pub struct Rpn<C = ConvNorm> {
    conv: Vec<C>,
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
    pub loss_objectness: Tensor<1>,
    /// Where is it?
    pub loss_rpn_box_reg: Tensor<1>,
}

impl Rpn {
    /// Normal weights of standard deviation 0.01, zero biases.
    pub fn new(channels: usize, anchors_per_cell: usize, config: &RpnConfig, init: &mut WeightInit) -> Self {
        let mut hidden = || ConvNorm::new(init.normal([channels, channels, 3, 3], 0.01), 1, None, init);
        let conv = (0..config.conv_depth).map(|_| hidden()).collect();
        let mut head = |outputs: usize| {
            let weight = init.normal([outputs, channels, 1, 1], 0.01);
            Conv2d::new(weight, Some(init.constant([outputs], 0.0)), 1)
        };
        Self { conv, cls_logits: head(anchors_per_cell), bbox_pred: head(4 * anchors_per_cell) }
    }

    /// For inference: see [`ConvNorm::prepare`].
    pub fn prepare(self) -> Rpn<PreparedConvNorm> {
        let conv = self.conv.into_iter().map(ConvNorm::prepare).collect();
        Rpn { conv, cls_logits: self.cls_logits, bbox_pred: self.bbox_pred }
    }
}

impl<C: ConvBlock> Rpn<C> {
    /// P2..P6, `[N, C, H, W]` each, to logits and deltas.
    pub fn forward(&self, pyramid: &[Tensor<4>]) -> RpnOutput {
        let (objectness, deltas) = pyramid
            .iter()
            .map(|map| {
                let [batch, _, height, width] = map.dims();
                let convs = self.conv.iter();
                let hidden = convs.fold(map.clone(), |x, conv| conv.forward(x, Fused::default().relu()));
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
    ) -> ScoredBoxes {
        let (pre_nms, post_nms) = if training {
            (config.pre_nms_top_n_train, config.post_nms_top_n_train)
        } else {
            (config.pre_nms_top_n_test, config.post_nms_top_n_test)
        };
        let device = self.objectness.device();
        let [batch, total] = self.objectness.dims();
        let objectness = self.objectness.clone().detach();
        let deltas = self.deltas.clone().detach();

        // The best anchors of each level, as indices among those of all levels, and the level of each.
        let (mut best, mut levels, mut start) = (Vec::new(), Vec::new(), 0);
        for (level, anchors) in anchors.iter().enumerate() {
            let count = pre_nms.min(anchors.len());
            let indices = top_k(objectness.clone().narrow(1, start, anchors.len()), count);
            best.push(indices + start as i64);
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
        ScoredBoxes { boxes, scores }
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
        let loss_rpn_box_reg = if objects.is_empty() {
            Tensor::zeros([1], &device)
        } else {
            let regression = TensorData::new(regression.concat(), [objects.len(), 4]);
            let deltas = self.deltas.clone().flatten::<2>(0, 1); // [N*T, 4]
            let deltas = deltas.select(0, indices(objects)); // [P, 4], those of objects
            smooth_l1_sum(deltas, Tensor::from_data(regression, &device), BETA) / count as f32
        };
        RpnLosses { loss_objectness: binary_cross_entropy(logits, labels), loss_rpn_box_reg }
    }
}

impl RpnTargets {
    /// Assigns and samples the anchors of each image.
    ///
    /// `anchors` holds those of each level; `targets` the boxes of each image in pixels of the
    /// resized image.
    pub fn select(
        anchors: &[Vec<Xyxy>],
        targets: &[Vec<Xyxy>],
        config: &RpnConfig,
        sampling: &mut Sampling,
    ) -> Self {
        let matcher = Matcher {
            fg_iou_thresh: config.fg_iou_thresh,
            bg_iou_thresh: config.bg_iou_thresh,
            allow_low_quality_matches: true,
        };
        let sampler = BalancedSampler::new(config.batch_size_per_image, config.positive_fraction);
        let anchors = anchors.concat();
        let mut selected = Self { anchors: Vec::new(), regression: Vec::new() };
        for (image, targets) in targets.iter().enumerate() {
            let matches = matcher.assign(targets, &anchors);
            for index in sampler.sample(&matches, image, sampling).all() {
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

/// `[N, C, H, W]` to `[N, H, W, C]`. Not by `permute`: burn-fusion 0.23.0-pre.1 tells a remote device that
/// the permuted tensor holds integers, and the worker ends the session.
fn channels_last(map: Tensor<4>) -> Tensor<4> {
    map.swap_dims(1, 2).swap_dims(2, 3)
}
