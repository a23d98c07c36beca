//! Winograd's minimal filtering F(4x4, 3x3): a 3x3 convolution of stride 1 with a quarter of the products.
//!
//! The output is cut into tiles of 4x4 pixels, each of which sees a patch of 6x6 pixels of the input. With
//! the matrices `A`, `B`, `G` of the points 0, 1/sqrt(2), -1/sqrt(2), sqrt(2), -sqrt(2) and infinity:
//!
//! ```text
//! U = G g G^T for each 3x3 kernel g                                      [36, C out, C in]     kernels
//! for each chunk of tiles:
//!     V = B^T d B for each patch d                 parallel: channels    [36, C in, tiles]     tiles
//!     for each of the 36 values:
//!         M = U x V, a matrix product              parallel: the 36      [36, C out, tiles]    passes
//!     y = A^T M A, the 4x4 pixels of each tile     parallel: channels    [C out, H, W]         passes
//! ```
//!
//! - Gradient of the input: the same, with the kernels turned by 180 degrees and the channels exchanged.
//! - Gradient of the weight: `dU = (A dy A^T) x V^T`, summed over all chunks, then `dg = G^T dU G`.
//!
//! A chunk is some rows of tiles whose `V` and `M` stay in the last-level cache. The transforms work on 16
//! neighbouring tiles at a time, one in each lane of a vector.
//!
//! Error: with these points no factor is above 2 sqrt(2), and a result is off by at most 1e-5 of the largest
//! one of the map, which the tests check with up to 512 channels. The integer points 0, 1, -1, 2, -2 are less
//! exact and fail them.
//!
//! Source: [Lavin and Gray 2015](https://arxiv.org/abs/1509.09308).

#![allow(
    clippy::needless_range_loop,
    clippy::redundant_closure,
    reason = "functions as values and `map` of arrays are not inlined into `vectorized`, so they would be compiled \
              for the oldest processor"
)]

mod kernels;
mod passes;
mod tiles;
mod transforms;

pub(super) use kernels::transform_weight;
pub(super) use passes::{forward, forward_transformed, input_backward, weight_backward};
pub(super) use tiles::count as tiles;
pub(super) use transforms::POINTS;
