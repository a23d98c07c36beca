//! From records to COCO's files.

use std::borrow::Cow;

use super::json::{Category, File, Flag, Image, Object};
use crate::data::dataset::{Dataset, Record, Side};
use crate::data::formats::writer::{Placed, Writer, in_references, side_folder};
use crate::error::Result;
use crate::structures::{Annotation, area};

/// Writes `annotations/instances_SIDE.json` and `images/SIDE/`.
pub(in crate::data::formats) fn write(data: &Dataset, writer: &mut Writer<'_>) -> Result<()> {
    let placed = writer.place(data, "images", true, in_references)?;
    for side in SIDES {
        let part: Vec<(&Record, &Placed)> =
            data.records.iter().zip(&placed).filter(|(record, _)| record.side == side).collect();
        if part.is_empty() && !(side.is_none() && data.records.is_empty()) {
            continue;
        }
        let json = serde_json::to_vec(&file(data, &part)).expect("plain data is JSON");
        writer.write(&format!("annotations/instances_{}.json", side_folder(side)), &json)?;
    }
    Ok(())
}

const SIDES: [Option<Side>; 4] = [Some(Side::Train), Some(Side::Validation), Some(Side::Test), None];

fn file<'a>(data: &'a Dataset, part: &[(&'a Record, &'a Placed)]) -> File<'a> {
    let images = part.iter().zip(1..).map(|((record, placed), id)| Image {
        id,
        file_name: Cow::Borrowed(&placed.name),
        width: record.size.1,
        height: record.size.0,
        reference: placed.reference.as_deref().map(Cow::Borrowed),
        group: record.group.as_deref().map(Cow::Borrowed),
    });
    let objects =
        part.iter().zip(1..).flat_map(|((record, _), id)| record.annotations.iter().map(move |o| (id, o)));
    let categories = data.class_names.iter().zip(1..);
    File {
        images: images.collect(),
        annotations: objects.zip(1..).map(|((image, object), id)| coco_object(id, image, object)).collect(),
        categories: categories.map(|(name, id)| Category { id, name: Cow::Borrowed(name) }).collect(),
    }
}

fn coco_object(id: i64, image_id: i64, annotation: &Annotation) -> Object {
    let [x1, y1, x2, y2] = annotation.xyxy.map(f64::from);
    Object {
        id,
        image_id,
        category_id: annotation.label as i64,
        bbox: Some([x1, y1, x2 - x1, y2 - y1]),
        area: Some(annotation.area.unwrap_or_else(|| area(&annotation.xyxy)).into()),
        iscrowd: Flag(annotation.crowd),
        ignore: Flag(annotation.difficult),
    }
}
