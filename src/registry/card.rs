//! What is known of a version, besides its weights: `version.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::sample::Sample;
use crate::settings;
use crate::structures::{ReferenceAlign, ReferenceInput};

/// What is known of a version, whatever its number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// SHA-256 of the weight file, hexadecimal.
    pub sha256: String,
    /// Size of the weight file.
    pub bytes: u64,
    /// When it was registered, RFC 3339 in UTC.
    pub created: String,
    /// The version of this crate that registered it.
    pub program: String,
    /// What a person says of it.
    #[serde(default)]
    pub comment: Option<String>,
    /// What goes in and comes out.
    pub signature: Signature,
    /// All settings of the run that wrote the weights; of other weights those of the detector, under `model`.
    pub settings: Value,
    /// How it was trained, where a run wrote the weights.
    #[serde(default)]
    pub training: Option<Training>,
    /// What `evaluate` found, with the thresholds that it chose: `evaluation.json` of a run.
    #[serde(default)]
    pub evaluation: Option<Value>,
    /// An image, and what the detector finds in it.
    pub sample: Sample,
}

/// What goes into a detector and what comes out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signature {
    /// What goes in.
    pub input: Input,
    /// What comes out, for each image.
    pub output: Output,
    /// Names of the classes; label `l` is `classes[l - 1]`. Empty where the weights name none.
    pub classes: Vec<String>,
    /// Number of classes, without the background.
    pub num_classes: usize,
}

/// What goes into a detector: an image in RGB, of any size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// To how many pixels the short side is resized.
    pub min_size: usize,
    /// How many pixels the long side then has at most.
    pub max_size: usize,
    /// What is seen besides the image.
    pub reference: ReferenceInput,
    /// How a reference is brought onto the image.
    pub reference_align: ReferenceAlign,
}

/// What comes out of a detector: boxes in pixels of the image, with a label and a score each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The most detections of an image.
    pub detections_per_image: usize,
    /// Detections have scores above this one.
    pub score_threshold: f32,
}

/// How weights were trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// Whole epochs.
    pub epoch: usize,
    /// Steps of the optimiser.
    pub step: u64,
    /// Number of images that were trained on.
    pub training_images: usize,
    /// Number of images that were held out.
    pub validation_images: usize,
    /// SHA-256 over names, sizes and objects of all these images: another one means other data.
    pub data_sha256: String,
}

/// A version as a registry holds it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelVersion {
    /// The name of the model.
    pub model: String,
    /// The number of the version, counted from 1.
    pub version: u32,
    /// What points at it, in the order of the alphabet.
    pub aliases: Vec<String>,
    /// What is known of it.
    #[serde(flatten)]
    pub card: ModelCard,
}

impl ModelCard {
    /// The settings by their names, such as `train.epochs`.
    pub fn settings_by_name(&self) -> BTreeMap<String, Value> {
        settings::by_name(&self.settings)
    }

    /// The numbers of the evaluation over all classes and images, such as `coco.ap50` and
    /// `thresholds.best_f.threshold`.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let mut metrics = BTreeMap::new();
        if let Some(evaluation) = &self.evaluation {
            collect("", evaluation, &mut metrics);
        }
        metrics
    }
}

/// What has the numbers of single classes and of groups of images, which are left out.
const PARTS: [&str; 2] = ["per_class", "groups"];

/// The numbers in `value` that are not those of parts.
fn collect(prefix: &str, value: &Value, metrics: &mut BTreeMap<String, f64>) {
    match value {
        Value::Number(number) => {
            metrics.extend(number.as_f64().map(|number| (prefix.to_string(), number)));
        }
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(name, _)| !PARTS.contains(&name.as_str())) {
                let dotted = match (prefix, name.as_str()) {
                    ("", name) => name.to_string(),
                    (prefix, "overall") => prefix.to_string(),
                    (prefix, name) => format!("{prefix}.{name}"),
                };
                collect(&dotted, value, metrics);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metrics_are_the_numbers_over_all_classes_and_images() {
        let evaluation = json!({
            "coco": {"ap": 0.5, "ap75": null, "per_class": {"open": {"ap": 0.25}}},
            "thresholds": {"boards": [3, 1], "overall": {"best_f": {"threshold": 0.75}}},
            "groups": {"camera 1": {"coco": {"ap": 0.75}}},
        });
        let mut metrics = BTreeMap::new();
        collect("", &evaluation, &mut metrics);
        let expected = [("coco.ap", 0.5), ("thresholds.best_f.threshold", 0.75)];
        assert_eq!(metrics, expected.map(|(name, value)| (name.to_string(), value)).into());
    }
}
