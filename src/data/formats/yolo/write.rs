//! From records to YOLO's files.

use std::fmt::Write;

use rayon::prelude::*;

use super::beside::beside;
use super::labels::label_line;
use crate::data::dataset::{Dataset, Record, Side};
use crate::data::formats::writer::{Placed, Writer, side_folder, without_extension};
use crate::error::Result;

/// Writes `data.yaml`, `images/SIDE` and `labels/SIDE`. Images that are for nothing in particular are to be
/// trained on.
pub(in crate::data::formats) fn write(data: &Dataset, writer: &mut Writer<'_>) -> Result<()> {
    let placed = writer.place(data, "images", true, |image| beside(image, "references"))?;
    writer.warn(data, "YOLO", "crowds", |object| object.crowd);
    writer.warn(data, "YOLO", "difficult objects", |object| object.difficult);
    let images: Vec<(&Record, &Placed)> = data.records.iter().zip(&placed).collect();
    images.par_iter().try_for_each(|(record, placed)| {
        let path = beside(&placed.path, "labels");
        writer.write(&format!("{}.txt", without_extension(&path)), labels(record).as_bytes())
    })?;
    writer.write("data.yaml", description(data).as_bytes())
}

fn labels(record: &Record) -> String {
    let objects = record.annotations.iter().filter(|object| !object.is_ignored());
    objects.map(|object| label_line(object.xyxy, object.label, record.size) + "\n").collect()
}

fn description(data: &Dataset) -> String {
    let mut yaml = String::new();
    let has = |side: Option<Side>| data.records.iter().any(|record| record.side == side);
    for (key, sides) in [
        ("train", [Some(Side::Train), None]),
        ("val", [Some(Side::Validation); 2]),
        ("test", [Some(Side::Test); 2]),
    ] {
        let mut folders: Vec<&str> = sides.into_iter().filter(|side| has(*side)).map(side_folder).collect();
        folders.dedup();
        match folders.as_slice() {
            [] if key == "test" => {}
            [] => writeln!(yaml, "{key}: []").expect("a string takes all"),
            [folder] => writeln!(yaml, "{key}: images/{folder}").expect("a string takes all"),
            folders => {
                let folders: Vec<String> = folders.iter().map(|folder| format!("images/{folder}")).collect();
                writeln!(yaml, "{key}: [{}]", folders.join(", ")).expect("a string takes all");
            }
        }
    }
    writeln!(yaml, "nc: {}\nnames:", data.class_names.len()).expect("a string takes all");
    for (index, name) in data.class_names.iter().enumerate() {
        // A string of JSON is one of YAML's, too.
        writeln!(yaml, "  {index}: {}", serde_json::Value::from(name.as_str())).expect("a string takes all");
    }
    yaml
}
