//! Inspections as a table: a row a detection or missed object.

use std::path::Path;

use super::inspection::Inspection;
use super::rows::word;
use crate::error::{Error, Result};
use crate::structures::Xyxy;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Float,
}

/// The columns.
pub(super) const COLUMNS: [(&str, Kind); 25] = [
    ("id", Kind::Text),
    ("time", Kind::Text),
    ("model_name", Kind::Text),
    ("model_version", Kind::Integer),
    ("model_sha256", Kind::Text),
    ("image", Kind::Text),
    ("width", Kind::Integer),
    ("height", Kind::Integer),
    ("image_sha256", Kind::Text),
    ("reference_sha256", Kind::Text),
    ("line", Kind::Text),
    ("product", Kind::Text),
    ("board", Kind::Text),
    ("score_threshold", Kind::Float),
    ("verdict_time", Kind::Text),
    ("verdict_by", Kind::Text),
    ("total_ms", Kind::Float),
    ("x1", Kind::Float),
    ("y1", Kind::Float),
    ("x2", Kind::Float),
    ("y2", Kind::Float),
    ("label", Kind::Integer),
    ("name", Kind::Text),
    ("score", Kind::Float),
    ("verdict", Kind::Text),
];

/// What a cell holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    None,
    Text(String),
    Integer(i64),
    Float(f64),
}

/// An object of an inspection, if it has any.
struct Object<'a> {
    xyxy: Xyxy,
    label: usize,
    name: &'a Option<String>,
    score: Option<f32>,
    verdict: Option<&'static str>,
}

/// The rows of an inspection: at least one.
pub(super) fn rows(inspection: &Inspection) -> Vec<Vec<Cell>> {
    let found = inspection.detections.iter().map(|found| {
        let (score, verdict) = (Some(found.score), found.verdict.map(word));
        Object { xyxy: found.xyxy, label: found.label, name: &found.name, score, verdict }
    });
    let missed = inspection.missed.iter().map(|missed| {
        let verdict = Some("missed");
        Object { xyxy: missed.xyxy, label: missed.label, name: &missed.name, score: None, verdict }
    });
    let objects: Vec<Object<'_>> = found.chain(missed).collect();
    if objects.is_empty() {
        return vec![row(inspection, None)];
    }
    objects.iter().map(|object| row(inspection, Some(object))).collect()
}

fn row(inspection: &Inspection, object: Option<&Object<'_>>) -> Vec<Cell> {
    let Inspection { model, image, reference, fields, .. } = inspection;
    let text = |text: Option<&str>| text.map_or(Cell::None, |text| Cell::Text(text.to_string()));
    let integer = |number: Option<i64>| number.map_or(Cell::None, Cell::Integer);
    let float = |number: Option<f64>| number.map_or(Cell::None, Cell::Float);
    let side = |index: usize| float(object.map(|object| object.xyxy[index].into()));
    vec![
        Cell::Text(inspection.id.to_string()),
        Cell::Text(inspection.time.to_string()),
        text(model.name.as_deref()),
        integer(model.version.map(i64::from)),
        Cell::Text(model.sha256.clone()),
        text(image.name.as_deref()),
        Cell::Integer(image.width.into()),
        Cell::Integer(image.height.into()),
        Cell::Text(image.sha256.clone()),
        text(reference.as_ref().map(|reference| reference.sha256.as_str())),
        text(fields.line.as_deref()),
        text(fields.product.as_deref()),
        text(fields.board.as_deref()),
        Cell::Float(inspection.score_threshold.into()),
        text(inspection.verdict_time.map(|time| time.to_string()).as_deref()),
        text(inspection.verdict_by.as_deref()),
        Cell::Float(inspection.milliseconds.total),
        side(0),
        side(1),
        side(2),
        side(3),
        integer(object.map(|object| object.label as i64)),
        text(object.and_then(|object| object.name.as_deref())),
        float(object.and_then(|object| object.score).map(f64::from)),
        text(object.and_then(|object| object.verdict)),
    ]
}

/// Writes a CSV file.
pub(super) fn write_csv(path: &Path, pages: impl Iterator<Item = Result<Vec<Inspection>>>) -> Result<()> {
    let failed = |error: csv::Error| Error::file_because(path, "cannot be written", error);
    let mut writer = csv::Writer::from_path(path).map_err(failed)?;
    writer.write_record(COLUMNS.map(|(name, _)| name)).map_err(failed)?;
    for page in pages {
        for row in page?.iter().flat_map(rows) {
            writer.write_record(row.iter().map(cell)).map_err(failed)?;
        }
    }
    writer.flush().map_err(Error::io(path))
}

/// Numbers that were 32 bits long have their own few digits.
fn cell(cell: &Cell) -> String {
    match cell {
        Cell::None => String::new(),
        Cell::Text(text) => text.clone(),
        Cell::Integer(number) => number.to_string(),
        Cell::Float(number) if f64::from(*number as f32) == *number => (*number as f32).to_string(),
        Cell::Float(number) => number.to_string(),
    }
}
