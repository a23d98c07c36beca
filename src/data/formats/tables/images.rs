//! Reads a table with a row for each image.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use rayon::prelude::*;

use super::batches::Batches;
use super::budget::Budget;
use super::classes::Classes;
use super::columns::{
    AREA, BOX, CATEGORY, CORNERS, CROWD, DIFFICULT, GROUP, HEIGHT, IMAGE, IMAGE_ID, ImageLeaves, NAME,
    OBJECTS, PATH, REFERENCE, SPLIT, WIDTH, object_leaves, plain_leaves,
};
use super::sides::side;
use super::values::{ObjectField, flag, four, integer, number, text};
use crate::data::dataset::{Record, Side};
use crate::data::formats::files::{name_below, path_below};
use crate::data::image_source::ImageSource;
use crate::data::objects::{Place, objects};
use crate::data::report::Report;
use crate::data::table_cell::{ImageColumn, TableCell};
use crate::data::table_file::TableFile;
use crate::error::{Error, Result};
use crate::structures::Annotation;

/// What a record takes beside its texts and its objects.
const RECORD: u64 = 512;

/// The longest name of an image in bytes: that of a path on most systems.
const LONGEST_NAME: usize = 4096;

/// Where the values of a column of images are.
struct Images {
    root: &'static str,
    bytes: Option<Arc<ImageColumn>>,
}

/// A table that is read.
struct Reader<'a> {
    table: &'a Arc<TableFile>,
    /// What paths are relative to.
    folder: &'a Path,
    /// What its images are for, where no column says it.
    side: Option<Side>,
    /// The labels of classes that are given by number, from 0.
    numbered: Option<Vec<usize>>,
    images: Images,
    references: Option<Images>,
}

/// A row before it is known how large its image is.
struct Row {
    record: Record,
    size: Option<(usize, usize)>,
    objects: Objects,
}

/// Objects that can be used, and messages about the others.
type Objects = Vec<(Place, Result<Annotation, String>)>;

/// The records of a table. `numbered` are the names of classes that are given by number, where the table
/// does not tell them.
///
/// # Errors
///
/// Where the table cannot be read. Rows and objects at fault are faults.
pub(super) fn read(
    table: &Arc<TableFile>,
    side: Option<Side>,
    numbered: Option<&[String]>,
    classes: &mut Classes,
    report: &mut Report,
) -> Result<Vec<Record>> {
    let schema = table.metadata().file_metadata().schema_descr();
    let numbered = classes.numbered(table, Some(OBJECTS), &CATEGORY, numbered)?;

    let mut leaves = plain_leaves(schema, &[WIDTH, HEIGHT, IMAGE_ID, NAME, GROUP, SPLIT]);
    for names in [&BOX[..], &CORNERS, &CATEGORY, &AREA, &CROWD, &DIFFICULT] {
        leaves.extend(object_leaves(schema, names));
    }
    let mut images = |root| {
        let found = ImageLeaves::find(schema, root);
        leaves.extend(found.path);
        let is_there = found.path.or(found.bytes).is_some();
        let bytes = found.bytes.map(|leaf| ImageColumn::new(table.clone(), leaf)).transpose()?.map(Arc::new);
        Ok::<_, Error>(is_there.then_some(Images { root, bytes }))
    };
    let Some(image) = images(IMAGE)? else {
        return Err(table.fault("the column `image` has neither bytes nor paths"));
    };
    let references = images(REFERENCE)?;
    let folder = table.path().parent().unwrap_or(Path::new(""));
    let reader = Reader { table, folder, side, numbered, images: image, references };

    let mut budget = Budget::new(table);
    let mut batches = Batches::open(table, &leaves, &mut budget)?;
    let mut records = Vec::new();
    while let Some((first, batch)) = batches.next()? {
        let mut rows = Vec::new();
        for index in 0..batch.num_rows() {
            budget.take(RECORD)?;
            let row = reader.row(&batch, index, first + index, classes, &mut budget);
            match row {
                Ok(row) => rows.push(row),
                Err(RowFault::Row(message)) => report.faults.push(reader.fault(first + index, message)),
                Err(RowFault::Table(error)) => return Err(error),
            }
        }
        let finished: Vec<(Option<Record>, Report)> =
            rows.into_par_iter().map(|row| row.finish(table.path())).collect();
        for (record, found) in finished {
            records.extend(record);
            report.append(found);
        }
    }
    Ok(records)
}

