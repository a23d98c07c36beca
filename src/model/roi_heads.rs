//! Second stage: proposals to classes and refined boxes, their losses, and the final detections.
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
use super::candidates::{Candidates, NO_BOX};
use super::init::WeightInit;
use super::losses::{cross_entropy, smooth_l1_sum};
use super::matcher::{Match, Matcher};
use super::roi_pool::multi_scale_roi_align;
use super::sampler::{BalancedSampler, Draw};
use crate::structures::{Annotation, Detection, Xyxy};

/// Settings of the second stage; defaults are torchvision's, and so are the names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoiHeadsConfig {
    /// Bins a side that a box is pooled to.
    pub output_size: usize,
    /// Samples per bin and axis; 0 takes as many as the bin has pixels.
    pub sampling_ratio: usize,
    /// Which hidden layers there are.
    pub box_head: BoxHeadKind,
    /// Width of the hidden layers.
    pub representation_size: usize,
    /// IoU with a ground truth from which a proposal is trained as that object, else as background.
    pub fg_iou_thresh: f32,
    /// Proposals an image in the losses.
    pub batch_size_per_image: usize,
    /// The most of them that are objects, as a part.
    pub positive_fraction: f64,
    /// Factors of the box offsets dx, dy, dw, dh.
    pub bbox_reg_weights: [f32; 4],
    /// Lowest score of a detection (exclusive).
    pub score_thresh: f32,
    /// IoU above which the lower-scored of two detections of a class is dropped.
    pub nms_thresh: f64,
    /// The most detections an image.
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
            detections_per_img: 100,
        }
    }
}

/// Detections with a shorter side, in pixels of the resized image, are dropped.
const MIN_SIZE: f32 = 1e-2;
/// Where the box loss turns from quadratic to linear.
const BETA: f32 = 1.0 / 9.0;

/// The box head and the two layers that make its vectors classes and boxes.
#[derive(Module, Debug)]
pub struct RoiHeads {
    box_head: BoxHead,
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

/// The second stage's part of the loss, `[1]` each.
#[derive(Debug, Clone)]
pub struct RoiLosses {
    /// What is it?
    pub classifier: Tensor<1>,
    /// Where is it?
    pub box_reg: Tensor<1>,
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

    /// For inference: see [`Norm::prepare`](super::layers::Norm::prepare).
    pub fn prepare(&mut self) {
        self.box_head.prepare();
    }

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
        RoiOutput { class_logits: self.cls_score.forward(x.clone()), box_deltas: self.bbox_pred.forward(x) }
    }
}

