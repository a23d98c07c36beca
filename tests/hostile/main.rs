//! Files of strangers: damaged, or made to do harm.
//!
//! The tests whose names begin with `mutants` are fuzzers, which by default try a fixed number of mutants of
//! the committed files. For longer: `FUZZ_SECONDS=600 cargo test --release --test hostile mutants_of_coco --
//! --nocapture`, with another `FUZZ_SEED` each time.

mod data;
mod memory;
mod mutants;
#[cfg(feature = "tables")]
mod tables;
mod weight_files;
mod weight_settings;
mod weights;
