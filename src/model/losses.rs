//! The loss functions of the RPN and of the RoI heads, on the sampled candidates.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor};

/// Binary cross-entropy of logits `[K]` with targets of 0 or 1 `[K]`, mean. Shape `[1]`.
pub fn binary_cross_entropy(logits: Tensor<1>, targets: Tensor<1>) -> Tensor<1> {
    // log(1 + exp(x)) without overflow.
    let softplus = logits.clone().clamp_min(0.0) + (-logits.clone().abs()).exp().log1p();
    (softplus - logits * targets).mean()
}

/// Cross-entropy of logits `[K, classes]` with labels `[K]`, mean. Shape `[1]`.
pub fn cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    let picked = log_softmax(logits, 1).gather(1, labels.unsqueeze_dim(1));
    -picked.mean()
}

/// Sum of Huber's loss divided by `beta`: quadratic up to `beta`, linear beyond. Shape `[1]`.
///
/// Source: [Girshick 2015](https://arxiv.org/abs/1504.08083), `torch.nn.functional.smooth_l1_loss`.
pub fn smooth_l1_sum(values: Tensor<2>, targets: Tensor<2>, beta: f32) -> Tensor<1> {
    let distance = (values - targets).abs();
    let quadratic = distance.clone().powi_scalar(2) * (0.5 / beta);
    let linear = distance.clone() - 0.5 * beta;
    let near = distance.lower_elem(beta);
    linear.mask_where(near, quadratic).sum()
}
