//! Writes a data set as tables.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::write_boxes::write_boxes;
use super::write_images::{Columns, write_images};
use crate::data::dataset::{Dataset, Side};
use crate::data::formats::writer::{Placed, Transfer, Writer, in_references};
use crate::error::{Error, Result};
use crate::files::write_new;

/// Writes a table for each side: `train.parquet`, `validation.parquet`, `test.parquet`, and `data.parquet`
/// for images that are for nothing in particular. The same tables with a row for each object are in `boxes`,
/// and `README.md` tells Hugging Face's `datasets` which table is which.
///
/// The tables hold the bytes of the images, unless these are to be copied or linked to. Same data, same
/// bytes.
///
/// # Errors
///
/// [`Error::Io`], and what reading the images gives.
pub(in crate::data::formats) fn write(data: &Dataset, writer: &mut Writer<'_>) -> Result<()> {
    let folder = writer.path("");
    if writer.transfer() == Transfer::Embed {
        return write_parts(data, &folder, None, writer.on_image);
    }
    let placed = writer.place(data, "images", true, in_references)?;
    write_parts(data, &folder, Some(&placed), &|| ())
}

/// The tables of images whose files are `placed` below the folder, or are to be in the tables.
pub(super) fn write_parts(
    data: &Dataset,
    folder: &Path,
    placed: Option<&[Placed]>,
    on_image: &(dyn Fn() + Sync),
) -> Result<()> {
    let boxes = folder.join("boxes");
    fs::create_dir(&boxes).map_err(Error::io(&boxes))?;
    let columns = Columns::of(data);
    let mut sides = Vec::new();
    for (name, side) in [
        ("train", Some(Side::Train)),
        ("validation", Some(Side::Validation)),
        ("test", Some(Side::Test)),
        ("data", None),
    ] {
        let of_side = |index: &usize| data.records[*index].side == side;
        let records: Vec<usize> = (0..data.records.len()).filter(of_side).collect();
        if records.is_empty() {
            continue;
        }
        let file = format!("{name}.parquet");
        write_images(&folder.join(&file), data, &records, placed, &columns, on_image)?;
        write_boxes(&boxes.join(&file), data, &records)?;
        sides.push(name);
    }
    write_new(&folder.join("README.md"), readme(&sides).as_bytes())
}

/// The card of a data set, in whose head `datasets` looks for the files of each configuration.
fn readme(sides: &[&str]) -> String {
    let mut text = "---\nconfigs:\n".to_string();
    for (configuration, folder) in [("default", ""), ("boxes", "boxes/")] {
        let _ = writeln!(text, "- config_name: {configuration}\n  data_files:");
        for side in sides {
            let _ = writeln!(text, "  - split: {side}\n    path: {folder}{side}.parquet");
        }
    }
    text + "---\n"
}
