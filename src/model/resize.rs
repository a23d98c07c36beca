//! Bilinear resizing with half-pixel centres (`align_corners = false`), on the host and on a device.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

/// Resizes one plane into the top left of `output`, whose rows are `stride` long.
pub(super) fn on_host(
    source: &[f32],
    (height, width): (usize, usize),
    output: &mut [f32],
    stride: usize,
    (to_height, to_width): (usize, usize),
) {
    let columns = interpolation(width, to_width);
    let rows = interpolation(height, to_height);
    for ((y_low, y_high, y_part), output) in rows.into_iter().zip(output.chunks_exact_mut(stride)) {
        let low = &source[y_low * width..][..width];
        let high = &source[y_high * width..][..width];
        for (value, &(x_low, x_high, x_part)) in output.iter_mut().zip(&columns) {
            let top = low[x_low] * (1.0 - x_part) + low[x_high] * x_part;
            let bottom = high[x_low] * (1.0 - x_part) + high[x_high] * x_part;
            *value = top * (1.0 - y_part) + bottom * y_part;
        }
    }
}

/// Resizes `[C, H, W]`. Each number comes from the same operations in the same order as on the host.
pub(super) fn on_device(image: Tensor<3>, (to_height, to_width): (usize, usize)) -> Tensor<3> {
    let [_, height, width] = image.dims();
    // Resizing to the same size gives the same numbers.
    let image = if width == to_width { image } else { along(image, 2, to_width) };
    if height == to_height { image } else { along(image, 1, to_height) }
}

/// Along one dimension.
fn along(image: Tensor<3>, dimension: usize, to: usize) -> Tensor<3> {
    let device: &Device = &image.device();
    let positions = interpolation(image.dims()[dimension], to);
    let select = |index: fn(&(usize, usize, f32)) -> usize| {
        let indices: Vec<i32> = positions.iter().map(|position| index(position) as i32).collect();
        let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [to]), (device, DType::I32));
        image.clone().select(dimension, indices)
    };
    let mut shape = [1; 3];
    shape[dimension] = to;
    let weight = |part: fn(&(usize, usize, f32)) -> f32| {
        let parts: Vec<f32> = positions.iter().map(part).collect();
        Tensor::<1>::from_data(TensorData::new(parts, [to]), device).reshape(shape)
    };
    select(|position| position.0) * weight(|position| 1.0 - position.2)
        + select(|position| position.1) * weight(|position| position.2)
}

/// For each output position along an axis: the two inputs that it lies between, and the weight of the second.
fn interpolation(from: usize, to: usize) -> Vec<(usize, usize, f32)> {
    let scale = from as f32 / to as f32;
    (0..to)
        .map(|position| {
            let source = (scale * (position as f32 + 0.5) - 0.5).max(0.0);
            let low = (source as usize).min(from - 1);
            (low, (low + 1).min(from - 1), source - low as f32)
        })
        .collect()
}
