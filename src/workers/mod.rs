//! Workers: processes on this machine or others, each of which serves one device to a trainer, with burn's
//! remote devices and this crate's own operations.
//!
//! A worker runs [`serve`]. A trainer [`connect`]s to several, and [`Run::on`](crate::train::Run::on) takes
//! the [`Team`](crate::train::Team) that it gets. [`LocalWorkers`] are processes that a trainer starts and
//! ends itself.
//!
//! Over `ws://` nothing is encrypted: the token keeps strangers out, but does not stop eavesdroppers. Use it
//! on trusted networks only. `iroh://` authenticates the worker by its key and encrypts. Relays are off, so
//! nothing goes through other people's servers.

mod address;
mod connect;
mod identity;
mod local;
mod serve;
mod watch;

pub use address::Address;
pub use connect::connect;
pub use local::LocalWorkers;
pub use serve::{Endpoint, serve};
pub use watch::answers;