/// Why a row gives no record.
enum RowFault {
    /// What is wrong with the row.
    Row(String),
    /// The table cannot be read on.
    Table(Error),
}

impl From<String> for RowFault {
    fn from(message: String) -> Self {
        Self::Row(message)
    }
}

impl From<Error> for RowFault {
    fn from(error: Error) -> Self {
        Self::Table(error)
    }
}

impl Reader<'_> {
    /// A row, counted from 0.
    fn fault(&self, row: usize, message: impl ToString) -> Error {
        self.table.fault(format!("row {}: {}", row + 1, message.to_string()))
    }

    /// Row `index` of a batch, which is `row` of the table.
    fn row(
        &self,
        batch: &RecordBatch,
        index: usize,
        row: usize,
        classes: &mut Classes,
        budget: &mut Budget,
    ) -> Result<Row, RowFault> {
        let mut value = |name: &str| column_text(batch, name, index, budget);
        let (given, id) = (value(NAME)?, value(IMAGE_ID)?);
        let (group, split) = (value(GROUP)?, value(SPLIT)?);
        let path = self.images.path(batch, index, budget)?;
        let name = given.or_else(|| path.as_deref().map(|path| self.name_of(path))).or(id);
        let name = name.unwrap_or_else(|| format!("{}/{}", stem(self.table.path()), row + 1));
        path_below(self.folder, &name)?;

        let Some(image) = self.images.source(self.folder, path, row)? else {
            return Err(format!("the column `{IMAGE}` has neither bytes nor a path").into());
        };
        let reference = match &self.references {
            Some(references) => {
                let path = references.path(batch, index, budget)?;
                references.source(self.folder, path, row)?
            }
            None => None,
        };
        let given_side = split.map(|name| {
            side(&name).ok_or_else(|| format!("the split `{name}` is none of train, validation and test"))
        });
        let size = self.size(batch, index)?;
        let record = Record {
            name,
            image,
            size: size.unwrap_or_default(),
            annotations: Vec::new(),
            reference,
            group,
            side: given_side.transpose()?.or(self.side),
        };
        let objects = self.objects(batch, index, row, classes)?;
        Ok(Row { record, size, objects })
    }

    /// A path may be that of another machine; then its last part is the name.
    fn name_of(&self, path: &str) -> String {
        match path_below(self.folder, path) {
            Ok(below) => name_below(self.folder, &below),
            Err(_) => path.rsplit(['/', '\\']).next().unwrap_or_default().to_string(),
        }
    }

    fn size(&self, batch: &RecordBatch, index: usize) -> Result<Option<(usize, usize)>, String> {
        let side = |name: &str| {
            let Some(column) = batch.column_by_name(name) else { return Ok(None) };
            if column.is_null(index) {
                return Ok(None);
            }
            let length = integer(column, index).and_then(|length| u32::try_from(length).ok());
            let length = length.filter(|length| *length > 0);
            length
                .map(|length| Some(length as usize))
                .ok_or_else(|| format!("the {name} is no number of pixels"))
        };
        Ok(side(HEIGHT)?.zip(side(WIDTH)?))
    }

    /// The objects of a row.
    fn objects(
        &self,
        batch: &RecordBatch,
        index: usize,
        row: usize,
        classes: &mut Classes,
    ) -> Result<Objects, String> {
        let Some(column) = batch.column_by_name(OBJECTS) else {
            return Err(format!("the column `{OBJECTS}` has neither `bbox` nor `category`"));
        };
        if column.is_null(index) {
            return Ok(Vec::new());
        }
        let find = |names: &[&str]| ObjectField::find(column, names);
        let (boxes, corners, categories) = (find(&BOX), find(&CORNERS), find(&CATEGORY));
        let (area, crowd, difficult) = (find(&AREA), find(&CROWD), find(&DIFFICULT));
        let Some(places) = corners.as_ref().or(boxes.as_ref()) else {
            return Err(format!("the column `{OBJECTS}` has no `bbox`"));
        };
        let Some(categories) = &categories else {
            return Err(format!("the column `{OBJECTS}` has no `category`"));
        };
        let count = places.count(index);
        let optional =
            [&area, &crowd, &difficult].map(|field| field.as_ref().filter(|field| !field.is_null(index)));
        for field in [Some(categories)].into_iter().chain(optional).flatten() {
            if field.count(index) != count {
                let other = field.count(index);
                return Err(format!("the lists of the objects have {count} and {other} values"));
            }
        }
        let [area, crowd, difficult] = optional;
        let mut annotation = |object: usize| -> Result<Annotation, String> {
            let (values, position) = places.at(index, object);
            let numbers = four(values, position).ok_or("the box is not four numbers")?;
            let xyxy = if corners.is_some() { numbers } else { corners_of(numbers) };
            let (values, position) = categories.at(index, object);
            let label = self.label(values, position, classes)?;
            let flag = |field: Option<&ObjectField>| {
                field
                    .map(|field| field.at(index, object))
                    .is_some_and(|(values, at)| flag(values, at) == Some(true))
            };
            let area = area.map(|field| field.at(index, object)).and_then(|(values, at)| number(values, at));
            Ok(Annotation {
                crowd: flag(crowd),
                difficult: flag(difficult),
                area: area.map(|area| area as f32),
                ..Annotation::new(xyxy.map(|corner| corner as f32), label)
            })
        };
        Ok((0..count).map(|object| (Place::Row(row + 1, object + 1), annotation(object))).collect())
    }

    /// A class by its number or its name.
    fn label(&self, values: &dyn Array, position: usize, classes: &mut Classes) -> Result<usize, String> {
        if let Some(name) = text(values, position) {
            return classes.label(name);
        }
        let id = integer(values, position).ok_or("the category is neither a number nor a name")?;
        let Some(labels) = &self.numbered else { return classes.label(&id.to_string()) };
        let label = usize::try_from(id).ok().and_then(|id| labels.get(id));
        label.copied().ok_or_else(|| format!("category {id} is not one of 0..{}", labels.len()))
    }
}

