//! From the tables of a folder to a data set.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::classes::Classes;
use super::columns::Kind;

use super::original::{TEST_DATA, TRAINING_DATA};
use super::sides::{side_of, tables};
use super::{boxes, corners, images};
use crate::data::dataset::Dataset;
use crate::data::formats::classes as class_file;
use crate::data::report::Report;
use crate::data::table_file::TableFile;
use crate::error::{Error, Result};

/// All images of the tables at `root`, a file or a folder.
///
/// # Errors
///
/// Where there is no table of a known kind, or none can be read.
pub(in crate::data::formats) fn read(root: &Path, report: &mut Report) -> Result<Dataset> {
    let folder = if root.is_file() { root.parent().unwrap_or(Path::new("")) } else { root };
    let numbered = class_file::read(folder)?;
    let (kind, tables) = chosen(root, report)?;
    let (mut records, mut classes) = (Vec::new(), Classes::default());
    let mut kind_of_corners = None;
    for table in tables {
        let here = corners::of_table(&table)?;
        if *kind_of_corners.get_or_insert(here) != here {
            return Err(table.fault("its corners are of another kind than those of the tables before"));
        }
        let side = side_of(folder, table.path());
        let read = match kind {
            Kind::Images => images::read,
            Kind::Boxes => boxes::read,
        };
        let found = read(&table, side, numbered.as_deref(), &mut classes, report);
        records.extend(report.take(found).into_iter().flatten());
    }
    let class_names = classes.finish(&mut records);
    if records.is_empty() && report.faults.is_empty() {
        return Err(Error::file(root, "the tables have no rows"));
    }
    Ok(Dataset { records, class_names, corners: kind_of_corners.unwrap_or_default() })
}

/// The tables to read: those with a row for each image, where there are any; else those with a row for each
/// object.
fn chosen(root: &Path, report: &mut Report) -> Result<(Kind, Vec<Arc<TableFile>>)> {
    let (mut by_image, mut by_object, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for path in parts_only(tables(root)?) {
        let Some(table) = report.take(TableFile::open(&path)) else { continue };
        match Kind::of(table.metadata().file_metadata().schema_descr()) {
            Some(Kind::Images) => by_image.push(Arc::new(table)),
            Some(Kind::Boxes) => by_object.push(Arc::new(table)),
            None => others.push(unknown(&table)),
        }
    }
    if by_image.is_empty() && by_object.is_empty() {
        let fault = report.faults.drain(..).chain(others).next();
        return Err(fault.unwrap_or_else(|| Error::file(root, "there are no tables here")));
    }
    report.warnings.extend(others);
    Ok(match by_image.is_empty() {
        false => (Kind::Images, by_image),
        true => (Kind::Boxes, by_object),
    })
}

/// Without the tables that have the images of `training_data` and `test_data` once more.
fn parts_only(tables: Vec<PathBuf>) -> Vec<PathBuf> {
    let is = |table: &PathBuf, name| table.file_stem().is_some_and(|stem| stem == name);
    match tables.iter().any(|table| is(table, TRAINING_DATA)) {
        true => tables.into_iter().filter(|table| is(table, TRAINING_DATA) || is(table, TEST_DATA)).collect(),
        false => tables,
    }
}

fn unknown(table: &TableFile) -> Error {
    let columns = table.metadata().file_metadata().schema().get_fields().iter().map(|field| field.name());
    let columns = columns.take(20).collect::<Vec<_>>().join("`, `");
    table.fault(format!(
        "is left out: a row is neither an image (`image`, `objects`) nor an object (`filename`, `xmin`, \
         `ymin`, `xmax`, `ymax`, `class`); it has `{columns}`"
    ))
}
