//! Where images and their boxes come from: the first word of `images ─ transform ─ …`.
//!
//! [`DeepPcb`] reads the DeepPCB data set, [`write_synthetic`] makes boards of its kind in its layout (for
//! tests and for a first training without a download), [`augment`] varies an image between epochs, and a
//! [`Loader`] gives them in batches from background threads.
//! Everything here is plain pixels and [`Annotation`](crate::structures::Annotation)s on the host; tensors
//! begin one step later.

mod augment;
mod deep_pcb;
mod labels;
mod loader;
mod synthetic;

pub use augment::{AugmentConfig, augment};
pub use deep_pcb::{CLASS_NAMES, DeepPcb, Record, load_image};
pub use loader::{Batch, Loader};
pub use synthetic::{SyntheticConfig, board, write_synthetic};
