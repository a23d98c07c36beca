//! The highest values of each row.

use rayon::prelude::*;

/// Columns of the `k` highest values of each row, highest first; of equal ones the earlier.
pub(super) fn top_k(values: &[f32], columns: usize, k: usize) -> Vec<i64> {
    if columns == 0 || k == 0 {
        return Vec::new();
    }
    values.par_chunks_exact(columns).flat_map_iter(|row| of_row(row, k)).collect()
}

fn of_row(values: &[f32], k: usize) -> impl Iterator<Item = i64> + use<> {
    let mut order: Vec<(u32, u32)> =
        (0..).zip(values).map(|(index, value)| (falling(*value), index)).collect();
    if k < order.len() {
        order.select_nth_unstable(k);
        order.truncate(k);
    }
    order.sort_unstable();
    order.into_iter().map(|(_, index)| i64::from(index))
}

/// A number that is lower the higher the value is; NaN counts as the lowest value, both zeros alike.
pub(super) fn falling(value: f32) -> u32 {
    let value = if value.is_nan() { f32::NEG_INFINITY } else { value + 0.0 };
    let bits = value.to_bits();
    if bits >> 31 == 0 { !bits & 0x7fff_ffff } else { bits }
}
