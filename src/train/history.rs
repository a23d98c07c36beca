//! The numbers of a run: `metrics.jsonl`, a line a training step and a line an epoch's end, and the curves
//! drawn from it.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::data::dataset::DatasetError;
use burn::train::Interrupter;
use burn::train::logger::MetricLogger;
use burn::train::metric::store::{EpochSummary, MetricsUpdate, Split};
use burn::train::metric::{MetricDefinition, MetricId, NumericEntry};
use serde::{Deserialize, Serialize};

use crate::draw::{Panel, Series, line_charts};
use crate::error::{Error, Result};
use crate::model::Losses;

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    /// Counted from 1.
    pub epoch: usize,
    /// `train` or `valid`.
    pub split: String,
    /// Counted from 1 in each epoch; none in the line of an epoch's end, which has means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    /// By the metric's name; null where a number is not known.
    #[serde(flatten)]
    pub values: BTreeMap<String, Option<f64>>,
}

/// Writes the file, and remembers the lines of the epochs' ends.
pub(super) struct History {
    folder: PathBuf,
    file: File,
    epochs: Vec<Row>,
    names: HashMap<MetricId, String>,
    steps: usize,
    interrupter: Interrupter,
}

impl History {
    /// Goes on with the file in `folder` after `epoch`, or begins it (0). Lines of later epochs, which
    /// no checkpoint has, are taken out.
    pub fn open(folder: &Path, epoch: usize, interrupter: Interrupter) -> Result<Self> {
        let path = folder.join("metrics.jsonl");
        let rows = if epoch == 0 { Vec::new() } else { read(&path, epoch)? };
        let mut text = String::new();
        for row in &rows {
            text += &line(row);
        }
        let temporary = folder.join("metrics.jsonl.tmp");
        fs::write(&temporary, text).map_err(Error::io(&temporary))?;
        fs::rename(&temporary, &path).map_err(Error::io(&path))?;
        let file = File::options().append(true).open(&path).map_err(Error::io(&path))?;
        let epochs = rows.into_iter().filter(|row| row.step.is_none()).collect();
        Ok(Self { folder: folder.to_path_buf(), file, epochs, names: HashMap::new(), steps: 0, interrupter })
    }

    fn write(&mut self, row: Row) -> Result<()> {
        // One call, so that a kill leaves whole lines.
        self.file.write_all(line(&row).as_bytes()).map_err(Error::io(self.folder.join("metrics.jsonl")))?;
        if row.step.is_none() {
            self.epochs.push(row);
        }
        Ok(())
    }

    fn draw(&self) -> Result<()> {
        let series = |split: &str, names: &[&str]| -> Vec<Series> {
            let rows = || self.epochs.iter().filter(|row| row.split == split);
            let series = names.iter().map(|name| Series {
                name: name.to_string(),
                points: rows()
                    .filter_map(|row| Some((row.epoch as f64, (*row.values.get(*name)?)?)))
                    .collect(),
            });
            series.collect()
        };
        let mut losses = vec!["loss"];
        losses.extend(Losses::NAMES);
        let (losses, precision) = (series("train", &losses), series("valid", &["ap", "ap50", "map33"]));
        let panels = [
            Panel { title: "training loss", x_label: "epoch", y_label: "loss", series: &losses },
            Panel { title: "validation", x_label: "epoch", y_label: "average precision", series: &precision },
        ];
        line_charts(self.folder.join("curves.png"), &panels)
    }

    /// The logger's methods return nothing, so an error ends the run by its handle.
    fn stop_on_error(&self, result: Result<()>) {
        self.interrupter.fail_on_error(result.map_err(DatasetError::new));
    }
}

fn line(row: &Row) -> String {
    serde_json::to_string(row).expect("a row is JSON") + "\n"
}

/// The lines of the epochs up to `epoch`, all of which must be there.
fn read(path: &Path, epoch: usize) -> Result<Vec<Row>> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    // A line that was cut off, by a full disk for one, is of an epoch that is not whole.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut rows = Vec::new();
    for (number, line) in whole.lines().enumerate() {
        let row: Row = serde_json::from_str(line).map_err(|error| Error::line(path, number + 1, error))?;
        if row.epoch > epoch {
            break;
        }
        rows.push(row);
    }
    let complete =
        |epoch| rows.iter().any(|row| row.epoch == epoch && row.split == "valid" && row.step.is_none());
    match (1..=epoch).find(|epoch| !complete(*epoch)) {
        Some(missing) => Err(Error::file(path, format!("the numbers of epoch {missing} are missing"))),
        None => Ok(rows),
    }
}

impl MetricLogger for History {
    fn log(&mut self, update: MetricsUpdate, epoch: usize, split: &Split) {
        let entries: Vec<(&String, &NumericEntry)> = update
            .entries_numeric
            .iter()
            .filter_map(|update| Some((&self.names[&update.entry.metric_id], update.numeric_entry.as_ref()?)))
            .collect();
        if entries.is_empty() {
            return;
        }
        let end = entries.iter().any(|(_, entry)| matches!(entry, NumericEntry::Final(_)));
        self.steps = if end { 0 } else { self.steps + 1 };
        let finite = |entry: &NumericEntry| Some(entry.current()).filter(|value| value.is_finite());
        let row = Row {
            epoch,
            split: split.to_string(),
            step: (!end).then_some(self.steps),
            values: entries.into_iter().map(|(name, entry)| (name.clone(), finite(entry))).collect(),
        };
        let result = self.write(row);
        self.stop_on_error(result);
    }

    fn read_numeric(&mut self, name: &str, epoch: usize, split: &Split) -> Result<Vec<NumericEntry>, String> {
        let split = split.to_string();
        let row = self.epochs.iter().find(|row| row.epoch == epoch && row.split == split);
        let value = row.and_then(|row| *row.values.get(name)?);
        Ok(value.map(NumericEntry::Final).into_iter().collect())
    }

    fn log_metric_definition(&mut self, definition: MetricDefinition) {
        self.names.insert(definition.metric_id, definition.name.to_string());
    }

    fn log_epoch_summary(&mut self, summary: EpochSummary) {
        if summary.split == Split::Valid {
            self.stop_on_error(self.draw());
        }
    }
}
