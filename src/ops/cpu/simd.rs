//! Loops compiled for each instruction set. The widest one that the processor supports is run.
//!
//! On x86 these are AVX-512, AVX2 with FMA, and what every x86-64 has; on ARM, NEON. Matrix products are not
//! compiled here: the `gemm` crate looks at the processor by itself.

#[cfg(all(test, feature = "train"))]
use std::cell::Cell;

use pulp::{Arch, Simd, WithSimd};

/// Runs `work` as compiled for the widest vectors that the processor has.
///
/// The closure must be `#[inline(always)]`. Otherwise it is compiled once, for the oldest processor. That is
/// also why it is not an `FnOnce`: such a call goes through another function, which is not inlined.
pub(super) fn vectorized<R>(work: impl FnMut() -> R) -> R {
    struct Work<F>(F);

    impl<R, F: FnMut() -> R> WithSimd for Work<F> {
        type Output = R;

        #[inline(always)]
        fn with_simd<S: Simd>(mut self, _: S) -> R {
            (self.0)()
        }
    }

    arch().dispatch(Work(work))
}

/// The instruction set that loops run with.
pub(super) fn arch() -> Arch {
    #[cfg(all(test, feature = "train"))]
    if let Some(arch) = chosen() {
        return arch;
    }
    Arch::new()
}

#[cfg(all(test, feature = "train"))]
thread_local!(static CHOSEN: Cell<Option<Arch>> = const { Cell::new(None) });

/// The instruction set that a test has chosen for this thread.
#[cfg(all(test, feature = "train"))]
pub(in crate::ops) fn chosen() -> Option<Arch> {
    CHOSEN.get()
}

/// Makes the loops of this thread run with another instruction set than the widest one.
#[cfg(all(test, feature = "train"))]
pub(in crate::ops) fn choose(arch: Option<Arch>) {
    CHOSEN.set(arch);
}

/// The instruction sets that this processor has besides the widest one, which is what [`Arch::new`] finds.
#[cfg(all(test, feature = "train"))]
pub(in crate::ops) fn narrower() -> Vec<Arch> {
    match Arch::new() {
        Arch::Scalar => Vec::new(),
        #[cfg(target_arch = "x86_64")]
        Arch::V4(_) => {
            let avx2 = pulp::x86::V3::try_new().expect("a processor with AVX-512 has AVX2");
            vec![Arch::V3(avx2), Arch::Scalar]
        }
        _ => vec![Arch::Scalar],
    }
}
