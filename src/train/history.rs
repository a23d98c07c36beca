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
use super::position::Position;
use super::rows::{Row, TRAINING, read};
use crate::draw::{Panel, Series, line_charts};
use crate::error::{Error, Result};
use crate::model::Losses;

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
    /// Goes on with the file in `folder` at a position, or begins it. Lines of later steps, which are in no
    /// checkpoint, are cut off. Earlier lines stay the same, byte for byte.
    ///
    /// Gives the lines of the steps of the epoch that has begun, too.
    pub fn open(
        folder: &RunFolder,
        position: Position,
        interrupter: Interrupter,
        observers: Observers,
    ) -> Result<(Self, Vec<Row>)> {
        let path = folder.metrics();
        let begins = position == Position::default();
        let (rows, length) = if begins { (Vec::new(), 0) } else { read(&path, position)? };
        let open = || {
            let file = File::options().create(true).append(true).open(&path)?;
            file.set_len(length as u64)?;
            file.sync_all()?;
            Ok(file)
        };
        let file = open().map_err(Error::io(&path))?;
        let all_steps = rows.iter().filter(|row| row.is_training_step()).count();
        let begun = rows.iter().filter(|row| row.epoch > position.epoch).cloned().collect();
        let epochs = rows.into_iter().filter(|row| row.step.is_none()).collect();
        let (folder, names, steps) = (folder.clone(), HashMap::new(), position.batches);
        Ok((Self { folder, file, epochs, names, steps, all_steps, interrupter, observers }, begun))
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
        self.all_steps += usize::from(row.is_training_step());
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
        let (mut losses, precision) = (series(TRAINING, &losses), series("valid", &["ap", "ap50", "map33"]));
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
            self.stop_on_error(self.draw());
        }
    }
}
