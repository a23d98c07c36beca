//! Reads a table with a row for each object, beside which the images are files.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use rayon::prelude::*;

use super::batches::Batches;
use super::budget::Budget;
use super::classes::Classes;
use super::columns::{CLASS, EDGES, FILE_NAME, SPLIT, plain_leaves};
use super::sides::side;
use super::values::{column, integer, number, text};
use crate::data::dataset::{Record, Side};
use crate::data::formats::files::{name_below, path_below};
use crate::data::images::image_size;
use crate::data::objects::{Place, objects};
use crate::data::report::Report;
use crate::data::table_file::TableFile;
use crate::error::Result;
use crate::structures::Annotation;

/// What an object takes while it is read, beside its texts.
const OBJECT: u64 = 256;

/// An image and the rows that name it.
struct Image {
    path: PathBuf,
    side: Option<Side>,
    objects: Vec<(Place, Result<Annotation, String>)>,
}

/// How the rows of a table are understood.
struct Reader<'a> {
    /// What file names are relative to.
    folder: &'a Path,
    /// What its images are for, where no column says it.
    side: Option<Side>,
    /// The labels of classes that are given by number, from 0.
    numbered: Option<Vec<usize>>,
}

/// The records of a table, in the order in which their images are met first. `numbered` are the names of
/// classes that are given by number, where the table does not tell them.
///
/// # Errors
///
/// Where the table cannot be read. Rows and images at fault are faults.
pub(super) fn read(
    table: &Arc<TableFile>,
    side: Option<Side>,
    numbered: Option<&[String]>,
    classes: &mut Classes,
    report: &mut Report,
) -> Result<Vec<Record>> {
    let schema = table.metadata().file_metadata().schema_descr();
    let numbered = classes.numbered(table, None, &CLASS, numbered)?;
    let folder = table.path().parent().unwrap_or(Path::new(""));
    let reader = Reader { folder, side, numbered };

    let names = [&EDGES[..], &FILE_NAME, &CLASS, &[SPLIT]].concat();
    let mut budget = Budget::new(table);
    let mut batches = Batches::open(table, &plain_leaves(schema, &names), &mut budget)?;
    let (mut images, mut positions): (Vec<Image>, HashMap<PathBuf, usize>) = Default::default();
    while let Some((first, batch)) = batches.next()? {
        for row in 0..batch.num_rows() {
            budget.take(OBJECT)?;
            let (path, side) = match reader.image(&batch, row) {
                Ok(image) => image,
                Err(message) => {
                    report.faults.push(table.fault(format!("row {}: {message}", first + row + 1)));
                    continue;
                }
            };
            let next = images.len();
            let position = match positions.entry(path) {
                Entry::Occupied(found) => *found.get(),
                Entry::Vacant(free) => {
                    budget.take(2 * free.key().as_os_str().len() as u64)?;
                    images.push(Image { path: free.key().clone(), side, objects: Vec::new() });
                    *free.insert(next)
                }
            };
            let object = reader.object(&batch, row, classes);
            images[position].objects.push((Place::Row(first + row + 1, 1), object));
        }
    }
    drop(positions);

    let finish = |image: Image| image.finish(table.path(), folder);
    let finished: Vec<(Option<Record>, Report)> = images.into_par_iter().map(finish).collect();
    let mut records = Vec::new();
    for (record, found) in finished {
        records.extend(record);
        report.append(found);
    }
    Ok(records)
}

impl Reader<'_> {
    /// The image of a row, and what it is for.
    fn image(&self, batch: &RecordBatch, row: usize) -> Result<(PathBuf, Option<Side>), String> {
        let value = |names: &[&str]| column(batch, names).and_then(|values| text(values, row));
        let path = path_below(self.folder, value(&FILE_NAME).ok_or("the row names no image")?)?;
        let given = value(&[SPLIT]).map(|name| {
            side(name).ok_or_else(|| format!("the split `{name}` is none of train, validation and test"))
        });
        Ok((path, given.transpose()?.or(self.side)))
    }

    /// The object of a row.
    fn object(&self, batch: &RecordBatch, row: usize, classes: &mut Classes) -> Result<Annotation, String> {
        let edge = |name: &str| column(batch, &[name]).and_then(|values| number(values, row));
        let edges = EDGES.map(|name| edge(name).map(|value| value as f32));
        let [Some(x1), Some(y1), Some(x2), Some(y2)] = edges else {
            return Err("the box is not four numbers".to_string());
        };
        let class = column(batch, &CLASS).ok_or("the row has no class")?;
        let label = match (text(class, row), integer(class, row), &self.numbered) {
            (Some(name), ..) => classes.label(name)?,
            (None, Some(id), None) => classes.label(&id.to_string())?,
            (None, Some(id), Some(labels)) => {
                let label = usize::try_from(id).ok().and_then(|id| labels.get(id)).copied();
                label.ok_or_else(|| format!("class {id} is not one of 0..{}", labels.len()))?
            }
            (None, None, _) => return Err("the class is neither a number nor a name".to_string()),
        };
        Ok(Annotation::new([x1, y1, x2, y2], label))
    }
}

impl Image {
    /// The record. The size of the image is read.
    fn finish(self, table: &Path, folder: &Path) -> (Option<Record>, Report) {
        let mut report = Report::default();
        let record = report.take(image_size(&self.path)).map(|size| {
            let annotations = objects(table, size, self.objects, &mut report);
            let name = name_below(folder, &self.path);
            let record = Record::new(self.path, size, annotations).with_name(name);
            Record { side: self.side, ..record }
        });
        (record, report)
    }
}
