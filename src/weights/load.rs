//! From a file's tensors to a detector's, all or nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use burn::tensor::{Device, TensorData};

use super::contents::{BODY, Contents};
use super::file::WeightFile;
use super::kind::WeightFileKind;
use super::names::{NamedTensor, replace, shapes};
use super::options::LoadOptions;
use super::precision::Precision;
use super::report::{EpsilonSource, LoadReport, Reshaped};
use super::save::{CONFIG_KEY, save_as, write_safetensors};
use crate::error::{Error, Result};
use crate::model::ResNetDepth;
use crate::model::layers::FrozenBatchNorm;
use crate::model::{FasterRcnn, FasterRcnnConfig};
use crate::settings;

/// The layers whose shapes follow the number of classes.
const PREDICTOR: &str = "roi_heads.box_predictor.";

/// The setting that is not in torchvision's files.
const FROZEN_EPSILON: &str = "frozen_epsilon";

/// What [`WeightFile::inspect`] finds.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    /// What the file holds.
    pub kind: WeightFileKind,
    /// What the names of the model's tensors start with in the file, such as `model.`; empty for a plain
    /// state dict.
    pub prefix: String,
    /// The ResNet that it is or has.
    pub backbone: ResNetDepth,
    /// The settings of a detector; none for a classifier.
    pub config: Option<FasterRcnnConfig>,
    /// What decides what frozen batch norms add to the variance.
    pub epsilon_source: EpsilonSource,
}

/// Reads a detector: one that [`save`](super::save()) wrote, or one of torchvision's, whose architecture is
/// found from its tensors. [`WeightFile::load`] takes settings, too.
///
/// # Errors
///
/// As [`WeightFile::open`] and [`WeightFile::load`].
pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<FasterRcnn> {
    WeightFile::open(path)?.load(&LoadOptions::default(), device)
}

impl WeightFile {
    /// The detector in the file, with the settings in its metadata, or those that its tensors tell, or those
    /// of the options.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where the file holds no detector or several, [`Error::Tensor`] where a tensor is
    /// missing, too many, damaged, of another shape than the settings ask for, or not of a floating-point
    /// type, [`Error::Config`] for a faulty setting.
    pub fn load(&self, options: &LoadOptions, device: &Device) -> Result<FasterRcnn> {
        let contents = Contents::of(self, options)?;
        Ok(detector(self, &contents, options, device)?.0)
    }

    /// Starts a detector from the file.
    ///
    /// - A detector's file replaces all weights, and the settings of `model` stay. Where it has another
    ///   number of classes, `cls_score` and `bbox_pred` stay as they were initialised.
    /// - A ResNet classifier's file replaces the weights of the backbone.
    ///
    /// [`frozen_epsilon`](FasterRcnnConfig::frozen_epsilon) is taken from the options; else from the settings
    /// of `model`, unless they have the default; else it is what torchvision uses with the file. The report
    /// says which. Any other setting in the options must be the same as in `model`.
    ///
    /// `model` is changed only if all goes well.
    ///
    /// # Errors
    ///
    /// [`Error::File`] and [`Error::Tensor`] if the file is damaged or does not fit `model`,
    /// [`Error::Config`] for a setting that differs from the one in `model`.
    pub fn load_into(&self, model: &mut FasterRcnn, options: &LoadOptions) -> Result<LoadReport> {
        let contents = Contents::of(self, options)?;
        let (epsilon, source) = epsilon_for(self, &contents, model.config(), options)?;
        let mut report = compare(model, self, &contents);
        let classes = |reshaped: &Reshaped| {
            reshaped.name.starts_with(PREDICTOR) && reshaped.file.get(1..) == reshaped.model.get(1..)
        };
        let unexpected = report.mismatches(classes).find(|mismatch| !options.allows(&mismatch.tensor));
        if let Some(mismatch) = unexpected {
            return Err(Error::tensor(self.path(), mismatch.tensor, mismatch.message));
        }
        let tensors = read(self, &contents, &report)?;
        (report.frozen_epsilon, report.epsilon_source) = (epsilon, source);
        *model = replace(model.clone(), tensors).with_frozen_epsilon(epsilon);
        Ok(report)
    }

    /// What the file holds. Every tensor of the model is read, so damage is found.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); a ResNet classifier is no error.
    pub fn inspect(&self, options: &LoadOptions) -> Result<Inspection> {
        let contents = Contents::of(self, options)?;
        let (config, epsilon_source) = match contents.kind {
            WeightFileKind::Detector => {
                let (model, source) = detector(self, &contents, options, &Device::flex())?;
                (Some(model.config().clone()), source)
            }
            WeightFileKind::Classifier => {
                classifier(self, &contents, options)?;
                (None, contents.frozen_epsilon().1)
            }
        };
        let (kind, backbone) = (contents.kind, contents.depth());
        Ok(Inspection { kind, prefix: contents.prefix, backbone, config, epsilon_source })
    }

