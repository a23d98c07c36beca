//! Multi-scale RoIAlign: each box is pooled from the pyramid level that fits its size.
//!
//! Source: [Lin et al. 2017](https://arxiv.org/abs/1612.03144), eq. 1; torchvision `ops/poolers.py`.

use burn::tensor::{Int, Tensor, TensorData};

use crate::ops::{RoiAlignOptions, roi_align};
use crate::structures::Xyxy;

/// Boxes of this side, in pixels, are pooled from P4, as ResNet's ImageNet input was.
const CANONICAL_SIDE: f32 = 224.0;
const CANONICAL_LEVEL: f32 = 4.0;
/// Levels P2..P5.
const LEVELS: std::ops::RangeInclusive<i32> = 2..=5;

/// The level, 2..=5, a box is pooled from.
pub fn level_of([x1, y1, x2, y2]: &Xyxy) -> i32 {
    let side = ((x2 - x1) * (y2 - y1)).sqrt();
    // The small summand keeps a side of exactly 112 or 448 on the upper level. A cast saturates, so
    // a box of no area goes to the lowest; NaN, cast to 0, too.
    let level = (CANONICAL_LEVEL + (side / CANONICAL_SIDE).log2() + 1e-6).floor();
    (level as i32).clamp(*LEVELS.start(), *LEVELS.end())
}

/// Pools the boxes of each image: `[K, C, size, size]`, in the order image by image, box by box.
///
/// `pyramid` starts with P2..P5, `[N, C, H, W]` each; boxes are in pixels of the resized images.
pub fn multi_scale_roi_align(
    pyramid: &[Tensor<4>],
    boxes: &[Vec<Xyxy>],
    size: usize,
    sampling_ratio: usize,
) -> Tensor<4> {
    let rois: Vec<(i32, [f32; 5])> = boxes
        .iter()
        .enumerate()
        .flat_map(|(image, boxes)| boxes.iter().map(move |box_| (image, box_)))
        .map(|(image, box_)| {
            let [x1, y1, x2, y2] = *box_;
            (level_of(box_), [image as f32, x1, y1, x2, y2])
        })
        .collect();

    let device = pyramid[0].device();
    // Where each box's row comes to lie when the levels are pooled one after the other.
    let mut row_of = vec![0_i64; rois.len()];
    let mut pooled = Vec::new();
    let mut rows = 0;
    for (level, map) in LEVELS.zip(pyramid) {
        let mut members = Vec::new();
        for (index, (_, roi)) in rois.iter().enumerate().filter(|(_, roi)| roi.0 == level) {
            row_of[index] = rows;
            rows += 1;
            members.extend_from_slice(roi);
        }
        if members.is_empty() {
            continue;
        }
        let count = members.len() / 5;
        let options = RoiAlignOptions {
            output_size: (size, size),
            spatial_scale: (-level as f32).exp2(),
            sampling_ratio,
            aligned: false,
        };
        let members = Tensor::from_data(TensorData::new(members, [count, 5]), &device);
        pooled.push(roi_align(map.clone(), members, options));
    }
    match pooled.len() {
        0 => Tensor::zeros([0, pyramid[0].dims()[1], size, size], &device),
        1 => pooled.remove(0),
        _ => {
            let count = row_of.len();
            let rows = Tensor::<1, Int>::from_data(TensorData::new(row_of, [count]), &device);
            Tensor::cat(pooled, 0).select(0, rows)
        }
    }
}
