//! Weights from torchvision's files and to files that PyTorch reads.
//!
//! A detector is written as safetensors, with torchvision's tensor names and layouts, so that
//! `model.load_state_dict(safetensors.torch.load_file(path))` reads it. Its whole configuration (class names
//! and seed included) is in the metadata, so that a file is all that inference needs.
//!
//! - [`load`] makes a detector from such a file, or from a detector of torchvision's.
//! - [`WeightFile::load_into`] starts the training of a detector from any of them, or from a ResNet
//!   classifier, and reports what became of each tensor.
//! - [`LoadOptions`] says what a file cannot say, such as the anchors that its detector was trained with.
//! - [`WeightFile::inspect`] and [`WeightFile::convert`] look into files of all layouts and rewrite them.
//!
//! ```
//! use burn::tensor::Device;
//! use faster_rcnn::weights::{LoadOptions, WeightFile};
//! use faster_rcnn::{FasterRcnnConfig, weights};
//!
//! # fn main() -> faster_rcnn::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("detector.safetensors");
//! # let config = FasterRcnnConfig::tiny(7);
//! let detector = config.init(&Device::flex());
//! weights::save(&detector, &path)?;
//!
//! let file = WeightFile::open(&path)?;
//! let options = LoadOptions::default().set("transform.min_size=320").set("transform.max_size=320");
//! let same = file.load(&options, &Device::flex())?;
//! assert_eq!(same.config().transform.min_size, 320);
//!
//! let mut other = config.init(&Device::flex());
//! let report = file.load_into(&mut other, &LoadOptions::default())?;
//! println!("{report}");
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//! path ─ WeightFile ─ Contents (today's names) ─ LoadReport ─ FasterRcnn
//! ```

mod coco;
mod contents;
#[cfg(feature = "download")]
mod fetch;
mod file;
#[cfg(feature = "download")]
mod find;
mod kind;
mod layout;
mod load;
#[cfg(feature = "download")]
mod manifest;
mod names;
mod options;
mod precision;
mod pytorch;
mod report;
mod save;

#[cfg(feature = "download")]
pub use fetch::{cache_folder, fetch};
pub use file::{StoredTensor, WeightFile};
#[cfg(feature = "download")]
pub use find::{DEEP_PCB_SMALL, DEEP_PCB_SMALL_REFERENCE, find};
pub use kind::WeightFileKind;
pub use layout::Layout;
pub use load::{Inspection, load};
#[cfg(feature = "download")]
pub use manifest::{Published, published};
pub use names::{Mismatch, NamedTensor, apply, collect};
pub use options::LoadOptions;
pub use precision::Precision;
pub use report::{EpsilonSource, LoadReport, Reshaped};
#[cfg(any(feature = "train", feature = "registry"))]
pub(crate) use save::TRAINING_KEY;
pub use save::{save, save_as, save_with_metadata, write_safetensors};
