//! Multi-scale RoIAlign: each box is pooled from the pyramid level that fits its size.
//!
//! Source: [Lin et al. 2017](https://arxiv.org/abs/1612.03144), eq. 1; torchvision `ops/poolers.py`.

use std::sync::LazyLock;

use burn::tensor::{Device, Tensor, TensorData};

use crate::ops::{RoiAlignOptions, pyramid_roi_align};
use crate::structures::Xyxy;

/// Boxes of this side, in pixels, are pooled from P4. It is the side of the images that ResNets are
/// pre-trained on.
const CANONICAL_SIDE: f32 = 224.0;
const CANONICAL_LEVEL: f32 = 4.0;
/// Levels P2..P5.
const LEVELS: std::ops::RangeInclusive<i32> = 2..=5;

/// The level, 2..=5, a box is pooled from.
pub fn level_of([x1, y1, x2, y2]: &Xyxy) -> i32 {
    let side = ((x2 - x1) * (y2 - y1)).sqrt();
    // The small summand keeps a side of exactly 112 or 448 on the upper level. The cast turns minus infinity,
    // of a box without area, and NaN into numbers that are clamped to the lowest level.
    let level = (CANONICAL_LEVEL + (side / CANONICAL_SIDE).log2() + 1e-6).floor();
    (level as i32).clamp(*LEVELS.start(), *LEVELS.end())
}

/// The smallest areas of boxes pooled from P3, P4 and P5, in square pixels.
///
/// Comparing with these gives what [`level_of`] gives, and the same on every device. A logarithm would not:
/// each device rounds its own way.
pub static MIN_AREAS: LazyLock<[f32; 3]> = LazyLock::new(|| {
    [3, 4, 5].map(|level| {
        // The bits of positive floats have the order of the floats, so a binary search finds the smallest.
        let (mut below, mut reached) = (0, f32::INFINITY.to_bits());
        while reached - below > 1 {
            let middle = below + (reached - below) / 2;
            let area = f32::from_bits(middle);
            if level_of(&[0.0, 0.0, area, 1.0]) >= level { reached = middle } else { below = middle }
        }
        f32::from_bits(reached)
    })
});

/// Pools boxes, each from the level that fits its size: `[K, C, size, size]`.
///
/// `pyramid` starts with P2..P5, `[N, C, H, W]` each; `rois` are `[K, 5]`, image index and box in pixels of
/// the resized images.
pub fn multi_scale_roi_align(
    pyramid: &[Tensor<4>],
    rois: Tensor<2>,
    size: usize,
    sampling_ratio: usize,
) -> Tensor<4> {
    let options = RoiAlignOptions {
        output_size: (size, size),
        spatial_scale: (-*LEVELS.start() as f32).exp2(),
        sampling_ratio,
        aligned: false,
    };
    let maps = std::array::from_fn(|level| pyramid[level].clone());
    pyramid_roi_align(maps, rois, *MIN_AREAS, options)
}

/// The boxes of each image as one tensor, `[K, 5]`: image index and box, image by image.
pub fn rois_of(boxes: &[Vec<Xyxy>], device: &Device) -> Tensor<2> {
    let rois: Vec<f32> = boxes
        .iter()
        .enumerate()
        .flat_map(|(image, boxes)| boxes.iter().map(move |box_| (image as f32, box_)))
        .flat_map(|(image, [x1, y1, x2, y2])| [image, *x1, *y1, *x2, *y2])
        .collect();
    let count = rois.len() / 5;
    Tensor::from_data(TensorData::new(rois, [count, 5]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_divide_the_levels_as_level_of_does() {
        for (level, least) in (3..).zip(*MIN_AREAS) {
            assert_eq!(level_of(&[0.0, 0.0, least, 1.0]), level);
            assert_eq!(level_of(&[0.0, 0.0, least.next_down(), 1.0]), level - 1);
        }
    }
}