impl Images {
    /// The path of a row, if there is one.
    fn path(
        &self,
        batch: &RecordBatch,
        index: usize,
        budget: &mut Budget,
    ) -> Result<Option<String>, RowFault> {
        let Some(column) = batch.column_by_name(self.root) else { return Ok(None) };
        let path = match column.as_struct_opt() {
            Some(fields) => fields.column_by_name(PATH).and_then(|paths| text(paths, index)),
            None => text(column, index),
        };
        path.filter(|path| !path.is_empty()).map(|path| owned(path, budget)).transpose()
    }

    /// The image of a row; none where there is none.
    fn source(
        &self,
        folder: &Path,
        path: Option<String>,
        row: usize,
    ) -> Result<Option<ImageSource>, RowFault> {
        if let Some(column) = &self.bytes
            && column.has_bytes(row)?
        {
            return Ok(Some(ImageSource::Cell(TableCell::new(column.clone(), row))));
        }
        let Some(path) = path else { return Ok(None) };
        let path: PathBuf = path_below(folder, path)?;
        if !path.is_file() {
            return Err(format!("there is no file {}", path.display()).into());
        }
        Ok(Some(path.into()))
    }
}

impl Row {
    /// The record, for whose objects the size of the image is needed.
    fn finish(self, table: &Path) -> (Option<Record>, Report) {
        let mut report = Report::default();
        let size = self.size.map_or_else(|| self.record.image.size(), Ok);
        let record = report.take(size).map(|size| {
            let annotations = objects(table, size, self.objects, &mut report);
            Record { size, annotations, ..self.record }
        });
        (record, report)
    }
}

/// From COCO's box to corners. In 64 bits nothing is lost of corners with 32.
fn corners_of([x, y, width, height]: [f64; 4]) -> [f64; 4] {
    [x, y, x + width, y + height]
}

/// A text, or a number as text, of a column without parts.
fn column_text(
    batch: &RecordBatch,
    name: &str,
    index: usize,
    budget: &mut Budget,
) -> Result<Option<String>, RowFault> {
    let Some(column) = batch.column_by_name(name) else { return Ok(None) };
    match text(column, index) {
        Some(text) => owned(text, budget).map(Some),
        None => Ok(integer(column, index).map(|number| number.to_string())),
    }
}

fn owned(text: &str, budget: &mut Budget) -> Result<String, RowFault> {
    if text.len() > LONGEST_NAME {
        return Err(format!("a text of {} bytes is longer than {LONGEST_NAME}", text.len()).into());
    }
    // A path is the name, too.
    budget.take(2 * text.len() as u64)?;
    Ok(text.to_string())
}

fn stem(table: &Path) -> String {
    table.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
