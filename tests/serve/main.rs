//! `faster-rcnn serve`, as its clients see it.

#[path = "../common/program.rs"]
mod program;

mod api;
mod faults;
mod hostile;
mod load;
mod openapi;
mod server;
mod sign_in;
mod versions;