impl RoiTargets {
    /// Adds the ground truth to the proposals, assigns and samples; both in pixels of the resized image.
    pub fn select(
        proposals: Vec<Vec<Xyxy>>,
        targets: &[Vec<Annotation>],
        config: &RoiHeadsConfig,
        draw: &mut Draw,
    ) -> Self {
        let matcher = Matcher {
            foreground_iou: config.fg_iou_thresh,
            background_iou: config.fg_iou_thresh,
            allow_low_quality: false,
        };
        let sampler = BalancedSampler {
            batch_size: config.batch_size_per_image,
            positive_fraction: config.positive_fraction,
        };
        let coder = BoxCoder { weights: config.bbox_reg_weights };
        let mut selected = Self { proposals: Vec::new(), labels: Vec::new(), regression: Vec::new() };
        for (image, (mut proposals, targets)) in proposals.into_iter().zip(targets).enumerate() {
            let boxes: Vec<Xyxy> = targets.iter().map(|target| target.xyxy).collect();
            proposals.extend(&boxes);
            let matches = matcher.assign(&boxes, &proposals);
            let indices = sampler.sample(&matches, image, draw).all();
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
                classifier: Tensor::zeros([1], &device),
                box_reg: Tensor::zeros([1], &device),
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
        let box_reg = if rows.is_empty() {
            Tensor::zeros([1], &device)
        } else {
            let objects = rows.len();
            let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [objects]), &device);
            let regression = TensorData::new(regression.concat(), [objects, 4]);
            let deltas = self.box_deltas.clone().reshape([count * num_classes, 4]).select(0, rows);
            smooth_l1_sum(deltas, Tensor::from_data(regression, &device), BETA) / count as f32
        };
        RoiLosses { classifier: cross_entropy(self.class_logits.clone(), labels), box_reg }
    }

    /// The detections of each image by falling score, in pixels of the resized image.
    ///
    /// `proposals` are what was pooled; `sizes` are `(height, width)` of the resized images.
    pub fn detections(
        &self,
        proposals: &Candidates,
        sizes: &[(usize, usize)],
        config: &RoiHeadsConfig,
    ) -> FoundBoxes {
        let [batch, count] = proposals.scores.dims();
        let [_, num_classes] = self.class_logits.dims();
        let objects = num_classes - 1;
        let places = count * objects; // Q: proposal, class
        let coder = BoxCoder { weights: config.bbox_reg_weights };

        let scores = softmax(self.class_logits.clone(), 1).narrow(1, 1, objects); // [N*K, C-1]
        let scores = scores.reshape([batch, count, objects]);
        let of_nothing = proposals.scores.clone().lower_elem(0.0).unsqueeze_dim::<3>(2);
        let unlikely = scores.clone().greater_elem(config.score_thresh).bool_not();
        let dropped = unlikely.bool_or(of_nothing.expand([batch, count, objects]));
        let scores = scores.mask_fill(dropped, NO_BOX).reshape([batch, places]);
        let deltas = self.box_deltas.clone().reshape([batch, count, num_classes, 4]);
        let deltas = deltas.narrow(2, 1, objects).reshape([batch, places, 4]);
        let references = proposals.boxes.clone().unsqueeze_dim::<4>(2).expand([batch, count, objects, 4]);
        let boxes = coder.decode(deltas, references.reshape([batch, places, 4]));
        let candidates = Candidates { boxes, scores }.clip(sizes, MIN_SIZE);

        // A row of each class of each image: [N, K, C-1] to [N*(C-1), K], and back.
        let rows = [batch * objects, count];
        let boxes = candidates.boxes.clone().reshape([batch, count, objects, 4]).swap_dims(1, 2);
        let by_class = Candidates {
            boxes: boxes.reshape([batch * objects, count, 4]),
            scores: candidates.scores.reshape([batch, count, objects]).swap_dims(1, 2).reshape(rows),
        };
        let groups = Tensor::zeros(rows, &by_class.scores.device());
        let scores = by_class.suppress(groups, config.nms_thresh).scores;
        let scores = scores.reshape([batch, objects, count]).swap_dims(1, 2).reshape([batch, places]);

        let (best, places) = Candidates { scores, ..candidates }.best(config.detections_per_img);
        let labels = places.remainder_scalar(objects as i64) + 1;
        FoundBoxes { boxes: best.boxes, labels, scores: best.scores }
    }
}

/// The detections of a batch on the device that computed them, D places in each image.
#[derive(Debug, Clone)]
pub struct FoundBoxes {
    /// `[N, D, 4]`, in pixels of the resized images.
    boxes: Tensor<3>,
    /// Class of each, `[N, D]`.
    labels: Tensor<2, Int>,
    /// `[N, D]`, [`NO_BOX`] where nothing was found.
    scores: Tensor<2>,
}

impl FoundBoxes {
    /// The detections there are, by image, and the values of `extra`: one read from the device for both.
    pub fn read(self, extra: Tensor<1>) -> (Vec<Vec<Detection>>, Vec<f32>) {
        let [batch, places] = self.scores.dims();
        let columns = vec![self.boxes, self.labels.float().unsqueeze_dim(2), self.scores.unsqueeze_dim(2)];
        let found = Tensor::cat(columns, 2).flatten::<1>(0, 2); // [N * D * 6]
        let data = Tensor::cat(vec![found, extra], 0).into_data();
        let mut values: Vec<f32> = data.try_into_vec().expect("boxes and scores are f32");
        let extra = values.split_off(batch * places * 6);
        let present = |row: &[f32; 6]| {
            let [x1, y1, x2, y2, label, score] = *row;
            (score >= 0.0).then_some(Detection { xyxy: [x1, y1, x2, y2], label: label as usize, score })
        };
        let (rows, _) = values.as_chunks::<6>();
        let images = rows.chunks_exact(places);
        (images.map(|rows| rows.iter().filter_map(present).collect()).collect(), extra)
    }
}
