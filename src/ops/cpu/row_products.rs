//! Products of two matrices along their rows, `A x B^T`, as gradients of weights are: few rows, long sums.
//!
//! Both operands have the terms of a sum side by side in memory, so vectors of them are multiplied as they
//! are. A general matrix product would first transpose one of them, which takes longer than a product with
//! few results.
//!
//! ```text
//! small output, long sums:                    otherwise:
//!     cut the sums into parts                     cut the output into blocks
//!     for each part, in parallel:                 for each block, in parallel:
//!         part of the output = dot products           block += gemm(A's rows, B's rows transposed)
//!     add the parts up, in order
//! ```
//!
//! The dot products are computed for 4 x 3 pairs of rows at a time. Each pair has a vector of partial sums,
//! and so many terms are taken at a time that the rows stay in the caches.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::gemm::{Matrix, Shared};
use super::simd::arch;

/// Longest part of a sum, where the output is small.
const LONG_SUM: usize = 2048;
/// The number of parts is a multiple of this, so that several threads get equal shares.
const PARTS: usize = 4;
/// Up to this length, sums are not cut.
const SHORT_SUM: usize = 1024;
/// Most elements of a small output: the caches hold several copies of it.
const SMALL_OUTPUT: usize = 1 << 17;
/// Rows of A and of B whose products are summed up at a time. With the vectors of the rows, that takes 16
/// registers.
const ROWS: usize = 4;
const COLUMNS: usize = 3;
/// Terms of a sum that are added up at a time.
const TERMS: usize = 1024;
/// Rows of A that stay in a core's cache (256 KiB) while the rows of B are read one after the other.
const PANEL: usize = 64;

/// Adds `a x b^T` to the row-major `output`, on all threads.
///
/// # Panics
///
/// If the elements of a row do not lie side by side in memory, in `a` or in `b`.
pub(super) fn add_row_products(output: &mut [f32], a: Matrix, b: Matrix) {
    let ([rows, terms], [columns, b_terms]) = (a.shape(), b.shape());
    assert!(
        output.len() == rows * columns
            && terms == b_terms
            && a.rows_are_contiguous()
            && b.rows_are_contiguous()
    );
    if output.len() <= SMALL_OUTPUT && terms > SHORT_SUM {
        // Blocks of a small output would each read all of both matrices. So the sums are cut, and their parts
        // added up in order.
        let count = terms.div_ceil(LONG_SUM).next_multiple_of(PARTS);
        let length = terms.div_ceil(count).next_multiple_of(16);
        let parts: Vec<Vec<f32>> = (0..terms.div_ceil(length))
            .into_par_iter()
            .map(|part| {
                let start = part * length;
                let count = length.min(terms - start);
                let mut sums = vec![0.0; rows * columns];
                add_dots(&mut sums, a.columns(start, count), b.columns(start, count));
                sums
            })
            .collect();
        for part in parts {
            output.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
        }
        return;
    }
    // Blocks: enough of them for many threads, each large enough that `gemm`'s packing pays.
    let block = |side: usize| side.div_ceil(side.div_ceil(256).max(2)).next_multiple_of(16);
    let [height, width] = [block(rows), block(columns)];
    let across = columns.div_ceil(width);
    let output = Shared::new(output);
    (0..rows.div_ceil(height) * across).into_par_iter().for_each(|index| {
        let (top, left) = (index / across * height, index % across * width);
        let (height, width) = (height.min(rows - top), width.min(columns - left));
        let (a, b) = (a.rows(top, height), b.rows(left, width).transposed());
        // SAFETY: this task alone writes the block of `height` x `width` elements from (top, left) on.
        unsafe { output.product(top * columns + left, columns, a, b, true) };
    });
}

/// The same on one thread, by dot products.
fn add_dots(output: &mut [f32], a: Matrix, b: Matrix) {
    struct Dots<'a, 'b> {
        output: &'a mut [f32],
        a: Matrix<'b>,
        b: Matrix<'b>,
        /// From one row, and from one column, of the output to the next.
        strides: [usize; 2],
    }

    impl WithSimd for Dots<'_, '_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Self { output, a, b, strides: [down, right] } = self;
            let ([a_count, terms], [b_count, _]) = (a.shape(), b.shape());
            for start in (0..terms).step_by(TERMS) {
                let length = TERMS.min(terms - start);
                let blocks = (0..a_count).step_by(PANEL);
                let blocks =
                    blocks.flat_map(|top| (0..b_count).step_by(COLUMNS).map(move |left| (top, left)));
                for (top, column) in blocks {
                    // After the last row, the last one is repeated and its sums are ignored.
                    let columns = [0, 1, 2].map(
                        #[inline(always)]
                        |next| b.part_of_row((column + next).min(b_count - 1), start, length),
                    );
                    for row in (top..a_count.min(top + PANEL)).step_by(ROWS) {
                        let rows = [0, 1, 2, 3].map(
                            #[inline(always)]
                            |next| a.part_of_row((row + next).min(a_count - 1), start, length),
                        );
                        let sums = dots(simd, rows, columns);
                        for (row, sums) in (row..a_count).zip(&sums) {
                            for (column, sum) in (column..b_count).zip(sums) {
                                output[row * down + column * right] += sum;
                            }
                        }
                    }
                }
            }
        }
    }

    let ([rows, terms], [columns, b_terms]) = (a.shape(), b.shape());
    assert!(output.len() == rows * columns && terms == b_terms);
    if output.is_empty() {
        return;
    }
    // B is read once for each panel of A, so A is the one with fewer rows.
    let (a, b, strides) = if columns < rows { (b, a, [1, columns]) } else { (a, b, [columns, 1]) };
    arch().dispatch(Dots { output, a, b, strides });
}

/// The dot products of each row with each column.
#[inline(always)]
fn dots<S: Simd>(simd: S, rows: [&[f32]; ROWS], columns: [&[f32]; COLUMNS]) -> [[f32; COLUMNS]; ROWS] {
    let rows = rows.map(
        #[inline(always)]
        |row| S::as_simd_f32s(row),
    );
    let columns = columns.map(
        #[inline(always)]
        |column| S::as_simd_f32s(column),
    );
    let vectors = rows[0].0.len();
    let rows_whole = rows.map(
        #[inline(always)]
        |(whole, _)| &whole[..vectors],
    );
    let columns_whole = columns.map(
        #[inline(always)]
        |(whole, _)| &whole[..vectors],
    );
    let mut sums = [[simd.splat_f32s(0.0); COLUMNS]; ROWS];
    for index in 0..vectors {
        for (row, sums) in rows_whole.iter().zip(&mut sums) {
            for (column, sum) in columns_whole.iter().zip(sums) {
                *sum = simd.mul_add_e_f32s(row[index], column[index], *sum);
            }
        }
    }
    let mut totals = [[0.0; COLUMNS]; ROWS];
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            let rest = rows[row].1.iter().zip(columns[column].1).map(|(a, b)| a * b).sum::<f32>();
            totals[row][column] = simd.reduce_sum_f32s(sums[row][column]) + rest;
        }
    }
    totals
}
