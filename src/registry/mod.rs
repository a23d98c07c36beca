//! A registry of models: numbered versions of a detector under a name, with all that is known of each.
//!
//! A version holds the weights and their SHA-256, what goes in and comes out, the settings, the metrics with
//! the thresholds that the evaluation chose, a fingerprint of the training data, and a sample image with the
//! detections that it must give ([`ModelCard`]). `models:/pcb/3` and `models:/pcb@champion` name a version
//! wherever weights are taken: [`resolve`] gives the file, after its SHA-256 is checked.
//!
//! ```text
//! RUN or FILE ─ NewVersion ─ Registry (a folder, or MLflow's server) ─ resolve ─ weights
//! ```
//!
//! ```
//! use faster_rcnn::registry::{FolderRegistry, NewVersion, Registry, RegistryName, resolve};
//! # use faster_rcnn::burn::tensor::Device;
//! # use faster_rcnn::{FasterRcnnConfig, weights};
//!
//! # fn main() -> faster_rcnn::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # std::env::set_current_dir(&folder).unwrap();
//! # let model = FasterRcnnConfig::tiny(3).with_class_names(&["open", "short"]).init(&Device::flex());
//! # weights::save(&model, "best.safetensors")?;
//! let registry = FolderRegistry::new("registry");
//! let number = registry.register("pcb", &NewVersion::of("best.safetensors")?)?;
//! registry.set_alias("pcb", "champion", number)?;
//!
//! let found = resolve("models:/pcb@champion", &RegistryName::Folder("registry".into()))?;
//! println!("{} is version {:?}", found.path.display(), found.version);
//! # assert_eq!(found.version, Some(1));
//! # Ok(())
//! # }
//! ```

mod card;
mod folder;
mod interface;
mod names;
mod new_version;
mod resolve;
mod sample;
mod version_name;

pub use card::{Input, ModelCard, ModelVersion, Output, Signature, Training};
pub use folder::FolderRegistry;
pub use interface::{Registry, ResolvedWeights};
pub use names::{check_alias, check_model_name};
pub use new_version::NewVersion;
pub use resolve::{RegistryName, open, resolve};
pub use sample::{Sample, SampleDetection, SampleDifference, SampleImages};
pub use version_name::{VersionName, Which};
