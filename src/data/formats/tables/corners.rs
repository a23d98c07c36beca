//! What the corners of a table's boxes are: kept beside its rows where they are no edges.

use parquet::file::metadata::KeyValue;

use crate::data::table_file::TableFile;
use crate::error::Result;
use crate::structures::Corners;

const KEY: &str = "faster_rcnn_corners";
const PIXELS: &str = "pixels";

/// What is to stand beside the rows.
pub(super) fn entry(corners: Corners) -> Option<KeyValue> {
    (corners == Corners::Pixels).then(|| KeyValue::new(KEY.to_string(), PIXELS.to_string()))
}

/// What stands beside the rows of a table; edges if nothing does.
///
/// # Errors
///
/// [`Error::File`](crate::error::Error::File) if it is something else.
pub(super) fn of_table(table: &TableFile) -> Result<Corners> {
    let entries = table.metadata().file_metadata().key_value_metadata();
    let value =
        entries.into_iter().flatten().find(|entry| entry.key == KEY).map(|entry| entry.value.as_deref());
    match value {
        None => Ok(Corners::Edges),
        Some(Some(PIXELS)) => Ok(Corners::Pixels),
        Some(_) => Err(table.fault(format!("`{KEY}` in its metadata is not `{PIXELS}`"))),
    }
}
