//! How data sets lie on disk: a module a format, each with functions that give a [`Dataset`](super::Dataset).

pub mod deep_pcb;
