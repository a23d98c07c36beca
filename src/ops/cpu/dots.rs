//! Products of two matrices along their rows, `A x B^T`, where the rows are long and few: gradients of weights.
//!
//! Both operands have the terms of a sum side by side in memory, so vectors of them are multiplied as they are, where a
//! matrix product in general would first turn one of them around, which takes longer than a product with few results.
//! 4 x 3 sums are made at a time, each in the lanes of a vector, of as many terms as leave rows in the caches.

use pulp::{Arch, Simd, WithSimd};

use super::gemm::Matrix;

/// Rows of A and of B whose products are summed up at a time: with the rows' own vectors, 16 registers.
const ROWS: usize = 4;
const COLUMNS: usize = 3;
/// Terms of a sum that are added up at a time, in partial sums as many as a vector has lanes.
const TERMS: usize = 1024;
/// Rows of A whose terms stay in a core's cache, 256 KiB, while those of B pass by.
const PANEL: usize = 64;

/// Adds `a x b^T` to the row-major `output`. The elements of a row lie side by side, in both.
pub(super) fn add_dots(output: &mut [f32], a: Matrix, b: Matrix) {
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
                    // Beyond the last row, the last is repeated, and its sums are left out.
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
    // B passes by once for each panel of A: fewest where A is the smaller.
    let (a, b, strides) = if columns < rows { (b, a, [1, columns]) } else { (a, b, [columns, 1]) };
    Arch::new().dispatch(Dots { output, a, b, strides });
}

/// The products of each row with each column, summed up.
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
