//! Normalisation over the batch or over groups of channels, forward and backward.
//!
//! A set of planes shares a mean and a variance: the planes of one channel in all images (batch norm), or
//! those of one group in one image (group norm).
//!
//! ```text
//! for each set, in parallel:
//!     mean     = sum(x) / elements
//!     variance = sum((x - mean)^2) / elements
//!     output   = epilogue((x - mean) / sqrt(variance + epsilon) * gamma)
//! ```
//!
//! A set is read three times, and mostly stays in the cache meanwhile. The order of a sum depends on the
//! shapes only.

use rayon::prelude::*;

use super::epilogue::Epilogue;
use super::gemm::Shared;
use super::simd::vectorized;
use super::sums::{sum, sum_of};

/// Which planes of `[N, C, H, W]` make up a set.
#[derive(Clone, Copy)]
pub(super) struct Sets {
    pub batch: usize,
    pub channels: usize,
    pub pixels: usize,
    /// Groups of channels; `None` for sets over the batch.
    pub groups: Option<usize>,
}

impl Sets {
    pub fn count(self) -> usize {
        self.groups.map_or(self.channels, |groups| self.batch * groups)
    }

    /// Of one set.
    fn planes(self, set: usize) -> impl Iterator<Item = usize> + Clone {
        let (first, step, count) = match self.groups {
            None => (set, self.channels, self.batch),
            Some(groups) => (set * (self.channels / groups), 1, self.channels / groups),
        };
        (0..count).map(move |index| first + index * step)
    }

    fn elements(self) -> f32 {
        (self.batch * self.channels * self.pixels / self.count()) as f32
    }
}

/// The normalised map, and the mean and the (biased) variance of each set.
pub(super) fn forward(
    x: &[f32],
    gamma: &[f32],
    epilogue: Epilogue,
    epsilon: f32,
    sets: Sets,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let mut output = vec![0.0; x.len()];
    let shared = Shared::new(&mut output);
    let statistics = (0..sets.count()).into_par_iter().map(|set| {
        vectorized(
            #[inline(always)]
            || {
                let values = |plane: usize| &x[plane * sets.pixels..][..sets.pixels];
                let mean = sets.planes(set).map(|plane| sum(values(plane))).sum::<f32>() / sets.elements();
                let squares = |plane| sum_of(values(plane), values(plane), |x, _| (x - mean) * (x - mean));
                let variance = sets.planes(set).map(squares).sum::<f32>() / sets.elements();
                let deviation = (variance + epsilon).sqrt().recip();
                for plane in sets.planes(set) {
                    let (channel, position) = (plane % sets.channels, plane * sets.pixels);
                    let scale = gamma[channel] * deviation;
                    // SAFETY: a plane belongs to one set, and this task alone works on the set.
                    let output = unsafe { shared.slice(position..position + sets.pixels) };
                    output.iter_mut().zip(values(plane)).for_each(|(y, x)| *y = (x - mean) * scale);
                    epilogue.apply(output, position, channel);
                }
                (mean, variance)
            },
        )
    });
    let (mean, variance) = statistics.unzip();
    (output, mean, variance)
}

/// Gradients of the map, `gamma` and `beta`.
pub(super) fn backward(
    x: &[f32],
    gamma: &[f32],
    [mean, variance]: [&[f32]; 2],
    grad: &[f32],
    epsilon: f32,
    sets: Sets,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let mut output = vec![0.0; x.len()];
    let shared = Shared::new(&mut output);
    // Of each plane, the sums over its pixels of `grad` and of `grad * normalised`.
    let plane_sums = (0..sets.count()).into_par_iter().flat_map_iter(|set| {
        let (mean, deviation) = (mean[set], (variance[set] + epsilon).sqrt().recip());
        vectorized(
            #[inline(always)]
            || {
                let x = |plane: usize| &x[plane * sets.pixels..][..sets.pixels];
                let grad = |plane: usize| &grad[plane * sets.pixels..][..sets.pixels];
                let sums: Vec<(usize, f32, f32)> = sets
                    .planes(set)
                    .map(|plane| {
                        let product = sum_of(x(plane), grad(plane), |x, grad| (x - mean) * grad);
                        (plane, sum(grad(plane)), product * deviation)
                    })
                    .collect();
                let (mut mean_grad, mut mean_product) = (0.0, 0.0);
                for (plane, grad, product) in &sums {
                    mean_grad += gamma[plane % sets.channels] * grad / sets.elements();
                    mean_product += gamma[plane % sets.channels] * product / sets.elements();
                }
                for plane in sets.planes(set) {
                    let gamma = gamma[plane % sets.channels];
                    let position = plane * sets.pixels;
                    // SAFETY: a plane belongs to one set, and this task alone works on the set.
                    let output = unsafe { shared.slice(position..position + sets.pixels) };
                    for ((output, x), grad) in output.iter_mut().zip(x(plane)).zip(grad(plane)) {
                        let normalised = (x - mean) * deviation;
                        *output = deviation * (gamma * grad - mean_grad - normalised * mean_product);
                    }
                }
                sums
            },
        )
    });
    let plane_sums: Vec<_> = plane_sums.collect();
    let (mut gamma_grad, mut beta_grad) = (vec![0.0; sets.channels], vec![0.0; sets.channels]);
    for (plane, grad, product) in plane_sums {
        beta_grad[plane % sets.channels] += grad;
        gamma_grad[plane % sets.channels] += product;
    }
    (output, gamma_grad, beta_grad)
}
