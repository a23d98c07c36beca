//! The lines of `metrics.jsonl`: one for each training step and each end of an epoch.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    /// Counted from 1.
    pub epoch: usize,
    /// `train` or `valid`.
    pub split: String,
    /// Counted from 1 in each epoch; `None` in the line of an epoch's end, which has means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    /// By the metric's name; null where a number is not known.
    #[serde(flatten)]
    pub values: BTreeMap<String, Option<f64>>,
}

impl Row {
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).expect("a row is JSON") + "\n"
    }
}

/// The lines of the epochs up to `epoch`, all of which must be there, and how many bytes they take.
pub(super) fn read(path: &Path, epoch: usize) -> Result<(Vec<Row>, usize)> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    let (mut rows, mut length) = (Vec::new(), 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        // A line that was cut off, for example by a full disk, belongs to an incomplete epoch.
        if !line.ends_with('\n') {
            break;
        }
        let row: Row = serde_json::from_str(line).map_err(|error| Error::line(path, number + 1, error))?;
        if row.epoch > epoch {
            break;
        }
        rows.push(row);
        length += line.len();
    }
    let complete =
        |epoch| rows.iter().any(|row| row.epoch == epoch && row.split == "valid" && row.step.is_none());
    match (1..=epoch).find(|epoch| !complete(*epoch)) {
        Some(missing) => Err(Error::file(path, format!("the numbers of epoch {missing} are missing"))),
        None => Ok((rows, length)),
    }
}
