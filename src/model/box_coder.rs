//! Boxes as offsets from reference boxes (anchors or proposals), and back.
//!
//! Source: [Girshick et al. 2014](https://arxiv.org/abs/1311.2524), torchvision `_utils.BoxCoder`.

use crate::structures::Xyxy;

/// Offsets `(dx, dy, dw, dh)`: the shift of the centre in units of the reference's size and the
/// logarithm of the ratio of the sizes, each times its weight.
pub type Deltas = [f32; 4];

/// Decoded sizes are limited to this many e-folds of the reference's: `ln(1000 / 16)`.
const MAX_LOG_RATIO: f32 = 4.135_166_6;

/// Encodes and decodes with fixed weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoxCoder {
    /// Factors of dx, dy, dw, dh.
    pub weights: [f32; 4],
}

impl BoxCoder {
    /// What `reference` has to move by to become `target`.
    pub fn encode(&self, target: &Xyxy, reference: &Xyxy) -> Deltas {
        let (target_x, target_y, target_width, target_height) = centre_and_size(target);
        let (x, y, width, height) = centre_and_size(reference);
        [
            self.weights[0] * (target_x - x) / width,
            self.weights[1] * (target_y - y) / height,
            self.weights[2] * (target_width / width).ln(),
            self.weights[3] * (target_height / height).ln(),
        ]
    }

    /// Moves `reference` by `deltas`.
    pub fn decode(&self, deltas: &Deltas, reference: &Xyxy) -> Xyxy {
        let (x, y, width, height) = centre_and_size(reference);
        let dx = deltas[0] / self.weights[0];
        let dy = deltas[1] / self.weights[1];
        let dw = (deltas[2] / self.weights[2]).min(MAX_LOG_RATIO);
        let dh = (deltas[3] / self.weights[3]).min(MAX_LOG_RATIO);
        let (x, y) = (dx * width + x, dy * height + y);
        let (half_width, half_height) = (0.5 * (dw.exp() * width), 0.5 * (dh.exp() * height));
        [x - half_width, y - half_height, x + half_width, y + half_height]
    }
}

fn centre_and_size([x1, y1, x2, y2]: &Xyxy) -> (f32, f32, f32, f32) {
    let (width, height) = (x2 - x1, y2 - y1);
    (x1 + 0.5 * width, y1 + 0.5 * height, width, height)
}
