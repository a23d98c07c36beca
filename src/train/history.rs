//! The numbers of a run: `metrics.jsonl`, with a line for each training step and each end of an epoch, and
//! the curves that are drawn from it.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;

use burn::data::dataset::DatasetError;
use burn::train::Interrupter;
use burn::train::logger::MetricLogger;
use burn::train::metric::store::{EpochSummary, MetricsUpdate, Split};
use burn::train::metric::{MetricDefinition, MetricId, NumericEntry};

use super::best::BEST_METRIC;
use super::folder::RunFolder;
use super::observer::Observers;
use super::rows::{Row, read};
use crate::draw::{Panel, Series, line_charts};
use crate::error::{Error, Result};
use crate::model::Losses;

/// The split of a row that training gives.
const TRAINING: &str = "train";

/// Writes the file, and keeps the lines that end an epoch.
pub(super) struct History {
    folder: RunFolder,
    file: File,
    epochs: Vec<Row>,
    names: HashMap<MetricId, String>,
    steps: usize,
    /// Training steps since the run began.
    all_steps: usize,
    interrupter: Interrupter,
    observers: Observers,
}

impl History {
    /// Goes on with the file in `folder` after `epoch`, or begins it (0). Lines of later epochs, which are in
    /// no checkpoint, are cut off. Earlier lines stay the same, byte for byte.
    pub fn open(
        folder: &RunFolder,
        epoch: usize,
        interrupter: Interrupter,
        observers: Observers,
    ) -> Result<Self> {
        let path = folder.metrics();
        let (rows, length) = if epoch == 0 { (Vec::new(), 0) } else { read(&path, epoch)? };
        let open = || {
            let file = File::options().create(true).append(true).open(&path)?;
            file.set_len(length as u64)?;
            file.sync_all()?;
            Ok(file)
        };
        let file = open().map_err(Error::io(&path))?;
        let all_steps = rows.iter().filter(|row| row.step.is_some() && row.split == TRAINING).count();
        let epochs = rows.into_iter().filter(|row| row.step.is_none()).collect();
        let (folder, names) = (folder.clone(), HashMap::new());
        Ok(Self { folder, file, epochs, names, steps: 0, all_steps, interrupter, observers })
    }

    /// The AP on the validation images after an epoch; `None` where it is unknown.
    pub fn ap(&self, epoch: usize) -> Option<f64> {
        self.value(BEST_METRIC, epoch, &Split::Valid)
    }

    fn value(&self, name: &str, epoch: usize, split: &Split) -> Option<f64> {
        let split = split.to_string();
        let row = self.epochs.iter().find(|row| row.epoch == epoch && row.split == split)?;
        *row.values.get(name)?
    }

    fn write(&mut self, row: Row) -> Result<()> {
        // One call, so that a kill leaves whole lines.
        self.file.write_all(row.to_line().as_bytes()).map_err(Error::io(self.folder.metrics()))?;
        self.all_steps += usize::from(row.step.is_some() && row.split == TRAINING);
        self.observers.row(&row, self.all_steps);
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
        let (mut losses, precision) = (series("train", &losses), series("valid", &["ap", "ap50", "map33"]));
        let validation = series("valid", &["loss"]);
        losses.extend(
            validation.into_iter().map(|series| Series { name: "validation loss".to_string(), ..series }),
        );
        let panels = [
            Panel { title: "loss", x_label: "epoch", y_label: "loss", series: &losses },
            Panel { title: "validation", x_label: "epoch", y_label: "average precision", series: &precision },
        ];
        line_charts(self.folder.path().join("curves.png"), &panels)?;
        self.observers.file("curves.png");
        Ok(())
    }

    /// The logger's methods return nothing, so on an error the interrupter ends the run.
    fn stop_on_error(&self, result: Result<()>) {
        self.interrupter.fail_on_error(result.map_err(DatasetError::new));
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
        Ok(self.value(name, epoch, split).map(NumericEntry::Final).into_iter().collect())
    }

    fn log_metric_definition(&mut self, definition: MetricDefinition) {
        self.names.insert(definition.metric_id, definition.name.to_string());
    }

    fn log_epoch_summary(&mut self, summary: EpochSummary) {
        if summary.split == Split::Valid {
            // The checkpoint that follows relies on these lines, also after a power failure.
            let synced = self.file.sync_data().map_err(Error::io(self.folder.metrics()));
            self.stop_on_error(synced.and_then(|()| self.draw()));
        }
    }
}
