//! Progress as plain lines, for logs and pipes. On a terminal burn-train's dashboard is shown instead.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use burn::data::dataloader::Progress;
use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::{MetricDefinition, MetricId};
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation, MetricsRendererTraining,
};

/// Shortest time between two lines of a split.
const PAUSE: Duration = Duration::from_secs(10);

/// Prints a line every few seconds, and one at each end of training and validation.
pub(super) struct PlainLines {
    names: Vec<(MetricId, String)>,
    /// The last values of this split, by the index of their name.
    values: BTreeMap<usize, f64>,
    epochs: usize,
    first_epoch: usize,
    /// Part of the first epoch that was done before.
    done_before: f64,
    epoch: usize,
    split: String,
    started: Instant,
    printed: Instant,
}

impl PlainLines {
    pub fn new() -> Self {
        let now = Instant::now();
        Self {
            names: Vec::new(),
            values: BTreeMap::new(),
            epochs: 0,
            first_epoch: 1,
            done_before: 0.0,
            epoch: 1,
            split: String::new(),
            started: now,
            printed: now,
        }
    }

    fn update(&mut self, state: MetricState) {
        let MetricState::Numeric(entry, Some(number)) = state else { return };
        // Unknown: the time between steps in an epoch of one step, the AP without ground truth.
        if number.current().is_nan() {
            return;
        }
        if let Some(index) = self.names.iter().position(|(id, _)| *id == entry.metric_id) {
            self.values.insert(index, number.current());
        }
    }

    fn print(&mut self, progress: &Progress) {
        let (epoch, epochs, split) = (self.epoch, self.epochs, &self.split);
        let mut line = format!("epoch {epoch}/{epochs} {split} {progress} images");
        for (index, value) in &self.values {
            line += &format!(", {} {}", self.names[*index].1, number(*value));
        }
        if let Some(left) = self.time_left(progress) {
            line += &format!(", time left {}", duration(left));
        }
        self.printed = Instant::now();
        // A closed pipe does not end the run.
        let _ = writeln!(io::stdout(), "{line}");
    }

    /// Estimated from the epochs that this process has run. Validation counts as a part of its epoch.
    fn time_left(&self, progress: &Progress) -> Option<Duration> {
        let part = match self.split.as_str() {
            "train" => part_of(progress)?,
            _ => 1.0,
        };
        let done = (self.epoch - self.first_epoch) as f64 + part - self.done_before;
        let left = (self.epochs + 1 - self.epoch) as f64 - part;
        (done > 0.0).then(|| self.started.elapsed().mul_f64(left / done))
    }
}

/// How much of an epoch is done.
fn part_of(progress: &Progress) -> Option<f64> {
    Some(progress.items_processed as f64 / progress.total.filter(|total| *total > 0)? as f64)
}

/// Four digits, which suits losses as well as learning rates.
fn number(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-3 { format!("{value:.3e}") } else { format!("{value:.4}") }
}

fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}h {minutes:02}m") } else { format!("{minutes}m {seconds:02}s") }
}

impl MetricsRendererTraining for PlainLines {
    fn update_train(&mut self, state: MetricState) {
        self.update(state);
    }

    fn update_valid(&mut self, state: MetricState) {
        self.update(state);
    }
}

impl TrainingProgressLogger for PlainLines {
    fn start(&mut self, epochs: usize, first_epoch: usize, _items: Option<usize>, _label: Option<&str>) {
        (self.epochs, self.first_epoch, self.epoch) = (epochs, first_epoch, first_epoch);
        self.started = Instant::now();
    }

    fn update_epoch(&mut self, epoch: usize) {
        self.epoch = epoch + 1;
    }

    fn start_split(&mut self, split: &str, progress: &Progress) {
        if split == "train" && self.epoch == self.first_epoch {
            self.done_before = part_of(progress).unwrap_or(0.0);
        }
        self.split = split.to_string();
        self.values.clear();
        self.printed = Instant::now();
    }

    fn update_split(&mut self, progress: &Progress) {
        if self.printed.elapsed() >= PAUSE {
            self.print(progress);
        }
    }

    fn end_split(&mut self, progress: &Progress) {
        self.print(progress);
    }

    fn end(&mut self) {}

    fn log_event_training(&mut self, _event: String) {}
}

impl MetricsRenderer for PlainLines {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, definition: MetricDefinition) {
        self.names.push((definition.metric_id, definition.name.to_string()));
    }
}

/// burn's trait asks for these, too; a training run never calls them.
impl MetricsRendererEvaluation for PlainLines {
    fn update_test(&mut self, _name: EvaluationName, _state: MetricState) {}
}

impl EvaluationProgressLogger for PlainLines {
    fn start_global_progress(&mut self, _tests: usize) {}
    fn start_test(&mut self, _name: &str, _progress: &Progress) {}
    fn update_test_progress(&mut self, _progress: &Progress) {}
    fn end_test(&mut self, _progress: &Progress) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _event: String) {}
}
