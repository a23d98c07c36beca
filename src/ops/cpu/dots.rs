//! Products of two matrices along their rows, `A x B^T`, where the rows are long and few: gradients of weights.
//!
//! Both operands have the terms of a sum side by side in memory, so vectors of them are multiplied as they are, where a
//! matrix product in general would first turn one of them around, which takes longer than a product with few results.
//! 4 x 3 sums are made at a time, each in the lanes of a vector, of as many terms as leave rows in the caches.

use pulp::{Arch, Simd, WithSimd};

/// Rows of A and of B whose products are summed up at a time: with the rows' own vectors, 16 registers.
const ROWS: usize = 4;
const COLUMNS: usize = 3;
/// Terms of a sum that are added up at a time, in partial sums as many as a vector has lanes.
const TERMS: usize = 1024;
/// Rows of A whose terms stay in a core's cache, 256 KiB, while those of B pass by.
const PANEL: usize = 64;

/// A matrix whose rows, of `terms` elements, begin `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub data: &'a [f32],
    pub count: usize,
    pub stride: usize,
}

impl<'a> Rows<'a> {
    /// A part of the row; of the last one where there is no such row.
    #[inline(always)]
    fn part(self, row: usize, start: usize, length: usize) -> &'a [f32] {
        &self.data[row.min(self.count - 1) * self.stride + start..][..length]
    }
}

/// Adds `a x b^T` over the `terms` to the row-major `output`, `[a.count, b.count]`.
pub(super) fn add_dots(output: &mut [f32], a: Rows, b: Rows, terms: usize) {
    struct Dots<'a, 'b> {
        output: &'a mut [f32],
        a: Rows<'b>,
        b: Rows<'b>,
        terms: usize,
        /// From one row, and from one column, of the output to the next.
        strides: [usize; 2],
    }

    impl WithSimd for Dots<'_, '_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Self { output, a, b, terms, strides: [down, right] } = self;
            for start in (0..terms).step_by(TERMS) {
                let length = TERMS.min(terms - start);
                let blocks = (0..a.count).step_by(PANEL);
                let blocks =
                    blocks.flat_map(|top| (0..b.count).step_by(COLUMNS).map(move |left| (top, left)));
                for (top, column) in blocks {
                    let columns = [0, 1, 2].map(
                        #[inline(always)]
                        |next| b.part(column + next, start, length),
                    );
                    for row in (top..a.count.min(top + PANEL)).step_by(ROWS) {
                        let rows = [0, 1, 2, 3].map(
                            #[inline(always)]
                            |next| a.part(row + next, start, length),
                        );
                        let sums = dots(simd, rows, columns);
                        for (row, sums) in (row..a.count).zip(&sums) {
                            for (column, sum) in (column..b.count).zip(sums) {
                                output[row * down + column * right] += sum;
                            }
                        }
                    }
                }
            }
        }
    }

    assert_eq!(output.len(), a.count * b.count);
    if output.is_empty() {
        return;
    }
    // B passes by once for each panel of A: fewest where A is the smaller.
    let (columns, swap) = (b.count, b.count < a.count);
    let (a, b, strides) = if swap { (b, a, [1, columns]) } else { (a, b, [columns, 1]) };
    Arch::new().dispatch(Dots { output, a, b, terms, strides });
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
