//! Settings of any value: an error, or a detector that works.

mod settings;
