//! Region proposal network: P2..P6 to proposals, and its two losses.
//!
//! Shape letters: N images, A anchors a cell, T anchors of all levels together (P2 first; row, column,
//! anchor within a level).
//!
//! Source: [Ren et al. 2015](https://arxiv.org/abs/1506.01497), torchvision `models/detection/rpn.py`.

use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::box_coder::{BoxCoder, Deltas};
use super::init::WeightInit;
use super::layers::Conv2d;
use super::losses::{binary_cross_entropy, smooth_l1_sum};
use super::matcher::{Match, Matcher};
use super::sampler::{BalancedSampler, Draw};
use crate::ops::batched_nms;
use crate::structures::{Xyxy, clip, sides_reach};

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

    /// P2..P6, `[N, C, H, W]` each, to logits and deltas.
    pub fn forward(&self, pyramid: &[Tensor<4>]) -> RpnOutput {
        let (objectness, deltas) = pyramid
            .iter()
            .map(|map| {
                let [batch, _, height, width] = map.dims();
                let hidden = self.conv.iter().fold(map.clone(), |x, conv| conv.forward_with(x, None, true));
                let logits = self.cls_logits.forward(hidden.clone()); // [N, A, H, W]
                let deltas = self.bbox_pred.forward(hidden); // [N, A*4, H, W]
                let anchors = logits.dims()[1] * height * width;
                (
                    logits.permute([0, 2, 3, 1]).reshape([batch, anchors]), // [N, H*W*A]
                    deltas.permute([0, 2, 3, 1]).reshape([batch, anchors, 4]), // [N, H*W*A, 4]
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
    ) -> Vec<Vec<Proposal>> {
        let (pre_nms, post_nms) = if training {
            (config.pre_nms_top_n_train, config.post_nms_top_n_train)
        } else {
            (config.pre_nms_top_n_test, config.post_nms_top_n_test)
        };
        let levels = anchors.len();
        let device = self.objectness.device();
        let [_, total] = self.objectness.dims();
        let logits = to_vec(self.objectness.clone().detach());
        let deltas = to_vec(self.deltas.clone().detach());
        let (deltas, _) = deltas.as_chunks::<4>();

        let mut candidates: Vec<Proposal> = Vec::new();
        let mut groups: Vec<i64> = Vec::new();
        for (image, &size) in sizes.iter().enumerate() {
            let mut start = image * total;
            for (level, anchors) in anchors.iter().enumerate() {
                let logits = &logits[start..][..anchors.len()];
                let deltas: &[Deltas] = &deltas[start..][..anchors.len()];
                start += anchors.len();
                for index in top_indices(logits, pre_nms) {
                    let xyxy = clip(&CODER.decode(&deltas[index], &anchors[index]), size);
                    let score = 1.0 / (1.0 + (-logits[index]).exp());
                    if sides_reach(&xyxy, MIN_SIZE) && score >= config.score_thresh {
                        candidates.push(Proposal { xyxy, score });
                        groups.push((image * levels + level) as i64);
                    }
                }
            }
        }

        let count = candidates.len();
        let boxes: Vec<f32> = candidates.iter().flat_map(|candidate| candidate.xyxy).collect();
        let scores: Vec<f32> = candidates.iter().map(|candidate| candidate.score).collect();
        let keep = batched_nms(
            Tensor::from_data(TensorData::new(boxes, [1, count, 4]), &device),
            Tensor::from_data(TensorData::new(scores, [1, count]), &device),
            Tensor::from_data(TensorData::new(groups.clone(), [1, count]), &device),
            config.nms_thresh,
        );
        let mut proposals = vec![Vec::new(); sizes.len()];
        let keep = keep.into_data();
        for ((candidate, group), keep) in candidates.into_iter().zip(groups).zip(keep.iter::<i64>()) {
            if keep == 1 {
                proposals[group as usize / levels].push(candidate);
            }
        }
        for proposals in &mut proposals {
            proposals.sort_by(|a, b| b.score.total_cmp(&a.score));
            proposals.truncate(post_nms);
        }
        proposals
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
            for index in sampler.sample(&matches, draw).all() {
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

/// Indices of the `count` highest values, highest first; of equal ones the earlier.
fn top_indices(values: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    let by_value = |a: &usize, b: &usize| values[*b].total_cmp(&values[*a]).then(a.cmp(b));
    if count < order.len() {
        order.select_nth_unstable_by(count, by_value);
        order.truncate(count);
    }
    order.sort_unstable_by(by_value);
    order
}

fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("the model computes in f32")
}
