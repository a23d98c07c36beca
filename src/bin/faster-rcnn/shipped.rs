//! Thresholds that an evaluation found, in the metadata of a weight file.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result};
use faster_rcnn::eval::{OperatingPoint, OperatingPoints};
use faster_rcnn::internals::{THRESHOLDS_KEY, stored_thresholds};
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
    let found = &points.overall;
    let (shipped_point, unknown) = match shipped {
        Ship::BestF => (found.best_f, "there are no objects, or nothing is detected"),
        Ship::Escapes => (found.escapes, "no threshold lets as few objects escape"),
        Ship::Alarms => (found.alarms, "there are no clean images"),
    };
    shipped_point.with_context(|| format!("--ship: {unknown}; {} is not written", to.display()))?;
    let all = [
        (Threshold::Shipped, shipped_point),
        (Threshold::BestF, found.best_f),
        (Threshold::Escapes, found.escapes),
        (Threshold::Alarms, found.alarms),
    ];
    let known: BTreeMap<&str, OperatingPoint> =
        all.into_iter().filter_map(|(threshold, point)| Some((threshold.key(), point?))).collect();
    let file = WeightFile::open(weights)?;
    let mut entries: BTreeMap<String, String> = file.metadata().clone();
    entries.insert(THRESHOLDS_KEY.to_string(), serde_json::to_string(&known).expect("plain data is JSON"));
    let model = file.load(options, &DeviceName::from_str("cpu")?.open()?)?;
    let entries: Vec<(String, String)> = entries.into_iter().collect();
    Ok(weights::save_with_metadata(&model, to, &entries)?)
}

/// The score of a threshold that is in the metadata of a weight file, which lies at `weights`.
pub fn read(file: &WeightFile, weights: &Path, threshold: Threshold) -> Result<f32> {
    let fault = |message: String| Error::file(weights, message);
    let known = stored_thresholds(file)?.ok_or_else(|| {
        fault("has no thresholds: `faster-rcnn evaluate --store` writes a file that has".to_string())
    })?;
    let point = known.get(threshold.key());
    let point = point.ok_or_else(|| fault(format!("has no threshold {}", threshold.key())))?;
    if !(0.0..=1.0).contains(&point.threshold) {
        return Err(
            fault(format!("its threshold {} is {}, not in 0..=1", threshold.key(), point.threshold)).into()
        );
    }
    Ok(point.threshold)
}
