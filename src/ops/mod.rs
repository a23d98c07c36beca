//! Operations that burn does not have, or not fast enough, on plain [`Tensor`](burn::tensor::Tensor)s.
//!
//! The way of a call:
//!
//! ```text
//! functional   public functions: check the shapes
//!     │
//! backend      the trait `DetectionOps`; burn routes a call to the backend that holds the tensors
//!     ├── autodiff   notes the call for the backward pass, hands it on
//!     ├── deferred   fused and remote devices: notes the call, which runs later or elsewhere
//!     ├── cpu        kernels for the CPU
//!     ├── cube       kernels for GPUs
//!     └── fallback   made of burn's own operations, where a backend has no kernel
//! ```
//!
//! Every operation has a reference in f64, and one test compares all of its implementations with it.

#![allow(
    clippy::large_enum_variant,
    reason = "generated dispatch enums; one per call, so the size does not matter"
)]

#[cfg(feature = "train")]
mod autodiff;
pub(crate) mod backend;
mod conv_weight;
pub(crate) mod cpu;
#[cfg(feature = "cube")]
mod cube;
#[cfg(any(feature = "cube", feature = "workers"))]
pub(crate) mod deferred;
mod device;
mod fallback;
mod functional;
mod options;
pub(crate) mod primitives;
// They need gradients.
#[cfg(all(test, feature = "train"))]
mod tests;

pub use conv_weight::{ConvWeight, WinogradWeight};
#[cfg(feature = "cube")]
pub use cube::convolution::set_allow_tf32;
pub(crate) use device::{in_another_process, in_host_memory};
pub use functional::{
    batched_nms, conv2d, linear, max_pool2d, normalize, pyramid_roi_align, roi_align, top_k,
    zero_with_gradient,
};
pub use options::{ABSENT, Fused, NormOptions, PoolOptions, RoiAlignOptions};
