//! Where images and their boxes come from: the first word of `images ─ transform ─ …`.
//!
//! A [`Dataset`] is what everything else takes; the [`formats`] read one from disk. [`write_synthetic`] makes
//! boards in DeepPCB's layout (for tests and for a first training without a download), [`augment`] varies an
//! image between epochs, and a [`Loader`] gives images in batches from background threads. Everything here is
//! plain pixels and [`Annotation`](crate::structures::Annotation)s on the host; tensors begin one step later.

mod augment;
mod boxes;
#[cfg(feature = "train")]
mod burn_loader;
mod check;
mod copy_paste;
mod dataset;
pub mod formats;
#[cfg(feature = "data")]
mod group_by;
mod image_source;
mod images;
mod jpeg;
mod loader;
mod objects;
mod photometry;
mod random;
mod reference;
mod report;
mod similar;
mod split;
mod stats;
mod stats_table;
mod synthetic;
#[cfg(feature = "tables")]
mod table_cell;
#[cfg(feature = "tables")]
mod table_file;
#[cfg(feature = "tables")]
mod table_thrift;

pub use augment::{AugmentConfig, augment};
pub use check::check_images;
pub use dataset::{Dataset, Record, Side, Split};
#[cfg(feature = "tables")]
pub use formats::write_tables;
pub use formats::{Format, Transfer, deep_pcb, open};
pub use image_source::ImageSource;
#[cfg(feature = "serve")]
pub(crate) use images::decode as decode_image;
pub use images::{image_size, load_image};
pub use loader::{Batch, Batches, Loader};
pub use photometry::Photometry;
pub use random::RandomKey;
pub(crate) use reference::Aligned;
pub use reference::pair;
pub use report::Report;
pub use stats::{
    AnchorStats, Bin, COVERED, ClassStats, DatasetStats, Distribution, QUANTILES, ResizedBox, SideStats,
};
pub use synthetic::{SyntheticConfig, board, write_synthetic};
#[cfg(feature = "tables")]
pub use table_cell::TableCell;
