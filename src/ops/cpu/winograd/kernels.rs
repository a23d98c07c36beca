//! Kernels to their 36 values, and back.

use rayon::prelude::*;

use super::transforms::{LANES, PATCH, POINTS, ZERO, both_axes, weight_grad_transform, weight_transform};
use crate::ops::cpu::gemm::Shared;
use crate::ops::cpu::simd::vectorized;

/// The weight of a convolution, `[C out, C in, 3, 3]`, as `[36, C out, C in]`.
pub fn transform_weight(weight: &[f32], [outputs, inputs]: [usize; 2], values: &mut [f32]) {
    transform_kernels(weight, [outputs, inputs], values, |output, input| (output * inputs + input, false));
}

/// The same for the gradient of the input: `[36, C in, C out]`, each kernel turned by 180 degrees.
pub fn transform_turned_weight(weight: &[f32], [outputs, inputs]: [usize; 2], values: &mut [f32]) {
    transform_kernels(weight, [inputs, outputs], values, |input, output| (output * inputs + input, true));
}

/// `kernel_of` says which kernel of `weight` connects an output and an input, and whether it is to be turned.
fn transform_kernels(
    weight: &[f32],
    [outputs, inputs]: [usize; 2],
    values: &mut [f32],
    kernel_of: impl Fn(usize, usize) -> (usize, bool) + Sync,
) {
    let (kernels, _) = weight.as_chunks::<9>();
    let shared = Shared::new(values);
    let stride = row_stride(inputs);
    (0..outputs).into_par_iter().for_each_init(
        || vec![0.0; POINTS * stride],
        |rows, output| {
            vectorized(
                #[inline(always)]
                || {
                    for start in (0..inputs).step_by(LANES) {
                        let (mut kernel, mut transformed) = ([[ZERO; 3]; 3], [[ZERO; PATCH]; PATCH]);
                        for lane in 0..LANES.min(inputs - start) {
                            let (index, turned) = kernel_of(output, start + lane);
                            for point in 0..9 {
                                let from = if turned { 8 - point } else { point };
                                kernel[point / 3][point % 3].0[lane] = kernels[index][from];
                            }
                        }
                        both_axes(
                            &kernel,
                            #[inline(always)]
                            |g| weight_transform(g),
                            &mut transformed,
                        );
                        for (row, lanes) in rows.chunks_exact_mut(stride).zip(transformed.as_flattened()) {
                            row[start..start + LANES].copy_from_slice(&lanes.0);
                        }
                    }
                },
            );
            for (point, row) in rows.chunks_exact(stride).enumerate() {
                let offset = (point * outputs + output) * inputs;
                // SAFETY: this task alone writes the rows of `output`, one of each of the 36 planes.
                let to = unsafe { shared.slice(offset..offset + inputs) };
                to.copy_from_slice(&row[..inputs]);
            }
        },
    );
}

/// The gradient of the weight, `[C out, C in, 3, 3]`, from that of its 36 values, `[36, C out, C in]`.
pub fn weight_gradient(sums: &[f32], [outputs, inputs]: [usize; 2]) -> Vec<f32> {
    let mut output = vec![0.0; outputs * inputs * 9];
    let stride = row_stride(inputs);
    output.par_chunks_mut(inputs * 9).enumerate().for_each_init(
        || vec![0.0; POINTS * stride],
        |rows, (channel, output)| {
            for (point, row) in rows.chunks_exact_mut(stride).enumerate() {
                row[..inputs].copy_from_slice(&sums[(point * outputs + channel) * inputs..][..inputs]);
            }
            vectorized(
                #[inline(always)]
                || {
                    let (kernels, _) = output.as_chunks_mut::<9>();
                    let (mut u, mut transformed) = ([[ZERO; PATCH]; PATCH], [[ZERO; 3]; 3]);
                    for (index, kernels) in kernels.chunks_mut(LANES).enumerate() {
                        for (row, lanes) in rows.chunks_exact(stride).zip(u.as_flattened_mut()) {
                            lanes.0.copy_from_slice(&row[index * LANES..][..LANES]);
                        }
                        both_axes(
                            &u,
                            #[inline(always)]
                            |u| weight_grad_transform(u),
                            &mut transformed,
                        );
                        for (lane, kernel) in kernels.iter_mut().enumerate() {
                            for (point, value) in kernel.iter_mut().enumerate() {
                                *value = transformed[point / 3][point % 3].0[lane];
                            }
                        }
                    }
                },
            );
        },
    );
    output
}

/// Elements from one of the 36 rows of a scratch buffer to the next, each with a value of every input
/// channel. One vector more than needed, so that the 36 rows, which are accessed together, do not map to the
/// same cache sets.
fn row_stride(inputs: usize) -> usize {
    inputs.next_multiple_of(LANES) + LANES
}
