//! Matrix products by the `gemm` crate, which picks AVX-512, AVX2 or NEON at run time.

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use super::dots::add_dots;

/// A matrix inside a slice: element (row, column) is at `row * strides[0] + column * strides[1]`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    data: &'a [f32],
    shape: [usize; 2],
    strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// Row by row, rows `stride` elements apart.
    pub fn new(data: &'a [f32], shape: [usize; 2], stride: usize) -> Self {
        let end = |rows: usize| (rows - 1).checked_mul(stride)?.checked_add(shape[1]);
        assert!(
            shape.contains(&0) || end(shape[0]).is_some_and(|end| end <= data.len()),
            "{shape:?} in rows {stride} apart do not fit into {} elements",
            data.len()
        );
        Self { data, shape, strides: [stride, 1] }
    }

    pub fn rows(self, start: usize, count: usize) -> Self {
        assert!(start + count <= self.shape[0]);
        Self { data: &self.data[start * self.strides[0]..], shape: [count, self.shape[1]], ..self }
    }

    pub fn columns(self, start: usize, count: usize) -> Self {
        self.transposed().rows(start, count).transposed()
    }

    /// Rows, columns.
    #[inline(always)]
    pub fn shape(self) -> [usize; 2] {
        self.shape
    }

    /// Of a matrix whose rows lie side by side in memory.
    #[inline(always)]
    pub fn part_of_row(self, row: usize, start: usize, length: usize) -> &'a [f32] {
        &self.data[row * self.strides[0] + start..][..length]
    }

    pub fn transposed(self) -> Self {
        let ([rows, columns], [down, right]) = (self.shape, self.strides);
        Self { shape: [columns, rows], strides: [right, down], ..self }
    }
}

/// Memory of which several threads write different parts.
pub(super) struct Shared<'a> {
    start: *mut f32,
    length: usize,
    lifetime: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is a slice of f32 whose elements may be written from any thread; that no two threads touch
// the same element is what the unsafe methods ask their callers for.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub fn new(data: &'a mut [f32]) -> Self {
        Self { start: data.as_mut_ptr(), length: data.len(), lifetime: PhantomData }
    }

    /// # Safety
    ///
    /// While the slice lives, nothing else reads or writes its elements.
    #[allow(clippy::mut_from_ref, reason = "what the type is for")]
    pub unsafe fn slice(&self, range: Range<usize>) -> &mut [f32] {
        assert!(range.start <= range.end && range.end <= self.length);
        // SAFETY: inside the slice that `new` borrowed; the caller keeps others away.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    /// Sets the matrix that starts at `offset`, with rows `stride` elements apart, to `a x b`, or adds the
    /// product to it.
    ///
    /// # Safety
    ///
    /// Meanwhile, nothing else reads or writes that matrix.
    pub unsafe fn product(&self, offset: usize, stride: usize, a: Matrix, b: Matrix, add: bool) {
        let ([m, k], [_, n]) = (a.shape, b.shape);
        assert_eq!(k, b.shape[0]);
        if m == 0 || n == 0 {
            return;
        }
        let end = (m - 1).checked_mul(stride).and_then(|last| last.checked_add(offset)?.checked_add(n));
        assert!(end.is_some_and(|end| end <= self.length) && (m == 1 || n <= stride));
        let [a_down, a_right] = a.strides.map(|stride| stride as isize);
        let [b_down, b_right] = b.strides.map(|stride| stride as isize);
        // SAFETY: `Matrix::new` and the assertion above hold every element that the strides reach inside
        // their slices; the inputs are borrowed, the output is the caller's alone.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                self.start.add(offset),
                1,
                stride as isize,
                add,
                a.data.as_ptr(),
                a_right,
                a_down,
                b.data.as_ptr(),
                b_right,
                b_down,
                1.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}

/// Longest sum of [`add_row_products`] that one thread makes where the output is small.
const LONG_SUM: usize = 2048;
/// Longer ones are cut into a multiple of so many parts, all alike, so that several threads have as much to do.
const PARTS: usize = 4;
/// Up to this length, sums are made as in any matrix product.
const SHORT_SUM: usize = 1024;
/// The largest output that counts as small: several copies of it stay in the cache.
const SMALL_OUTPUT: usize = 1 << 17;

/// `a x b^T`, added to the row-major `output`; on all threads.
///
/// # Panics
///
/// If the terms of the sums are not side by side in both.
pub(super) fn add_row_products(output: &mut [f32], a: Matrix, b: Matrix) {
    let ([rows, terms], [columns, b_terms]) = (a.shape, b.shape);
    assert!(output.len() == rows * columns && terms == b_terms && (a.strides[1], b.strides[1]) == (1, 1));
    if output.len() <= SMALL_OUTPUT && terms > SHORT_SUM {
        // Blocks of a small output would each read all of both matrices: cut the sums instead, and add up
        // their parts in order.
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
    // Blocks of the output: enough of them for many threads, large enough for each to be worth packing.
    let block = |side: usize| side.div_ceil(side.div_ceil(256).max(2)).next_multiple_of(16);
    let [height, width] = [block(rows), block(columns)];
    let across = columns.div_ceil(width);
    let output = Shared::new(output);
    (0..rows.div_ceil(height) * across).into_par_iter().for_each(|index| {
        let (top, left) = (index / across * height, index % across * width);
        let (height, width) = (height.min(rows - top), width.min(columns - left));
        let (a, b) = (a.rows(top, height), b.rows(left, width).transposed());
        // SAFETY: the blocks do not overlap.
        unsafe { output.product(top * columns + left, columns, a, b, true) };
    });
}
