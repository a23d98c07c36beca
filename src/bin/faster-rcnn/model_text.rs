//! Versions of models as text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use faster_rcnn::ReferenceInput;
use faster_rcnn::registry::{ModelVersion, VersionName};
use serde::Serialize;
use serde_json::Value;

/// Metrics in lists, and how they are called there.
const SHORT: [(&str, &str); 3] =
    [("coco.ap", "AP"), ("deep_pcb.f_score", "F"), ("thresholds.best_f.threshold", "threshold")];

/// A line for each model, with the numbers of its versions and its aliases.
pub fn models(rows: &[(Vec<u32>, BTreeMap<String, u32>, String)]) -> String {
    let width = rows.iter().map(|(.., name)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (numbers, aliases, name) in rows {
        let versions = if numbers.len() == 1 { "version " } else { "versions" };
        let aliases: Vec<String> =
            aliases.iter().map(|(alias, number)| format!("{alias} {number}")).collect();
        let line = format!("{name:width$}  {:>4} {versions}  {}", numbers.len(), aliases.join(", "));
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// A line for each version.
pub fn versions(versions: &[ModelVersion]) -> String {
    let mut text = String::new();
    for version in versions {
        let metrics = version.card.metrics();
        let shown = SHORT.iter().map(|(key, name)| match metrics.get(*key) {
            Some(value) => format!("{name} {value:.3}"),
            None => format!("{name} -    "),
        });
        let shown: Vec<String> = shown.collect();
        let line = format!(
            "{:>4}  {}  {}  {}  {}",
            version.version,
            version.card.created,
            shown.join("  "),
            version.aliases.join(","),
            version.card.comment.as_deref().unwrap_or_default()
        );
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// All that is known of a version, a line each.
pub fn describe(version: &ModelVersion) -> String {
    let mut text = String::new();
    for (name, value) in facts(version) {
        let _ = writeln!(text, "{:<12}{value}", format!("{name}:"));
    }
    for (name, value) in version.card.metrics() {
        let _ = writeln!(text, "  {name} {value:.4}");
    }
    for found in &version.card.sample.detections {
        let name = found.name.clone().unwrap_or_else(|| format!("class {}", found.label));
        let _ = writeln!(text, "  in the sample: {name} {:.4} {:.1?}", found.score, found.xyxy);
    }
    text
}

/// What is known besides numbers and settings.
fn facts(version: &ModelVersion) -> Vec<(&'static str, String)> {
    let card = &version.card;
    let (signature, input) = (&card.signature, &card.signature.input);
    let reference = match input.reference {
        ReferenceInput::None => "",
        ReferenceInput::Difference => ", with a reference",
    };
    let classes = match signature.classes.as_slice() {
        [] => "without names".to_string(),
        names => names.join(", "),
    };
    let training = card.training.as_ref().map(|training| {
        format!(
            "{} images, {} held out, data {}; {} epochs, {} steps",
            training.training_images,
            training.validation_images,
            &training.data_sha256.get(..12).unwrap_or_default(),
            training.epoch,
            training.step
        )
    });
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_string());
    vec![
        ("version", VersionName::number(&version.model, version.version).to_string()),
        ("aliases", or_none((!version.aliases.is_empty()).then(|| version.aliases.join(", ")))),
        ("comment", or_none(card.comment.clone())),
        ("registered", format!("{} by faster-rcnn {}", card.created, card.program)),
        ("weights", format!("{} bytes, SHA-256 {}", card.bytes, card.sha256)),
        ("input", format!("images, resized to {}, {} at most{reference}", input.min_size, input.max_size)),
        ("output", format!("boxes, labels, scores; {} at most", signature.output.detections_per_image)),
        ("classes", format!("{}: {classes}", signature.num_classes)),
        ("trained on", or_none(training)),
    ]
}

/// How two versions differ.
#[derive(Serialize)]
pub struct Comparison {
    versions: [ModelVersion; 2],
    /// Metrics that one of them has.
    metrics: BTreeMap<String, [Option<f64>; 2]>,
    /// Settings that differ, by their dotted names.
    settings: BTreeMap<String, [Option<Value>; 2]>,
}

impl Comparison {
    pub fn new(one: ModelVersion, other: ModelVersion) -> Self {
        let metrics = both(one.card.metrics(), other.card.metrics());
        let mut settings = both(one.card.settings_by_name(), other.card.settings_by_name());
        settings.retain(|_, [before, after]| before != after);
        Self { versions: [one, other], metrics, settings }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [one, other] = &self.versions;
        let mut rows: Vec<[String; 4]> = Vec::new();
        for ((name, before), (_, after)) in facts(one).into_iter().zip(facts(other)) {
            if before != after {
                writeln!(f, "{name}:\n  {before}\n  {after}")?;
            }
        }
        for (name, [before, after]) in &self.metrics {
            let shown = |value: &Option<f64>| value.map_or("-".to_string(), |value| format!("{value:.4}"));
            let change = before.zip(*after).map(|(before, after)| format!("{:+.4}", after - before));
            rows.push([name.clone(), shown(before), shown(after), change.unwrap_or_default()]);
        }
        for (name, [before, after]) in &self.settings {
            let shown = |value: &Option<Value>| value.as_ref().map_or("-".to_string(), Value::to_string);
            rows.push([name.clone(), shown(before), shown(after), String::new()]);
        }
        let widths: [usize; 3] =
            std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0));
        for [name, before, after, change] in &rows {
            let [first, second, third] = widths;
            let line = format!("{name:first$}  {before:>second$}  {after:>third$}  {change}");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// The values of two maps under each key of either.
fn both<T: Clone>(one: BTreeMap<String, T>, other: BTreeMap<String, T>) -> BTreeMap<String, [Option<T>; 2]> {
    let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    keys.into_iter().map(|key| (key.clone(), [one.get(key).cloned(), other.get(key).cloned()])).collect()
}
