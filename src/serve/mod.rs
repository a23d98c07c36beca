//! The server.

mod connection;
mod limits;
mod refusal;
