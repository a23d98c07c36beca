//! Thresholds that an evaluation chose, in the metadata of a weight file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::eval::OperatingPoint;
use crate::weights::WeightFile;

/// The key in the metadata; its value is JSON: the name of a threshold, and a [`StoredThreshold`].
pub const THRESHOLDS_KEY: &str = "faster_rcnn_thresholds";

/// A threshold for all classes, with what it gave, and one for each class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredThreshold {
    /// The one for all classes.
    #[serde(flatten)]
    pub overall: OperatingPoint,
    /// Those of single classes, by name. A class is missing where no threshold does what is asked.
    #[serde(default)]
    pub per_class: BTreeMap<String, f32>,
}

impl StoredThreshold {
    /// The threshold of each class; a class without one of its own has that of all classes.
    pub fn of_classes(&self, class_names: &[String]) -> Vec<f32> {
        let own = |name| self.per_class.get(name).copied();
        class_names.iter().map(|name| own(name).unwrap_or(self.overall.threshold)).collect()
    }
}

/// The thresholds of a weight file, by name; `None` where no evaluation stored any.
///
/// # Errors
///
/// [`Error::File`] where they are damaged, or not in `0..=1`.
pub fn stored_thresholds(file: &WeightFile) -> Result<Option<BTreeMap<String, StoredThreshold>>> {
    let Some(json) = file.metadata().get(THRESHOLDS_KEY) else { return Ok(None) };
    let damaged = |error| Error::file_because(file.path(), format!("its {THRESHOLDS_KEY} is damaged"), error);
    let stored: BTreeMap<String, StoredThreshold> = serde_json::from_str(json).map_err(damaged)?;
    for (name, found) in &stored {
        for threshold in found.per_class.values().chain([&found.overall.threshold]) {
            if !(0.0..=1.0).contains(threshold) {
                let message = format!("its threshold {name} is {threshold}, not in 0..=1");
                return Err(Error::file(file.path(), message));
            }
        }
    }
    Ok(Some(stored))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::model::FasterRcnnConfig;
    use crate::weights::save_with_metadata;

    fn stored(json: &str) -> Result<Option<BTreeMap<String, StoredThreshold>>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shipped.safetensors");
        let entries = [(THRESHOLDS_KEY.to_string(), json.to_string())];
        save_with_metadata(&FasterRcnnConfig::tiny(3).init(&Device::flex()), &path, &entries).unwrap();
        stored_thresholds(&WeightFile::open(&path).unwrap())
    }

    const POINT: &str = r#""recall": 0.9, "precision": 0.8, "false_calls": 0.1, "alarms": null,
        "threshold_interval": [0.4, 0.6], "recall_interval": [0.8, 1.0]"#;

    #[test]
    fn a_class_without_a_threshold_has_that_of_all() {
        let names = ["open", "short"].map(str::to_string);
        let known = stored(&format!(
            r#"{{"shipped": {{"threshold": 0.5, {POINT}, "per_class": {{"short": 0.7}}}},
                "alarms": {{"threshold": 0.25, {POINT}}}}}"#
        ));
        let known = known.unwrap().unwrap();
        assert_eq!(known["shipped"].of_classes(&names), [0.5, 0.7]);
        // As written before there were thresholds of classes.
        assert_eq!(known["alarms"].of_classes(&names), [0.25, 0.25]);
    }

    #[test]
    fn thresholds_that_are_damaged_or_impossible_name_the_file() {
        for json in [
            "{".to_string(),
            r#"{"shipped": {"threshold": 0.5}}"#.to_string(),
            format!(r#"{{"shipped": {{"threshold": 1.5, {POINT}}}}}"#),
            format!(r#"{{"shipped": {{"threshold": 0.5, {POINT}, "per_class": {{"short": -1}}}}}}"#),
        ] {
            let error = stored(&json).unwrap_err().to_string();
            assert!(error.contains("shipped.safetensors") && error.contains("threshold"), "{json}: {error}");
        }
    }
}
