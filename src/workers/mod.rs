//! Workers: processes on this machine or others, each of which serves one device to a trainer, with burn's
//! remote devices and this crate's own operations.
//!
//! A worker runs [`serve`]. A trainer [`connect`]s to several, and [`Run::on`](crate::train::Run::on) takes
//! the [`Team`](crate::train::Team) that it gets. [`LocalWorkers`] are processes that a trainer starts and
//! ends itself.
//!
//! Workers exchange gradients with each other. Over `ws://` they do it on connections of their own, while they
//! compute:
//!
//! ```text
//! exchange (operations) ─ meeting (who is there) ─ group (sums) ─ link (pieces on a connection)
//! door (one port for trainers and workers)
//! ```
//!
//! Over iroh they use burn's transfers, before and after which they compute.
//!
//! Over `ws://` nothing is encrypted: the token keeps strangers out, but does not stop eavesdroppers. Use it
//! on trusted networks only. `iroh://` authenticates the worker by its key and encrypts. Relays are off, so
//! nothing goes through other people's servers.

mod address;
mod answer;
mod connect;
mod door;
mod exchange;
mod group;
mod identity;
mod link;
mod local;
mod meeting;
mod serve;
mod watch;

pub use address::Address;
pub use connect::connect;
pub use local::LocalWorkers;
pub use serve::{Endpoint, serve};
pub use watch::answers;
