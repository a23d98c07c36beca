//! A detector's weights as a file: safetensors, with torchvision's tensor names and layouts, and the
//! detector's whole configuration in the metadata, so that a file is all that inference needs.

mod names;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use burn::tensor::Device;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

pub use names::{NamedTensor, apply, collect};

use crate::{Error, FasterRcnn, FasterRcnnConfig, Result};

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
/// The file is written under a temporary name beside `path` and then renamed: whatever interrupts it,
/// `path` holds either what it held before or the whole new file.
///
/// # Errors
///
/// [`Error::Io`] where the file cannot be written.
pub fn save_with_metadata(model: &FasterRcnn, path: &Path, entries: &[(String, String)]) -> Result<()> {
    let config = serde_json::to_string(model.config()).map_err(|error| Error::file(path, error))?;
    let version = env!("CARGO_PKG_VERSION").to_string();
    let mut metadata: HashMap<String, String> = entries.iter().cloned().collect();
    metadata.extend([(CONFIG_KEY.to_string(), config), (VERSION_KEY.to_string(), version)]);
    let tensors = collect(model);
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|tensor| tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect())
        .collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|(tensor, bytes)| {
            let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes);
            view.map(|view| (tensor.name.as_str(), view)).map_err(|error| Error::file(path, error))
        })
        .collect::<Result<Vec<_>>>()?;
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|error| Error::file(path, error))?;

    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = Path::new(&temporary);
    let mut file = File::create(temporary).map_err(Error::io(temporary))?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(Error::io(temporary))?;
    fs::rename(temporary, path).map_err(Error::io(path))
}

/// Reads a detector that [`save`] wrote.
///
/// # Errors
///
/// [`Error::Io`] where the file cannot be read, [`Error::File`] where it is not such a file, or a
/// tensor is missing, too many, of another shape or not f32.
pub fn load(path: &Path, device: &Device) -> Result<FasterRcnn> {
    load_with_metadata(path, device).map(|(model, _)| model)
}

/// Reads a detector and all entries of the file's metadata.
///
/// # Errors
///
/// As [`load`].
pub fn load_with_metadata(path: &Path, device: &Device) -> Result<(FasterRcnn, HashMap<String, String>)> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    let fail = |message: String| Error::file(path, message);
    let not_ours = |what: &str| fail(format!("not a weight file of faster-rcnn: {what}"));
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| not_ours(&error.to_string()))?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let config =
        metadata.get(CONFIG_KEY).ok_or_else(|| not_ours(&format!("its metadata has no {CONFIG_KEY}")))?;
    let config: FasterRcnnConfig =
        serde_json::from_str(config).map_err(|error| fail(format!("its {CONFIG_KEY}: {error}")))?;
    config.validate().map_err(|error| fail(format!("its {CONFIG_KEY}: {error}")))?;

    let file = SafeTensors::deserialize(&bytes).map_err(|error| not_ours(&error.to_string()))?;
    let tensors = file
        .iter()
        .map(|(name, view)| {
            if view.dtype() != Dtype::F32 {
                return Err(fail(format!("tensor {name} is {:?}, not F32", view.dtype())));
            }
            let (chunks, _) = view.data().as_chunks::<4>();
            let values = chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            Ok(NamedTensor { name: name.to_string(), shape: view.shape().to_vec(), values })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok((apply(config.init(device), tensors).map_err(fail)?, metadata))
}
