//! From a file's tensors to a detector's, all or nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use burn::tensor::{Device, TensorData};

use super::file::WeightFile;
use super::names::{NamedTensor, replace, shapes};
use super::report::{LoadReport, Reshaped};
use super::torchvision::{Contents, Kind, Model};
use super::{CONFIG_KEY, save_with_metadata, write_safetensors};
use crate::error::{Error, Result};
use crate::model::{FasterRcnn, FasterRcnnConfig};

/// The layers whose shapes follow the number of classes.
const PREDICTOR: &str = "roi_heads.box_predictor.";

/// Mismatches that [`load_torchvision_with`] is to accept.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    allowed: Vec<String>,
}

impl LoadOptions {
    /// Accepts that tensors whose names start so are missing, unused or of another shape; the report
    /// lists them.
    pub fn allow(mut self, prefix: impl ToString) -> Self {
        self.allowed.push(prefix.to_string());
        self
    }

    fn allows(&self, name: &str) -> bool {
        self.allowed.iter().any(|prefix| name.starts_with(prefix))
    }
}

/// Starts a detector from a file of torchvision's, or of [`save`](super::save)'s.
///
/// - A detector's file replaces all weights, and the settings of the detector stay. Where it has another
///   number of classes, `cls_score` and `bbox_pred` stay as they were initialised.
/// - A ResNet classifier's file replaces those of the backbone.
///
/// [`frozen_epsilon`](crate::model::FasterRcnnConfig::frozen_epsilon) becomes what torchvision has with the
/// file. The detector is changed only if all goes well.
///
/// # Errors
///
/// [`Error::Io`], [`Error::File`] and [`Error::Tensor`] where the file cannot be read, is damaged, or
/// does not fit the detector.
pub fn load_torchvision(model: &mut FasterRcnn, path: impl AsRef<Path>) -> Result<LoadReport> {
    load_torchvision_with(model, path, &LoadOptions::default())
}

/// As [`load_torchvision`], accepting some mismatches.
///
/// # Errors
///
/// As [`load_torchvision`].
pub fn load_torchvision_with(
    model: &mut FasterRcnn,
    path: impl AsRef<Path>,
    options: &LoadOptions,
) -> Result<LoadReport> {
    let file = WeightFile::open(path)?;
    let contents = Contents::of(&file)?;
    let epsilon = match own_config(&file)? {
        Some(config) => config.frozen_epsilon,
        None => contents.frozen_epsilon(),
    };
    let mut report = compare(model, &file, &contents);
    let classes = |reshaped: &Reshaped| {
        reshaped.name.starts_with(PREDICTOR) && reshaped.file.get(1..) == reshaped.model.get(1..)
    };
    let unexpected = report.mismatches(classes).find(|(name, _)| !options.allows(name));
    if let Some((name, message)) = unexpected {
        return Err(Error::tensor(file.path(), name, message));
    }
    let tensors = read(&file, &contents, &report)?;
    report.frozen_epsilon = epsilon;
    *model = replace(model.clone(), tensors).with_frozen_epsilon(epsilon);
    Ok(report)
}

/// The detector of a file, with the settings in its metadata, or those that its tensors tell of.
pub(super) fn detector(file: &WeightFile, device: &Device) -> Result<FasterRcnn> {
    let contents = Contents::of(file)?;
    let config = match own_config(file)? {
        Some(config) => config,
        None => contents.config(file)?,
    };
    let model = config.blank(device);
    let tensors = read(file, &contents, &whole(&model, file, &contents)?)?;
    Ok(replace(model, tensors))
}

/// A report without mismatches.
fn whole(model: &FasterRcnn, file: &WeightFile, contents: &Contents) -> Result<LoadReport> {
    let report = compare(model, file, contents);
    if let Some((name, message)) = report.mismatches(|_| false).next() {
        return Err(Error::tensor(file.path(), name, message));
    }
    Ok(report)
}

