//! Thresholds that an evaluation found, in the metadata of a weight file.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result};
use faster_rcnn::eval::{OperatingPoint, OperatingPoints, Thresholds};
use faster_rcnn::internals::{StoredThreshold, THRESHOLDS_KEY, stored_thresholds};
use faster_rcnn::weights::{self, LoadOptions, WeightFile};
use faster_rcnn::{DeviceName, Error};

/// Which threshold to use.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Threshold {
    /// The one that `evaluate --store` was told to ship.
    Shipped,
    /// The one with the highest F-score.
    BestF,
    /// The one at which no more objects escape than tolerated.
    Escapes,
    /// The one at which no more clean images alarm than tolerated.
    Alarms,
}

/// Which of the thresholds of an evaluation is to be shipped.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Ship {
    /// The one with the highest F-score.
    BestF,
    /// The one at which no more objects escape than tolerated.
    Escapes,
    /// The one at which no more clean images alarm than tolerated.
    Alarms,
}

impl Ship {
    fn of(self, found: &Thresholds) -> Option<OperatingPoint> {
        match self {
            Self::BestF => found.best_f,
            Self::Escapes => found.escapes,
            Self::Alarms => found.alarms,
        }
    }
}

impl Threshold {
    fn key(self) -> &'static str {
        match self {
            Self::Shipped => "shipped",
            Self::BestF => "best_f",
            Self::Escapes => "escapes",
            Self::Alarms => "alarms",
        }
    }
}

/// Writes a weight file again, with the thresholds of an evaluation.
pub fn store(
    weights: &Path,
    options: &LoadOptions,
    points: &OperatingPoints,
    shipped: Ship,
    to: &Path,
) -> Result<()> {
    let unknown = match shipped {
        Ship::BestF => "there are no objects, or nothing is detected",
        Ship::Escapes => "no threshold lets as few objects escape",
        Ship::Alarms => "there are no clean images",
    };
    shipped
        .of(&points.overall)
        .with_context(|| format!("--ship: {unknown}; {} is not written", to.display()))?;
    let all = [
        (Threshold::Shipped, shipped),
        (Threshold::BestF, Ship::BestF),
        (Threshold::Escapes, Ship::Escapes),
        (Threshold::Alarms, Ship::Alarms),
    ];
    let stored = |which: Ship| {
        let of_class =
            |(name, found): &(String, Thresholds)| Some((name.clone(), which.of(found)?.threshold));
        let per_class = points.per_class.iter().filter_map(of_class).collect();
        Some(StoredThreshold { overall: which.of(&points.overall)?, per_class })
    };
    let known: BTreeMap<&str, StoredThreshold> =
        all.into_iter().filter_map(|(threshold, which)| Some((threshold.key(), stored(which)?))).collect();
    let file = WeightFile::open(weights)?;
    let mut entries: BTreeMap<String, String> = file.metadata().clone();
    entries.insert(THRESHOLDS_KEY.to_string(), serde_json::to_string(&known).expect("plain data is JSON"));
    let model = file.load(options, &DeviceName::from_str("cpu")?.open()?)?;
    let entries: Vec<(String, String)> = entries.into_iter().collect();
    Ok(weights::save_with_metadata(&model, to, &entries)?)
}

/// A threshold that is in the metadata of a weight file, which lies at `weights`.
pub fn read(file: &WeightFile, weights: &Path, threshold: Threshold) -> Result<StoredThreshold> {
    let fault = |message: String| Error::file(weights, message);
    let mut known = stored_thresholds(file)?.ok_or_else(|| {
        fault("has no thresholds: `faster-rcnn evaluate --store` writes a file that has".to_string())
    })?;
    let found = known.remove(threshold.key());
    Ok(found.ok_or_else(|| fault(format!("has no threshold {}", threshold.key())))?)
}
