//! Loops compiled for the widest vectors that the processor has.

use pulp::{Arch, Simd, WithSimd};

/// Runs `work` as compiled for AVX-512, AVX2 or NEON, whichever the processor has.
///
/// The closure must be `#[inline(always)]`, else it is compiled once, for the oldest processor. So it would be as a
/// plain `FnOnce`, too: calling one goes through a shim, and that is a function of its own.
pub(super) fn vectorized<R>(work: impl FnMut() -> R) -> R {
    struct Work<F>(F);

    impl<R, F: FnMut() -> R> WithSimd for Work<F> {
        type Output = R;

        #[inline(always)]
        fn with_simd<S: Simd>(mut self, _: S) -> R {
            (self.0)()
        }
    }

    Arch::new().dispatch(Work(work))
}
