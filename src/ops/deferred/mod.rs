//! The operations on devices that run them later (fused ones) or in another process (remote ones).
//!
//! `operations` implements all of them by one thing that such a backend can do: note a call. `wire` says how
//! a call is noted and how it runs in the end, `scalars` how its options are written down. `fusion` and
//! `remote` are the two kinds of backends.

#[cfg(feature = "cube")]
mod fusion;
mod operations;
#[cfg(feature = "workers")]
pub(crate) mod remote;
mod scalars;
pub(crate) mod wire;
