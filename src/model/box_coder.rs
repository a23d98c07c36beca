//! Boxes as offsets from reference boxes (anchors or proposals), and back.
//!
//! Source: [Girshick et al. 2014](https://arxiv.org/abs/1311.2524), torchvision `_utils.BoxCoder`.

use burn::tensor::Tensor;

use crate::structures::Xyxy;

/// Offsets `(dx, dy, dw, dh)`: the shift of the centre in units of the reference's size and the
/// logarithm of the ratio of the sizes, each times its weight.
pub type Deltas = [f32; 4];

/// Decoded sizes are limited to this many e-folds of the reference's: `ln(1000 / 16)`.
pub const MAX_LOG_RATIO: f32 = 4.135_166_6;

/// Encodes and decodes with fixed weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoxCoder {
    /// Factors of dx, dy, dw, dh.
    pub weights: [f32; 4],
}

impl BoxCoder {
    /// The offsets that turn `reference` into `target`.
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

    /// Moves each of `references` by its `deltas`, `[N, K, 4]` both.
    pub fn decode(&self, deltas: Tensor<3>, references: Tensor<3>) -> Tensor<3> {
        let [x1, y1, x2, y2] = columns(references);
        let (width, height) = (x2 - x1.clone(), y2 - y1.clone());
        let (x, y) = (x1 + width.clone() * 0.5, y1 + height.clone() * 0.5);
        let [dx, dy, dw, dh] = columns(deltas);
        let [weight_x, weight_y, weight_width, weight_height] = self.weights;
        let (x, y) = (dx / weight_x * width.clone() + x, dy / weight_y * height.clone() + y);
        let half =
            |size: Tensor<3>, log_ratio: Tensor<3>| log_ratio.clamp_max(MAX_LOG_RATIO).exp() * size * 0.5;
        let (half_width, half_height) = (half(width, dw / weight_width), half(height, dh / weight_height));
        let (left, top) = (x.clone() - half_width.clone(), y.clone() - half_height.clone());
        Tensor::cat(vec![left, top, x + half_width, y + half_height], 2)
    }
}

/// `[N, K, 4]` to four `[N, K, 1]`.
fn columns(values: Tensor<3>) -> [Tensor<3>; 4] {
    [0, 1, 2, 3].map(|column| values.clone().narrow(2, column, 1))
}

fn centre_and_size([x1, y1, x2, y2]: &Xyxy) -> (f32, f32, f32, f32) {
    let (width, height) = (x2 - x1, y2 - y1);
    (x1 + 0.5 * width, y1 + 0.5 * height, width, height)
}
