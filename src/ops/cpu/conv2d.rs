//! Convolution, forward and backward: which algorithm computes it.
//!
//! - Kernel 3x3, stride 1, on a map large enough: Winograd's algorithm ([`super::winograd`]).
//! - Anything else: matrix products ([`super::im2col`]).
//!
//! The size of a map includes the number of images. So in another batch, another algorithm may compute the
//! same image, with other last bits.

use rayon::prelude::*;

use super::epilogue::Epilogue;
use super::geometry::Geometry;
use super::simd::vectorized;
use super::sums::sum;
use super::{im2col, winograd};

/// With fewer tiles, transforming the weight costs more than the products that Winograd's algorithm saves.
const FEWEST_TILES: usize = 32;

/// Whether Winograd's algorithm computes a convolution and its gradients.
pub(super) fn uses_winograd(geometry: &Geometry) -> bool {
    geometry.suits_winograd() && winograd::tiles(geometry.output) >= FEWEST_TILES
}

/// The output, `[N, C out, H out, W out]`.
pub(super) fn forward(x: &[f32], weight: &[f32], epilogue: Epilogue, geometry: &Geometry) -> Vec<f32> {
    if uses_winograd(geometry) {
        winograd::forward(x, weight, epilogue, geometry)
    } else {
        im2col::forward(x, weight, epilogue, geometry)
    }
}

/// Gradient of the input, `[N, C in, H, W]`.
pub(super) fn input_backward(weight: &[f32], grad: &[f32], geometry: &Geometry) -> Vec<f32> {
    if uses_winograd(geometry) {
        winograd::input_backward(weight, grad, geometry)
    } else {
        im2col::input_backward(weight, grad, geometry)
    }
}

/// Gradient of the weight, `[C out, C in, kernel height, kernel width]`.
pub(super) fn weight_backward(x: &[f32], grad: &[f32], geometry: &Geometry) -> Vec<f32> {
    if uses_winograd(geometry) {
        winograd::weight_backward(x, grad, geometry)
    } else {
        im2col::weight_backward(x, grad, geometry)
    }
}

/// Gradient of the bias, `[C out]`: the sum over images and pixels.
pub(super) fn bias_backward(grad: &[f32], [batch, channels, pixels]: [usize; 3]) -> Vec<f32> {
    let plane = |image: usize, channel: usize| &grad[(image * channels + channel) * pixels..][..pixels];
    let sum = |channel| {
        vectorized(
            #[inline(always)]
            || (0..batch).map(|image| sum(plane(image, channel))).sum(),
        )
    };
    (0..channels).into_par_iter().map(sum).collect()
}
