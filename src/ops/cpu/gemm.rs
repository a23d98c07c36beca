//! Matrix products by the `gemm` crate, which picks AVX-512, AVX2, NEON or plain code at run time, by itself.

use std::marker::PhantomData;
use std::ops::Range;

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

    /// Whether the elements of a row lie side by side in memory.
    pub fn rows_are_contiguous(self) -> bool {
        self.strides[1] == 1
    }

    /// Some elements of a row, where rows are contiguous.
    #[inline(always)]
    pub fn part_of_row(self, row: usize, start: usize, length: usize) -> &'a [f32] {
        &self.data[row * self.strides[0] + start..][..length]
    }

    pub fn transposed(self) -> Self {
        let ([rows, columns], [down, right]) = (self.shape, self.strides);
        Self { shape: [columns, rows], strides: [right, down], ..self }
    }
}

/// Memory of which several threads write different parts at the same time.
pub(super) struct Shared<'a> {
    start: *mut f32,
    length: usize,
    lifetime: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is a `&mut [f32]`, which may be sent to any thread. All access goes through the unsafe methods,
// whose callers promise that no two threads touch the same element.
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
        // SAFETY: the range lies in the slice that `new` borrowed, and the caller promises that nobody else
        // uses it.
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
        // SAFETY: `Matrix::new` checks that the strides of `a` and `b` stay inside their slices, and the
        // assertion above checks it for the output. The inputs are borrowed; the caller promises that nobody
        // else uses the output.
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
