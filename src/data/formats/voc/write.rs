//! From records to VOC's files.

use rayon::prelude::*;

use super::document::document;
use crate::data::dataset::{Dataset, Record, Side};
use crate::data::formats::names::name_line;
use crate::data::formats::writer::{Placed, Writer, in_references, without_extension};
use crate::error::Result;

/// Writes `Annotations`, `JPEGImages`, `ImageSets/Main` and `classes.txt`.
pub(in crate::data::formats) fn write(data: &Dataset, writer: &mut Writer<'_>) -> Result<()> {
    let placed = writer.place(data, "JPEGImages", false, in_references)?;
    writer.warn(data, "VOC", "crowds", |object| object.crowd);
    let images: Vec<(&Record, &Placed)> = data.records.iter().zip(&placed).collect();
    images.par_iter().try_for_each(|(record, placed)| {
        let path = format!("Annotations/{}.xml", without_extension(&placed.name));
        writer.write(&path, document_of(data, record, placed).as_bytes())
    })?;
    for (side, list) in [(Side::Train, "train"), (Side::Validation, "val"), (Side::Test, "test")] {
        let of_side = images.iter().filter(|(record, _)| record.side == Some(side));
        let lines: String = of_side.map(|(_, placed)| name_line(without_extension(&placed.name))).collect();
        if !lines.is_empty() {
            writer.write(&format!("ImageSets/Main/{list}.txt"), lines.as_bytes())?;
        }
    }
    let classes: String = data.class_names.iter().map(|name| name_line(name)).collect();
    writer.write("classes.txt", classes.as_bytes())
}

fn document_of(data: &Dataset, record: &Record, placed: &Placed) -> String {
    let objects = record.annotations.iter().filter(|object| !object.crowd);
    let objects = objects.map(|object| (object, data.class_names[object.label - 1].as_str(), None));
    let extra = [("reference", placed.reference.as_deref()), ("group", record.group.as_deref())];
    document(&placed.name, record.size, &extra, objects)
}
