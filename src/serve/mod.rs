//! The server: images in over HTTP, detections out, and a page to look at them.
//!
//! ```text
//! connection ─ router ─ sign-in ─ upload ─ decode ─ queue ─ detector ─ records ─ answer
//!     (limits of time, bytes and pixels)          (one thread)
//! ```
//!
//! Everything that a client can spend is limited before it is spent: connections, the time for head and body,
//! bytes, pixels, places in the queue. No path, header or file name of a client reaches the file system:
//! images are stored under the SHA-256 of their bytes, and the page's files are part of the program.

mod about;
mod app;
mod connection;
mod detect;
mod exports;
mod history;
mod input;
mod limits;
mod listen;
mod metrics;
mod openapi;
mod page;
mod pictures;
mod queue;
mod refusal;
mod router;
mod served_model;
mod session;
mod sign_in;
mod start;
mod upload;
mod verdicts_zip;
mod watch;

pub use limits::Limits;
pub use served_model::{Load, ModelSource};
pub use start::{ServeConfig, serve};
