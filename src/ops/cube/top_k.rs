//! The highest values of each row, by a stable radix sort.
//!
//! A cube sorts a row, [`UNITS`] units side by side. Each of the eight passes moves the elements by four bits
//! of their key from one half of a buffer to the other: each unit counts the digits of its own run of the
//! row, the counts are summed in the order of digit, then unit, and each unit moves its run. Since runs and
//! the order within them are kept, the sort is stable, so of equal values the first goes first, and every run
//! of it gives the same.
//!
//! Grid: a cube a row; loops are bounded by the row's length. Shared memory: 8.5 KiB of counters. No atomics.
//! (With 256 units to a cube, NVIDIA's assembler spills a register or two of the loops that it unrolls.)
//!
//! On paper, for the finest level of a batch of 4 images of 640x640, 76,800 anchors each: eight passes read a
//! key twice and a column once and write both, 160 bytes an anchor, 49 MB, which an A10G's memory (600 GB/s)
//! moves in 0.08 ms; the 1.2 million digits of a pass are nothing to 31 TFLOP/s. Four of its 80
//! multiprocessors are at work, though: the rows of a batch are sorted side by side, the parts of a row are
//! not.

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::tensors::{dims, empty};

pub(super) const UNITS: usize = 128;
const DIGITS: usize = 16;
const BITS: u32 = 4;
/// A key has eight digits. That is even, so the sorted elements end in the half they started from.
const PASSES: u32 = 8;

/// `[R, T]` f32 to `[R, k]`.
pub(super) fn top_k(values: CubeTensor, k: usize, dtype: DType) -> CubeTensor {
    let [rows, columns] = dims(&values);
    let output = empty(&values, [rows, k], dtype);
    if rows * k == 0 {
        return output;
    }
    // A key and a column for each element, twice: what a pass reads and what it writes.
    let elements = empty(&values, [rows, 2 * columns * 2], DType::U32);
    sort_rows::launch(
        &values.client,
        CubeCount::Static(rows as u32, 1, 1),
        CubeDim::new_1d(UNITS as u32),
        values.clone().into_buffer_arg(),
        elements.into_buffer_arg(),
        output.clone().into_buffer_arg(),
        columns as u32,
        k as u32,
        burn::backend::cubecl::dtype_to_storage_type(dtype),
    );
    output
}

#[allow(clippy::manual_swap, reason = "CubeCL cannot swap")]
#[cube(launch)]
pub(super) fn sort_rows<I: Int>(
    values: &[f32],
    elements: &mut [u32],
    output: &mut [I],
    columns: u32,
    k: u32,
    #[define(I)] _dtype: ElemType,
) {
    let unit = UNIT_POS as usize;
    let row = CUBE_POS;
    let columns = columns as usize;
    // The run of this unit.
    let length = columns.div_ceil(UNITS);
    let start = min(unit * length, columns);
    let end = min(start + length, columns);
    // Where the two halves of the row's buffers begin.
    let mut from = row * 4 * columns;
    let mut to = from + 2 * columns;

    for column in start..end {
        elements[from + 2 * column] = falling(values[row * columns + column]);
        elements[from + 2 * column + 1] = column as u32;
    }
    sync_storage();

    let mut counts = Shared::<[u32]>::new_slice(DIGITS * UNITS); // [digit, unit]
    let mut sums = Shared::<[u32]>::new_slice(UNITS);
    for pass in 0..PASSES {
        for digit in 0..DIGITS {
            counts[digit * UNITS + unit] = 0u32;
        }
        for column in start..end {
            let digit = digit_of(elements[from + 2 * column], pass);
            counts[digit * UNITS + unit] += 1u32;
        }
        sync_cube();

        // Each count becomes the sum of those before it: first of blocks of counts, then within each.
        let block = unit * DIGITS;
        let mut sum = 0u32;
        for index in 0..DIGITS {
            sum += counts[block + index];
        }
        sums[unit] = sum;
        sync_cube();
        let mut distance = 1usize;
        while distance < UNITS {
            let other = if unit >= distance { sums[unit - distance] } else { 0u32.runtime() };
            sync_cube();
            sums[unit] += other;
            sync_cube();
            distance *= 2;
        }
        let mut before = sums[unit] - sum;
        for index in 0..DIGITS {
            let count = counts[block + index];
            counts[block + index] = before;
            before += count;
        }
        sync_cube();

        for column in start..end {
            let key = elements[from + 2 * column];
            let place = digit_of(key, pass) * UNITS + unit;
            let target = to + 2 * counts[place] as usize;
            counts[place] += 1u32;
            elements[target] = key;
            elements[target + 1] = elements[from + 2 * column + 1];
        }
        let read = from;
        from = to;
        to = read;
        sync_storage();
    }

    let mut column = unit;
    while column < k as usize {
        output[row * k as usize + column] = I::cast_from(elements[from + 2 * column + 1]);
        column += UNITS;
    }
}

#[cube]
fn digit_of(key: u32, pass: u32) -> usize {
    ((key >> (pass * BITS)) & comptime!(DIGITS as u32 - 1)) as usize
}

/// A number that is lower the higher the value is; NaN counts as the lowest value, both zeros alike. On bits
/// only: a shader's compiler may take it that there is no NaN.
#[cube]
fn falling(value: f32) -> u32 {
    let bits = u32::reinterpret(value);
    let size = bits & 0x7fff_ffffu32;
    if size > 0x7f80_0000u32 {
        0xff80_0000u32.runtime() // that of minus infinity
    } else if size == 0u32 || size == bits {
        0x7fff_ffffu32 - size
    } else {
        bits
    }
}
