//! Operating points as a table.

use std::fmt;

use super::operating_points::{OperatingPoint, OperatingPoints};
use super::per_class::cell;

impl fmt::Display for OperatingPoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [with_defects, clean] = self.boards;
        let images = |count: usize| if count == 1 { "image" } else { "images" };
        writeln!(
            f,
            "Thresholds, from {with_defects} {} with objects and {clean} clean; in brackets where 95 % of resamples \
             lie",
            images(with_defects)
        )?;
        let percent = |part: f64| format!("{} %", (part * 1e4).round() / 100.0);
        let points = [
            ("best F-score".to_string(), self.overall.best_f),
            (format!("{} escape at most", percent(self.tolerances.escapes)), self.overall.escapes),
            (format!("{} of clean alarm at most", percent(self.tolerances.alarms)), self.overall.alarms),
        ];
        let width = points.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        writeln!(
            f,
            "{:width$}  {:^23}  {:^23}  precision  false calls  alarms  clean calls",
            "", "score", "recall"
        )?;
        for (name, point) in points {
            writeln!(f, "{name:width$}  {}", row(point))?;
        }
        write!(f, "False calls an image at recall")?;
        for calls in &self.overall.false_calls {
            write!(f, " {:.2}: {};", calls.recall, cell(calls.per_board))?;
        }
        write!(f, " calibration error {}", cell(self.overall.calibration_error))
    }
}

fn row(point: Option<OperatingPoint>) -> String {
    let Some(point) = point else { return "-".to_string() };
    let [low, high] = point.threshold_interval;
    let score = format!("{:.3} [{low:.3}, {high:.3}]", point.threshold);
    let [low, high] = point.recall_interval;
    let recall = format!("{:.3} [{low:.3}, {high:.3}]", point.recall);
    let [alarms, clean_calls] = [point.alarms, point.clean_calls].map(cell);
    format!(
        "{score:^23}  {recall:^23}  {:>9.3}  {:>11.3}  {alarms:>6}  {clean_calls:>11}",
        point.precision, point.false_calls
    )
}
