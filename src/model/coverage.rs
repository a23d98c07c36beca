//! How well anchors fit the boxes of a data set, without running the detector.

use super::anchors::cell_anchors;
use super::config::FasterRcnnConfig;
use super::transform::{SIZE_DIVISIBLE, resize_box};
use crate::structures::{Xyxy, iou};

/// Pixels of the resized image from cell to cell on P2..P6, but for rounding on P6.
const STRIDES: [usize; 5] = [4, 8, 16, 32, 64];

impl FasterRcnnConfig {
    /// `(width, height)` of a box in pixels of the resized image; `xyxy` is in pixels of the original one,
    /// which has `(height, width)` pixels.
    pub fn resized_shape(&self, xyxy: &Xyxy, size: (usize, usize)) -> (f32, f32) {
        let [x1, y1, x2, y2] = resize_box(xyxy, size, self.transform.resized_size(size));
        (x2 - x1, y2 - y1)
    }

    /// `(width, height)` of every anchor in pixels of the resized image.
    pub fn anchor_shapes(&self) -> Vec<(f32, f32)> {
        let shapes = cell_anchors(&self.anchors.sizes, &self.anchors.aspect_ratios).into_iter();
        shapes.map(|[x1, y1, x2, y2]| (x2 - x1, y2 - y1)).collect()
    }

    /// The highest IoU that an anchor has with a box, when an image of `(height, width)` pixels is alone in
    /// its batch. `xyxy` is in pixels of the original image.
    ///
    /// The RPN learns a box from the anchors whose IoU with it is at least `rpn.fg_iou_thresh`, or else from
    /// the best one.
    pub fn best_anchor_iou(&self, xyxy: &Xyxy, size: (usize, usize)) -> f32 {
        let resized = self.transform.resized_size(size);
        let [x1, y1, x2, y2] = resize_box(xyxy, size, resized);
        // The anchor of a cell is around the cell's place. The overlap along an axis falls with the distance
        // between the centres, so the nearest cell is the best one.
        let nearest = |centre: f32, stride: usize, side: usize| {
            let padded = side.next_multiple_of(SIZE_DIVISIBLE);
            let cells = padded.div_ceil(stride);
            let stride = (padded / cells) as f32;
            (centre / stride).round().clamp(0.0, (cells - 1) as f32) * stride
        };
        let level = |(&size, stride): (&f32, usize)| {
            let x = nearest((x1 + x2) / 2.0, stride, resized.1);
            let y = nearest((y1 + y2) / 2.0, stride, resized.0);
            let shapes = cell_anchors(&[size], &self.anchors.aspect_ratios).into_iter();
            let ious =
                shapes.map(|[a1, b1, a2, b2]| iou(&[a1 + x, b1 + y, a2 + x, b2 + y], &[x1, y1, x2, y2]));
            ious.fold(0.0, f32::max)
        };
        self.anchors.sizes.iter().zip(STRIDES).map(level).fold(0.0, f32::max)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::model::AnchorConfig;
    use crate::model::network::anchors;
    use crate::structures::Image;

    /// All anchors of the detector's own maps have no better one.
    #[test]
    fn no_anchor_of_the_detector_is_better() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        for (size, min, max) in [((100, 150), 96, 200), ((90, 60), 120, 130), ((64, 64), 64, 64)] {
            let mut config = FasterRcnnConfig::tiny(2).with_image_size(min, max);
            config.anchors =
                AnchorConfig { sizes: [8.0, 16.0, 32.0, 64.0, 128.0], aspect_ratios: vec![0.4, 1.0, 2.0] };
            let (height, width) = config.transform.resized_size(size);
            let image = Image::new(vec![0.0; 3 * size.0 * size.1], size);
            let images = config.transform.batch(&[image], &Device::flex());
            let pyramid = config.init(&Device::flex()).activations(&images).pyramid;
            let anchors = anchors(&pyramid, &images, &config).concat();
            for _ in 0..200 {
                let side = |rng: &mut ChaCha8Rng, side: usize| {
                    let (a, b) = (rng.random_range(0.0..side as f32), rng.random_range(0.0..side as f32));
                    (a.min(b), a.max(b) + 0.5)
                };
                let ((x1, x2), (y1, y2)) = (side(&mut rng, size.1), side(&mut rng, size.0));
                let xyxy = [x1, y1, x2, y2];
                let resized = resize_box(&xyxy, size, (height, width));
                let best = anchors.iter().map(|anchor| iou(anchor, &resized)).fold(0.0, f32::max);
                let found = config.best_anchor_iou(&xyxy, size);
                assert!((found - best).abs() < 1e-5, "{xyxy:?}: {found} and {best}");
            }
        }
    }
}
