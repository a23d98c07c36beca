//! Scored boxes on the device that computed them.
//!
//! They are tensors of fixed size, in which a score of [`NO_BOX`] marks an empty slot. So no step has to wait
//! for the host to count boxes, and the host reads all boxes of a batch at once.
//!
//! Shape letters: N images, K slots for boxes in each.

use burn::tensor::{Int, Tensor, TensorData};

use crate::ops::{ABSENT, batched_nms, in_host_memory, top_k};
use crate::structures::Xyxy;

/// The score of an empty slot.
pub const NO_BOX: f32 = -1.0;

/// A box and how likely it holds an object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoredBox {
    /// In pixels of the resized image.
    pub xyxy: Xyxy,
    /// In `0..=1`.
    pub score: f32,
}

/// Boxes of each image of a batch and their scores.
#[derive(Debug, Clone)]
pub struct ScoredBoxes {
    /// `[N, K, 4]`, x1, y1, x2, y2 in pixels of the resized images.
    pub boxes: Tensor<3>,
    /// `[N, K]`, each in `0..=1`, or [`NO_BOX`].
    pub scores: Tensor<2>,
}

impl ScoredBoxes {
    /// Moves corners outside the images, of `(height, width)`, onto the border, and then drops boxes with a
    /// side shorter than `min_size`.
    pub fn clip(self, sizes: &[(usize, usize)], min_size: f32) -> Self {
        let Self { boxes, scores } = self;
        let corners = sizes.iter().flat_map(|&(height, width)| [width, height, width, height]);
        let corners = TensorData::new(corners.map(|side| side as f32).collect(), [sizes.len(), 1, 4]);
        let corners = Tensor::<3>::from_data(corners, &boxes.device()).expand(boxes.dims());
        let boxes = boxes.clamp_min(0.0).min_pair(corners);
        let sides = boxes.clone().narrow(2, 2, 2) - boxes.clone().narrow(2, 0, 2); // [N, K, 2]
        let reaches = sides.greater_equal_elem(min_size);
        let large = reaches.clone().narrow(2, 0, 1).bool_and(reaches.narrow(2, 1, 1)); // [N, K, 1]
        let scores = scores.mask_fill(large.squeeze_dim(2).bool_not(), NO_BOX);
        Self { boxes, scores }
    }

    /// Drops boxes that overlap one of a higher score in the same row and group. `groups` is `[N, K]`.
    pub fn suppress(self, groups: Tensor<2, Int>, iou_threshold: f64) -> Self {
        let Self { boxes, scores } = self;
        let groups = groups.mask_fill(scores.clone().lower_elem(0.0), ABSENT);
        let keep = batched_nms(boxes.clone(), scores.clone(), groups, iou_threshold);
        Self { boxes, scores: scores.mask_fill(keep.equal_elem(0), NO_BOX) }
    }

    /// The `count` best of each image, by falling score, and their indices.
    pub fn best(&self, count: usize) -> (Self, Tensor<2, Int>) {
        let count = count.min(self.scores.dims()[1]);
        let indices = top_k(self.scores.clone(), count);
        (self.select(&indices), indices)
    }

    /// Those at `indices`, `[N, count]`.
    fn select(&self, indices: &Tensor<2, Int>) -> Self {
        let [batch, count] = indices.dims();
        let of_corners = indices.clone().unsqueeze_dim::<3>(2).expand([batch, count, 4]);
        Self {
            boxes: self.boxes.clone().gather(1, of_corners),
            scores: self.scores.clone().gather(1, indices.clone()),
        }
    }

    /// On a device that uses the host's memory, cuts off the slots at the end that are empty in every image.
    /// Counting is free only there. The RoI heads then compute nothing for these slots.
    pub fn trim(self) -> Self {
        if !in_host_memory(&self.scores.device()) {
            return self;
        }
        let [_, slots] = self.scores.dims();
        let scores = self.scores.to_data();
        let used = |scores: &[f32]| scores.iter().rposition(|score| *score >= 0.0).map_or(0, |last| last + 1);
        let scores = scores.as_slice::<f32>().expect("scores are f32");
        let used = scores.chunks_exact(slots).map(used).max().unwrap_or(0).max(1);
        Self { boxes: self.boxes.narrow(1, 0, used), scores: self.scores.narrow(1, 0, used) }
    }

    /// `[N * K, 5]`, image index and box, for [`pyramid_roi_align`](crate::ops::pyramid_roi_align).
    pub fn rois(&self) -> Tensor<2> {
        let [batch, count, _] = self.boxes.dims();
        let images = Tensor::<1, Int>::arange(0..batch as i64, &self.boxes.device()).float();
        let images = images.reshape([batch, 1, 1]).expand([batch, count, 1]);
        Tensor::cat(vec![images, self.boxes.clone()], 2).reshape([batch * count, 5])
    }

    /// The boxes there are, by image: one read from the device.
    pub fn to_vec(&self) -> Vec<Vec<ScoredBox>> {
        let [_, count, _] = self.boxes.dims();
        let scores = self.scores.clone().unsqueeze_dim::<3>(2);
        let data = Tensor::cat(vec![self.boxes.clone(), scores], 2).into_data(); // [N, K, 5]
        let values: Vec<f32> = data.try_into_vec().expect("boxes and scores are f32");
        let (slots, _) = values.as_chunks::<5>();
        let present = |slot: &[f32; 5]| {
            let [x1, y1, x2, y2, score] = *slot;
            (score >= 0.0).then_some(ScoredBox { xyxy: [x1, y1, x2, y2], score })
        };
        slots.chunks_exact(count).map(|slots| slots.iter().filter_map(present).collect()).collect()
    }
}
