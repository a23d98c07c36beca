//! The names of classes, from all tables of a data set.

use std::collections::{HashMap, HashSet};

use parquet::file::metadata::ParquetMetaData;
use serde_json::Value;

use crate::data::dataset::Record;
use crate::data::table_file::TableFile;
use crate::error::Result;

/// The key of what Hugging Face's `datasets` says of the columns. The value is JSON.
pub(super) const HUGGING_FACE: &str = "huggingface";

/// Classes in the order in which they are met; a label is a position here plus 1.
#[derive(Default)]
pub(super) struct Classes {
    names: Vec<String>,
    labels: HashMap<String, usize>,
    /// Whether a table says which classes there are, and in which order.
    are_declared: bool,
}

impl Classes {
    /// The labels of the classes that `table` numbers from 0 in the column `fields` of `root`: by the names
    /// that it keeps, or else by `names`; none where there are neither.
    ///
    /// # Errors
    ///
    /// [`Error::File`](crate::error::Error::File), where two have the same name.
    pub fn numbered(
        &mut self,
        table: &TableFile,
        root: Option<&str>,
        fields: &[&str],
        names: Option<&[String]>,
    ) -> Result<Option<Vec<usize>>> {
        let kept = class_label(table.metadata(), root, fields);
        let labels = kept.as_deref().or(names).map(|names| self.declare(names)).transpose();
        labels.map_err(|message| table.fault(message))
    }

    /// The labels of the classes that a table numbers from 0.
    ///
    /// # Errors
    ///
    /// A message, where two have the same name.
    fn declare(&mut self, names: &[String]) -> Result<Vec<usize>, String> {
        self.are_declared = true;
        let mut different = HashSet::new();
        for name in names {
            if !different.insert(name) {
                return Err(format!("two classes are called `{name}`"));
            }
        }
        names.iter().map(|name| self.label(name)).collect()
    }

    /// The label of a class.
    ///
    /// # Errors
    ///
    /// A message, where the name is blank.
    pub fn label(&mut self, name: &str) -> Result<usize, String> {
        if let Some(label) = self.labels.get(name) {
            return Ok(*label);
        }
        if name.trim().is_empty() {
            return Err("the name of the class is empty".to_string());
        }
        self.names.push(name.to_string());
        self.labels.insert(name.to_string(), self.names.len());
        Ok(self.names.len())
    }

    /// The names. Where no table declares them they are sorted, numbers by their value, and the labels of the
    /// records change.
    pub fn finish(self, records: &mut [Record]) -> Vec<String> {
        if self.are_declared {
            return self.names;
        }
        let mut order: Vec<usize> = (0..self.names.len()).collect();
        order.sort_by_cached_key(|index| {
            let name = &self.names[*index];
            (name.parse().unwrap_or(i64::MAX), name.clone())
        });
        let mut labels = vec![0; order.len()];
        for (position, index) in order.iter().enumerate() {
            labels[*index] = position + 1;
        }
        for annotation in records.iter_mut().flat_map(|record| &mut record.annotations) {
            annotation.label = labels[annotation.label - 1];
        }
        order.iter().map(|index| self.names[*index].clone()).collect()
    }
}

/// The names that `datasets` keeps of a column with one of the names `fields`, in the column `root` if it is
/// given. None where the column is no `ClassLabel`.
fn class_label(metadata: &ParquetMetaData, root: Option<&str>, fields: &[&str]) -> Option<Vec<String>> {
    let entries = metadata.file_metadata().key_value_metadata()?;
    let json = entries.iter().find(|entry| entry.key == HUGGING_FACE)?.value.as_ref()?;
    let json: Value = serde_json::from_str(json).ok()?;
    let features = json.get("info")?.get("features")?;
    let features = match root {
        Some(root) => element(features.get(root)?),
        None => features,
    };
    let feature = element(fields.iter().find_map(|field| features.get(field))?);
    if feature.get("_type")?.as_str()? != "ClassLabel" {
        return None;
    }
    let names = feature.get("names")?.as_array()?;
    names.iter().map(|name| name.as_str().map(str::to_string)).collect()
}

/// What a list is of: `[feature]`, or a structure with a `feature`.
fn element(mut feature: &Value) -> &Value {
    while let Some(inner) = feature.get(0).or_else(|| feature.get("feature")) {
        feature = inner;
    }
    feature
}