    /// Writes what the file holds as safetensors, with torchvision's names of today: a detector as
    /// [`save`](super::save()) does, with the settings of the options, a ResNet classifier with its last
    /// layer. What else the file has, such as an optimizer's state, is left out.
    ///
    /// # Errors
    ///
    /// As [`inspect`](Self::inspect) and [`save_as`].
    pub fn convert(
        &self,
        to: impl AsRef<Path>,
        options: &LoadOptions,
        precision: Precision,
    ) -> Result<WeightFileKind> {
        let contents = Contents::of(self, options)?;
        match contents.kind {
            WeightFileKind::Detector => {
                let metadata: Vec<_> = self.metadata().clone().into_iter().collect();
                let (model, _) = detector(self, &contents, options, &Device::flex())?;
                save_as(&model, to, &metadata, precision)?;
            }
            WeightFileKind::Classifier => {
                let tensors = classifier(self, &contents, options)?;
                write_safetensors(to, BTreeMap::new(), &tensors, precision)?;
            }
        }
        Ok(contents.kind)
    }
}

/// The detector of a file, and what decided its `frozen_epsilon`.
fn detector(
    file: &WeightFile,
    contents: &Contents,
    options: &LoadOptions,
    device: &Device,
) -> Result<(FasterRcnn, EpsilonSource)> {
    let (config, mut source) = match own_config(file)? {
        Some(config) => (config, EpsilonSource::Metadata),
        None => (contents.config(file)?, contents.frozen_epsilon().1),
    };
    let config = settings::with(&config, &options.settings)?;
    config.validate()?;
    if options.sets(FROZEN_EPSILON) {
        source = EpsilonSource::Setting;
    }
    let model = config.blank(device);
    let report = compare(&model, file, contents);
    let accepted = |name: &String| options.allows(name) && report.unused.contains(name);
    if let Some(mismatch) = report.mismatches(|_| false).find(|mismatch| !accepted(&mismatch.tensor)) {
        return Err(Error::tensor(file.path(), mismatch.tensor, mismatch.message));
    }
    let tensors = read(file, contents, &report)?;
    Ok((replace(model, tensors), source))
}

/// What the frozen batch norms of a detector with these settings are to add to the variance, and why.
fn epsilon_for(
    file: &WeightFile,
    contents: &Contents,
    config: &FasterRcnnConfig,
    options: &LoadOptions,
) -> Result<(f64, EpsilonSource)> {
    let wanted = settings::with(config, &options.settings)?;
    wanted.validate()?;
    let others = settings::differences(config, &wanted);
    if let Some(name) = others.iter().find(|name| *name != FROZEN_EPSILON) {
        let message = format!("{name}: the detector has another value: weights do not change it");
        return Err(Error::Config(message));
    }
    Ok(match own_config(file)? {
        _ if options.sets(FROZEN_EPSILON) => (wanted.frozen_epsilon, EpsilonSource::Setting),
        _ if config.frozen_epsilon != FrozenBatchNorm::EPSILON => {
            (config.frozen_epsilon, EpsilonSource::Detector)
        }
        Some(own) => (own.frozen_epsilon, EpsilonSource::Metadata),
        None => contents.frozen_epsilon(),
    })
}

/// A classifier's tensors, its last layer included, under torchvision's names.
fn classifier(file: &WeightFile, contents: &Contents, options: &LoadOptions) -> Result<Vec<NamedTensor>> {
    if let Some(setting) = options.settings.first() {
        let message = format!("{setting}: the file holds a classifier, which has no settings");
        return Err(Error::file(file.path(), message));
    }
    let backbone = FasterRcnnConfig::new(contents.depth(), 2).blank(&Device::flex());
    let report = compare(&backbone, file, contents);
    if let Some(mismatch) = report.mismatches(|_| false).next() {
        return Err(Error::tensor(file.path(), mismatch.tensor, mismatch.message));
    }
    let read = |(name, stored): (&str, &str)| {
        let data = file.read(stored)?;
        let shape = data.shape().to_vec();
        let values = data.try_into_vec().expect("what is read is f32");
        Ok(NamedTensor { name: name.to_string(), shape, values })
    };
    contents.classifier_names().map(read).collect()
}

/// The settings in the metadata of a file of [`save`](super::save())'s.
fn own_config(file: &WeightFile) -> Result<Option<FasterRcnnConfig>> {
    let Some(json) = file.metadata().get(CONFIG_KEY) else { return Ok(None) };
    let what = format!("its {CONFIG_KEY}");
    let config: FasterRcnnConfig =
        serde_json::from_str(json).map_err(|error| Error::file_because(file.path(), &what, error))?;
    config.validate().map_err(|error| Error::file_because(file.path(), &what, error))?;
    Ok(Some(config))
}

/// What would become of each tensor; no element is read.
fn compare(model: &FasterRcnn, file: &WeightFile, contents: &Contents) -> LoadReport {
    let mut report = LoadReport { left_out: contents.left_out.clone(), ..LoadReport::default() };
    let mut names = contents.names.clone();
    for (name, shape) in shapes(model) {
        let Some(stored) = names.remove(&name) else {
            match contents.kind {
                WeightFileKind::Classifier if !name.starts_with(BODY) => report.kept.push(name),
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
    // Reading a tensor takes memory for two copies. So the largest is read first, before the others take
    // memory.
    let mut names: Vec<&String> = report.applied.iter().collect();
    names.sort_by_key(|name| Reverse(bytes(name)));
    let read = |name: &String| Ok((name.clone(), file.read(&contents.names[name])?));
    names.into_iter().map(read).collect()
}
