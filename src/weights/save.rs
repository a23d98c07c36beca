//! Detectors to safetensors files.
//!
//! The format's own library writes metadata from a hash map, in another order each time. Here the same
//! detector gives the same bytes, so that files can be compared, cached and signed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::file::CHECKSUMS_KEY;
use super::names::{NamedTensor, collect};
use super::precision::Precision;
use crate::error::{Error, Result};
use crate::files::write_atomically;
use crate::model::FasterRcnn;

/// The key of the configuration in the metadata, as JSON.
pub(super) const CONFIG_KEY: &str = "faster_rcnn_config";

/// The key of what a run says about itself in the metadata, as JSON.
#[cfg(any(feature = "train", feature = "registry"))]
pub(crate) const TRAINING_KEY: &str = "faster_rcnn_training";

/// The key of this crate's version in the metadata.
const VERSION_KEY: &str = "faster_rcnn_version";

/// Writes the weights and the configuration of a detector.
///
/// The same detector gives the same bytes. If writing is interrupted, `path` holds either its old content or
/// the whole new file.
///
/// # Errors
///
/// [`Error::Io`] where the file cannot be written.
pub fn save(model: &FasterRcnn, path: impl AsRef<Path>) -> Result<()> {
    save_with_metadata(model, path, &[])
}

/// [`save`] with further entries of the metadata.
///
/// # Errors
///
/// As [`save`].
pub fn save_with_metadata(
    model: &FasterRcnn,
    path: impl AsRef<Path>,
    entries: &[(String, String)],
) -> Result<()> {
    save_as(model, path, entries, Precision::F32)
}

/// [`save_with_metadata`] in another precision.
///
/// # Errors
///
/// As [`save`], and [`Error::Tensor`] for a weight that is too large for the precision.
pub fn save_as(
    model: &FasterRcnn,
    path: impl AsRef<Path>,
    entries: &[(String, String)],
    precision: Precision,
) -> Result<()> {
    let config = serde_json::to_string(model.config()).expect("settings have named fields");
    let version = env!("CARGO_PKG_VERSION").to_string();
    let mut metadata: BTreeMap<String, String> = entries.iter().cloned().collect();
    metadata.extend([(CONFIG_KEY.to_string(), config), (VERSION_KEY.to_string(), version)]);
    write_safetensors(path, metadata, &collect(model), precision)
}

/// Writes tensors and metadata as safetensors, with a checksum for each tensor.
///
/// # Errors
///
/// As [`save_as`].
#[doc(hidden)]
pub fn write_safetensors(
    path: impl AsRef<Path>,
    mut metadata: BTreeMap<String, String>,
    tensors: &[NamedTensor],
    precision: Precision,
) -> Result<()> {
    let path = path.as_ref();
    let too_large = |tensor: &NamedTensor| Some((tensor.name.clone(), precision.too_large(tensor)?));
    if let Some((name, value)) = tensors.iter().find_map(too_large) {
        return Err(Error::tensor(path, name, format!("{value} is too large for {}", precision.name())));
    }
    let bytes = |tensor: &NamedTensor| precision.bytes(tensor);
    let checksums: BTreeMap<&str, u32> =
        tensors.iter().map(|tensor| (tensor.name.as_str(), crc32fast::hash(&bytes(tensor)))).collect();
    metadata.insert(CHECKSUMS_KEY.to_string(), json!(checksums).to_string());

    let mut header = Map::from_iter([("__metadata__".to_string(), json!(metadata))]);
    let mut start = 0;
    for tensor in tensors {
        let stop = start + precision.width() * tensor.values.len();
        let (dtype, shape) = (precision.name(), &tensor.shape);
        let entry: Value = json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, stop] });
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
