//! The numbers of an overview.

use serde::{Deserialize, Serialize};

/// What an overview shows. A board is an inspection. A defect is a detection whose score is at least the
/// threshold that was asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Statistics {
    /// Inspections.
    pub boards: u64,
    /// Those with a defect.
    pub boards_with_defects: u64,
    /// By day and line, sorted.
    pub days: Vec<DayCount>,
    /// By class, most first.
    pub classes: Vec<ClassCount>,
    /// By line and class, sorted by line, most first.
    pub classes_by_line: Vec<LineClassCount>,
    /// A histogram of all stored detections, whatever the threshold: 20 bins of 0.05, from 0 to 1.
    pub scores: Vec<ScoreCount>,
    /// What people said.
    pub verdicts: VerdictCounts,
    /// The same by class, sorted by name.
    pub verdicts_by_class: Vec<ClassVerdicts>,
    /// How long inspections took, until they were stored. None without inspections.
    pub milliseconds: Option<Percentiles>,
}

/// Inspections of a day (UTC) and line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct DayCount {
    /// Such as `2026-11-26`.
    pub day: String,
    /// None where the client named none.
    pub line: Option<String>,
    /// Inspections.
    pub boards: u64,
    /// Those with a defect.
    pub with_defects: u64,
}

/// Defects of a class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct ClassCount {
    /// What the class is called, where the model knew.
    pub name: Option<String>,
    /// Counted from 1.
    pub label: usize,
    /// Defects.
    pub defects: u64,
}

/// Defects of a class on a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct LineClassCount {
    /// None where the client named none.
    pub line: Option<String>,
    /// What the class is called, where the model knew.
    pub name: Option<String>,
    /// Counted from 1.
    pub label: usize,
    /// Defects.
    pub defects: u64,
}

/// Detections with a score in `from..to`; the last bin holds 1, too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct ScoreCount {
    /// Least score.
    pub from: f64,
    /// Least score of the next bin.
    pub to: f64,
    /// Detections.
    pub defects: u64,
}

/// What people said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct VerdictCounts {
    /// Inspections with a verdict.
    pub boards: u64,
    /// Defects that are real.
    pub real: u64,
    /// Defects where nothing is.
    pub false_call: u64,
    /// Objects that were not found: escapes.
    pub missed: u64,
}

/// What people said of a class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct ClassVerdicts {
    /// What the class is called, where the model knew.
    pub name: Option<String>,
    /// Counted from 1.
    pub label: usize,
    /// Defects that are real.
    pub real: u64,
    /// Defects where nothing is.
    pub false_call: u64,
    /// Objects that were not found.
    pub missed: u64,
}

/// Half of all inspections took no longer than the median, 19 of 20 no longer than the 95th percentile.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Percentiles {
    /// In milliseconds.
    pub median: f64,
    /// In milliseconds.
    pub p95: f64,
}
