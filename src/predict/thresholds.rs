//! Thresholds that an evaluation chose, in the metadata of a weight file.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::eval::OperatingPoint;
use crate::weights::WeightFile;

/// The key in the metadata; its value is JSON: the name of a threshold, and the threshold with what it gave.
pub const THRESHOLDS_KEY: &str = "faster_rcnn_thresholds";

/// The thresholds of a weight file, by name; `None` where no evaluation stored any.
///
/// # Errors
///
/// [`Error::File`] where they are damaged.
pub fn stored_thresholds(file: &WeightFile) -> Result<Option<BTreeMap<String, OperatingPoint>>> {
    let Some(json) = file.metadata().get(THRESHOLDS_KEY) else { return Ok(None) };
    let damaged = |error| Error::file_because(file.path(), format!("its {THRESHOLDS_KEY} is damaged"), error);
    serde_json::from_str(json).map_err(damaged).map(Some)
}
