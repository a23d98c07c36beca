//! The lines of `metrics.jsonl`: one for each training step and each end of an epoch.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::position::Position;
use crate::error::{Error, Result};

/// The split of a row that training gives.
pub(super) const TRAINING: &str = "train";
/// The split of a row that validation gives.
const VALIDATION: &str = "valid";

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

impl Row {
    /// Whether it tells of a training step.
    pub fn is_training_step(&self) -> bool {
        self.step.is_some() && self.split == TRAINING
    }

    /// Whether it ends an epoch.
    fn ends_epoch(&self, epoch: usize) -> bool {
        self.epoch == epoch && self.split == VALIDATION && self.step.is_none()
    }

    /// Whether it belongs to what a run has done at a position.
    fn is_before(&self, Position { epoch, batches }: Position) -> bool {
        self.epoch <= epoch
            || self.epoch == epoch + 1
                && self.is_training_step()
                && self.step.is_some_and(|step| step <= batches)
    }
}

/// The lines up to a position, all of which must be there, and how many bytes they take.
pub(super) fn read(path: &Path, position: Position) -> Result<(Vec<Row>, usize)> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    let (mut rows, mut length) = (Vec::<Row>::new(), 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        // A line that was cut off, for example by a full disk, is behind the position.
        if !line.ends_with('\n') {
            break;
        }
        let row: Row = serde_json::from_str(line).map_err(|error| Error::line(path, number + 1, error))?;
        if !row.is_before(position) {
            break;
        }
        rows.push(row);
        length += line.len();
    }
    let missing = |what: String| Err(Error::file(path, format!("the numbers of {what} are missing")));
    let Position { epoch, batches } = position;
    if let Some(epoch) = (1..=epoch).find(|epoch| !rows.iter().any(|row| row.ends_epoch(*epoch))) {
        return missing(format!("epoch {epoch}"));
    }
    let has = |step| rows.iter().any(|row| row.epoch == epoch + 1 && row.step == Some(step));
    match (1..=batches).find(|step| !has(*step)) {
        Some(step) => missing(format!("step {step} of epoch {}", epoch + 1)),
        None => Ok((rows, length)),
    }
}
