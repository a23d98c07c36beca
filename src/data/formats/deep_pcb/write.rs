//! From records to DeepPCB's files.

use rayon::prelude::*;

use super::CLASS_NAMES;
use crate::data::dataset::{Dataset, Record, Side};
use crate::data::formats::names::name_line;
use crate::data::formats::writer::{Writer, without_extension};
use crate::error::{Error, Result};

/// Writes the images, their references and labels, the lists, and `classes.txt` unless the classes are
/// DeepPCB's.
pub(in crate::data::formats) fn write(data: &Dataset, writer: &mut Writer<'_>) -> Result<()> {
    writer.warn(data, "DeepPCB", "crowds", |object| object.crowd);
    writer.warn(data, "DeepPCB", "difficult objects", |object| object.difficult);
    let names = writer.names(data, false)?;
    let boards: Vec<(&Record, Board)> =
        data.records.iter().zip(&names).map(|(record, name)| (record, Board::of(record, name))).collect();
    boards.par_iter().try_for_each(|(record, board)| {
        writer.write_image(&record.image, &board.image())?;
        if let Some(reference) = &record.reference {
            writer.write_image(reference, &board.template())?;
        }
        writer.write(&board.labels(), labels(record).as_bytes())?;
        (writer.on_image)();
        Ok(())
    })?;
    for (list, is_listed) in [
        ("trainval.txt", (|side| side != Some(Side::Test)) as fn(Option<Side>) -> bool),
        ("test.txt", |side| side == Some(Side::Test)),
    ] {
        let lines = boards
            .iter()
            .filter(|(record, _)| is_listed(record.side))
            .map(|(record, board)| board.line().map_err(|message| record.image.fault(message)));
        let lines = lines.collect::<Result<String, Error>>()?;
        if !lines.is_empty() {
            writer.write(list, lines.as_bytes())?;
        }
    }
    if data.class_names != CLASS_NAMES {
        let classes: String = data.class_names.iter().map(|name| name_line(name)).collect();
        writer.write("classes.txt", classes.as_bytes())?;
    }
    Ok(())
}

/// Where the files of a board go.
struct Board {
    folder: String,
    stem: String,
    extension: String,
    /// Only a file whose name ends in `_test` has a template.
    has_template: bool,
}

impl Board {
    fn of(record: &Record, name: &str) -> Self {
        let (folder, file) = name.rsplit_once('/').unwrap_or(("images", name));
        let stem = without_extension(file);
        let extension = file[stem.len()..].trim_start_matches('.').to_string();
        let has_template = record.reference.is_some();
        let board = stem.strip_suffix("_test").filter(|_| has_template).unwrap_or(stem);
        Self { folder: folder.to_string(), stem: board.to_string(), extension, has_template }
    }

    fn image(&self) -> String {
        let end = if self.has_template { "_test" } else { "" };
        format!("{}/{}{end}.{}", self.folder, self.stem, self.extension)
    }

    fn template(&self) -> String {
        format!("{}/{}_temp.{}", self.folder, self.stem, self.extension)
    }

    fn labels(&self) -> String {
        format!("{}_not/{}.txt", self.folder, self.stem)
    }

    /// The line of a list; the error is a message.
    fn line(&self) -> Result<String, String> {
        let image = format!("{}/{}.{}", self.folder, self.stem, self.extension);
        let labels = self.labels();
        let both = format!("{image}{labels}");
        let has = |character: char| both.contains(character);
        if has('\n') || has('\r') {
            return Err(format!("DeepPCB's lists have no place for the name `{image}`"));
        }
        if both.chars().all(|character| character != '"' && !character.is_whitespace()) {
            return Ok(format!("{image} {labels}\n"));
        }
        let quoted = |path: &str| format!("\"{}\"", path.replace('"', "\"\""));
        Ok(format!("{} {}\n", quoted(&image), quoted(&labels)))
    }
}

/// One object a line.
fn labels(record: &Record) -> String {
    let objects = record.annotations.iter().filter(|object| !object.is_ignored());
    let lines = objects.map(|object| {
        let [x1, y1, x2, y2] = object.xyxy;
        format!("{x1} {y1} {x2} {y2} {}\n", object.label)
    });
    lines.collect()
}
