//! `faster-rcnn serve`, as its clients see it.

#[path = "../common/program.rs"]
mod program;
#[path = "../common/postgres.rs"]
mod postgres;

mod api;
mod faults;
mod hostile;
mod load;
mod openapi;
mod server;
mod sign_in;
mod versions;
