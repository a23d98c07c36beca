//! From records to VOC's files.

use std::fmt::Write;

use quick_xml::escape::escape;
use rayon::prelude::*;

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
        writer.write(&path, document(data, record, placed).as_bytes())
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

fn document(data: &Dataset, record: &Record, placed: &Placed) -> String {
    let (height, width) = record.size;
    let (folder, file) = placed.name.rsplit_once('/').unwrap_or(("JPEGImages", &placed.name));
    let mut xml = String::from("<annotation>\n");
    let mut element = |name: &str, value: &str| {
        writeln!(xml, "  <{name}>{}</{name}>", text(value)).expect("a string takes all");
    };
    element("folder", folder);
    element("filename", file);
    if let Some(reference) = &placed.reference {
        element("reference", reference);
    }
    if let Some(group) = &record.group {
        element("group", group);
    }
    let size = format!("<width>{width}</width><height>{height}</height><depth>3</depth>");
    writeln!(xml, "  <size>{size}</size>").expect("a string takes all");
    for object in record.annotations.iter().filter(|object| !object.crowd) {
        let [x1, y1, x2, y2] = object.xyxy.map(f64::from);
        let name = text(&data.class_names[object.label - 1]);
        writeln!(
            xml,
            "  <object>\n    <name>{name}</name>\n    <difficult>{}</difficult>\n    <bndbox><xmin>{}</xmin>\
             <ymin>{}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>\n  </object>",
            u8::from(object.difficult),
            x1 + 1.0,
            y1 + 1.0,
        )
        .expect("a string takes all");
    }
    xml + "</annotation>\n"
}

/// Text of an element. Blanks at its ends, which readers leave out, are written as numbers.
fn text(value: &str) -> String {
    let inner = value.trim();
    let start = value.len() - value.trim_start().len();
    let numbers =
        |blanks: &str| blanks.chars().map(|blank| format!("&#{};", u32::from(blank))).collect::<String>();
    if inner.is_empty() {
        return numbers(value);
    }
    let end = start + inner.len();
    numbers(&value[..start]) + &escape(inner).replace('\r', "&#13;") + &numbers(&value[end..])
}