/// A classifier's tensors, its last layer included, under torchvision's names.
fn classifier(file: &WeightFile, contents: &Contents) -> Result<Vec<NamedTensor>> {
    let backbone = FasterRcnnConfig::new(contents.depth(), 2).blank(&Device::flex());
    whole(&backbone, file, contents)?;
    let read = |(name, stored): (&str, &str)| {
        let data = file.read(stored)?;
        let shape = data.shape().to_vec();
        let values = data.try_into_vec().expect("what is read is f32");
        Ok(NamedTensor { name: name.to_string(), shape, values })
    };
    contents.classifier_names().map(read).collect()
}

/// What a file holds. Every tensor of the model is read, so damage is found.
///
/// # Errors
///
/// [`Error::File`] and [`Error::Tensor`] where it holds neither a detector nor a ResNet classifier, or one
/// that is not whole.
pub fn inspect(file: &WeightFile) -> Result<Model> {
    let contents = Contents::of(file)?;
    match contents.kind {
        Kind::Detector => Ok(Model::Detector(Box::new(detector(file, &Device::flex())?.config().clone()))),
        Kind::Classifier => {
            classifier(file, &contents)?;
            Ok(Model::Classifier(contents.depth()))
        }
    }
}

/// Writes what a file holds as safetensors, with torchvision's names of today: a detector as
/// [`save`](super::save) does, a ResNet classifier with its last layer. What else the file has, such as an
/// optimiser's state, is left out.
///
/// # Errors
///
/// As [`inspect`], and [`Error::Io`] where a file cannot be read or written.
pub fn convert(from: impl AsRef<Path>, to: &Path) -> Result<Kind> {
    let file = WeightFile::open(from)?;
    let contents = Contents::of(&file)?;
    match contents.kind {
        Kind::Detector => {
            let metadata: Vec<_> = file.metadata().clone().into_iter().collect();
            save_with_metadata(&detector(&file, &Device::flex())?, to, &metadata)?;
        }
        Kind::Classifier => write_safetensors(to, BTreeMap::new(), &classifier(&file, &contents)?)?,
    }
    Ok(contents.kind)
}

/// The settings in the metadata of a file of [`save`](super::save)'s.
fn own_config(file: &WeightFile) -> Result<Option<FasterRcnnConfig>> {
    let Some(json) = file.metadata().get(CONFIG_KEY) else { return Ok(None) };
    let fail = |error: String| Error::file(file.path(), format!("its {CONFIG_KEY}: {error}"));
    let config: FasterRcnnConfig = serde_json::from_str(json).map_err(|error| fail(error.to_string()))?;
    config.validate().map_err(|error| fail(error.to_string()))?;
    Ok(Some(config))
}

/// What would become of each tensor; no element is read.
fn compare(model: &FasterRcnn, file: &WeightFile, contents: &Contents) -> LoadReport {
    let mut report = LoadReport { left_out: contents.left_out.clone(), ..LoadReport::default() };
    let mut names = contents.names.clone();
    for (name, shape) in shapes(model) {
        let Some(stored) = names.remove(&name) else {
            match contents.kind {
                Kind::Classifier if !name.starts_with("backbone.body.") => report.kept.push(name),
                _ => report.missing.push(name),
            }
            continue;
        };
        let tensor = &file.tensors()[&stored];
        if tensor.shape == shape {
            report.applied.push(name);
        } else {
            report.reshaped.push(Reshaped { name, file: tensor.shape.clone(), model: shape });
        }
    }
    report.unused = names.into_values().collect();
    report
}

/// The tensors that are to be applied, by their names in a detector.
fn read(file: &WeightFile, contents: &Contents, report: &LoadReport) -> Result<HashMap<String, TensorData>> {
    let bytes = |name: &&String| file.tensors()[&contents.names[*name]].f32_bytes();
    let total = report.applied.iter().map(|name| bytes(&name)).fold(0, u64::saturating_add);
    file.check_growth(total).map_err(|message| Error::file(file.path(), format!("its model {message}")))?;
    // Reading takes memory for a tensor twice: for the largest one, while the others are not there yet.
    let mut names: Vec<&String> = report.applied.iter().collect();
    names.sort_by_key(|name| Reverse(bytes(name)));
    let read = |name: &String| Ok((name.clone(), file.read(&contents.names[name])?));
    names.into_iter().map(read).collect()
}
