//! Weights from torchvision's files and to files that PyTorch reads.
//!
//! A detector is written as safetensors, with torchvision's tensor names and layouts, so that
//! `model.load_state_dict(safetensors.torch.load_file(path))` reads it, and with its whole configuration
//! (class names and seed included) in the metadata, so that a file is all that inference needs.
//!
//! [`load`] reads such a file and torchvision's detectors; [`load_torchvision`] starts a detector from
//! any of them, or from a ResNet classifier, and tells what became of each tensor.
//!
//! ```text
//! path ─ WeightFile ─ Contents (today's names) ─ LoadReport ─ FasterRcnn
//! ```

mod coco;
#[cfg(feature = "download")]
mod fetch;
mod file;
mod load;
#[cfg(feature = "download")]
mod manifest;
mod names;
mod pytorch;
mod report;
mod torchvision;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use burn::tensor::Device;
use serde_json::{Map, Value, json};

#[cfg(feature = "download")]
pub use fetch::{cache_folder, fetch};
pub use file::{Layout, StoredTensor, WeightFile};
pub use load::{LoadOptions, convert, inspect, load_torchvision, load_torchvision_with};
#[cfg(feature = "download")]
pub use manifest::{Published, published};
pub use names::{NamedTensor, apply, collect};
pub use report::{LoadReport, Reshaped};
pub use torchvision::{Kind, Model};

use crate::error::{Error, Result};
use crate::files::write_atomically;
use crate::model::FasterRcnn;

/// Where the configuration stands in the metadata, as JSON.
const CONFIG_KEY: &str = "faster_rcnn_config";
/// Where the version of this crate stands in the metadata.
const VERSION_KEY: &str = "faster_rcnn_version";

/// Writes the weights and the configuration of a detector.
///
/// # Errors
///
/// As [`save_with_metadata`].
pub fn save(model: &FasterRcnn, path: &Path) -> Result<()> {
    save_with_metadata(model, path, &[])
}

/// Writes the weights and the configuration of a detector, with further entries of the metadata.
///
/// The same detector gives the same bytes. The file is written under a temporary name beside `path` and
/// then renamed: whatever interrupts it, `path` holds either what it held before or the whole new file.
///
/// # Errors
///
/// [`Error::Io`] where the file cannot be written.
pub fn save_with_metadata(model: &FasterRcnn, path: &Path, entries: &[(String, String)]) -> Result<()> {
    let config = serde_json::to_string(model.config()).map_err(|error| Error::file(path, error))?;
    let version = env!("CARGO_PKG_VERSION").to_string();
    let mut metadata: BTreeMap<String, String> = entries.iter().cloned().collect();
    metadata.extend([(CONFIG_KEY.to_string(), config), (VERSION_KEY.to_string(), version)]);
    write_safetensors(path, metadata, &collect(model))
}

/// Writes tensors and metadata as safetensors, with checksums, atomically.
///
/// # Errors
///
/// [`Error::Io`] where the file cannot be written.
pub fn write_safetensors(
    path: &Path,
    mut metadata: BTreeMap<String, String>,
    tensors: &[NamedTensor],
) -> Result<()> {
    let bytes = |tensor: &NamedTensor| -> Vec<u8> {
        tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect()
    };
    let checksums: BTreeMap<&str, u32> =
        tensors.iter().map(|tensor| (tensor.name.as_str(), crc32fast::hash(&bytes(tensor)))).collect();
    metadata.insert(file::CHECKSUMS_KEY.to_string(), json!(checksums).to_string());

    let mut header = Map::from_iter([("__metadata__".to_string(), json!(metadata))]);
    let mut start = 0;
    for tensor in tensors {
        let stop = start + 4 * tensor.values.len();
        let entry: Value = json!({ "dtype": "F32", "shape": tensor.shape, "data_offsets": [start, stop] });
        header.insert(tensor.name.clone(), entry);
        start = stop;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    // The elements begin at a multiple of eight bytes.
    header.resize(header.len().next_multiple_of(8), b' ');

    write_atomically(path, |temporary| {
        let write = || {
            let mut file = BufWriter::new(File::create(temporary)?);
            file.write_all(&(header.len() as u64).to_le_bytes())?;
            file.write_all(&header)?;
            for tensor in tensors {
                file.write_all(&bytes(tensor))?;
            }
            file.flush()
        };
        write().map_err(Error::io(path))
    })
}

/// Reads a detector: one that [`save`] wrote, or one of torchvision's, whose architecture is found from
/// its tensors.
///
/// # Errors
///
/// [`Error::Io`] where the file cannot be read, [`Error::File`] where it is no detector's or damaged,
/// [`Error::Tensor`] where a tensor is missing, too many, damaged, of another shape, or not of a
/// floating-point type.
pub fn load(path: &Path, device: &Device) -> Result<FasterRcnn> {
    load::detector(&WeightFile::open(path)?, device)
}

/// Reads a detector and all entries of the file's metadata.
///
/// # Errors
///
/// As [`load`].
pub fn load_with_metadata(path: &Path, device: &Device) -> Result<(FasterRcnn, HashMap<String, String>)> {
    let file = WeightFile::open(path)?;
    let model = load::detector(&file, device)?;
    Ok((model, file.metadata().clone().into_iter().collect()))
}
