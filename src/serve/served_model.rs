//! The detector that is served: where it comes from, and how a newer version takes its place.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use image::RgbImage;

use crate::error::{Cause, Error, Result};
use crate::predict::{Predictor, stored_thresholds};
use crate::registry::{self, RegistryName, ResolvedWeights, VersionName, Which};
use crate::structures::ReferenceInput;
use crate::weights::WeightFile;

/// Reads a detector, with the settings that the user gives for it.
pub type Load = dyn Fn(&Path) -> Result<Predictor, Cause> + Send + Sync;

/// Where the detector comes from.
pub struct ModelSource {
    /// A file, or `models:/NAME/N` or `models:/NAME@ALIAS`.
    pub weights: PathBuf,
    /// Where models are registered.
    pub registry: RegistryName,
    /// The device, as the user calls it.
    pub device: String,
    /// Reads the detector from the file.
    pub load: Box<Load>,
}

impl fmt::Debug for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelSource").field("weights", &self.weights).finish_non_exhaustive()
    }
}

/// A detector, and what is known of it.
#[derive(Debug)]
pub struct ServedModel {
    pub predictor: Predictor,
    pub weights: ResolvedWeights,
    /// The alias that it was found by.
    pub alias: Option<String>,
    /// The thresholds that an evaluation wrote into the weights, by name.
    pub thresholds: Option<BTreeMap<String, f32>>,
    pub device: String,
}

impl ModelSource {
    /// Reads the detector, and lets it look at an empty image, so that the first client does not wait for
    /// what a device prepares once.
    pub fn load(&self) -> Result<ServedModel> {
        let weights = registry::resolve(&self.weights, &self.registry)?;
        let predictor = (self.load)(&weights.path)
            .map_err(|cause| Error::file_because(&weights.path, "the detector cannot be read", cause))?;
        let empty = RgbImage::new(64, 64);
        match predictor.config().reference {
            ReferenceInput::None => drop(predictor.detect(&empty)?),
            // An empty reference fits nothing. That is no fault here.
            ReferenceInput::Difference => drop(predictor.detect_against(&empty, &empty)),
        }
        // Those of classes leave out what they are to leave out; the page has to show the rest.
        let thresholds = if predictor.has_class_thresholds() { None } else { thresholds(&weights.path)? };
        let (alias, device) = (self.alias()?.map(|(_, alias)| alias), self.device.clone());
        Ok(ServedModel { predictor, weights, alias, thresholds, device })
    }

    /// The number of the version that the alias points at now.
    pub fn current_version(&self) -> Result<Option<u32>> {
        let Some(name) = VersionName::of_weights(&self.weights) else { return Ok(None) };
        registry::open(&self.registry)?.number(&name?).map(Some)
    }

    /// Model and alias, where the weights are named by an alias.
    pub fn alias(&self) -> Result<Option<(String, String)>> {
        match VersionName::of_weights(&self.weights).transpose()? {
            Some(VersionName { model, which: Which::Alias(alias) }) => Ok(Some((model, alias))),
            _ => Ok(None),
        }
    }
}

/// What an evaluation wrote into the weights.
fn thresholds(weights: &Path) -> Result<Option<BTreeMap<String, f32>>> {
    let stored = stored_thresholds(&WeightFile::open(weights)?)?;
    Ok(stored.map(|points| points.into_iter().map(|(name, found)| (name, found.overall.threshold)).collect()))
}

/// The detector that new requests get. Those that have one keep it.
#[derive(Debug)]
pub struct Current(Mutex<Arc<ServedModel>>);

impl Current {
    pub fn new(model: ServedModel) -> Self {
        Self(Mutex::new(Arc::new(model)))
    }

    pub fn get(&self) -> Arc<ServedModel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set(&self, model: ServedModel) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(model);
    }
}
