//! The table of inspections as a Parquet file.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::inspection::Inspection;
use super::table::{COLUMNS, Cell, Kind, rows};
use crate::error::{Error, Result};

/// Writes a Parquet file.
pub(super) fn write_parquet(path: &Path, pages: impl Iterator<Item = Result<Vec<Inspection>>>) -> Result<()> {
    let failed = |error| Error::file_because(path, "cannot be written", error);
    let file = File::create(path).map_err(Error::io(path))?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let schema = Arc::new(schema());
    let mut writer = ArrowWriter::try_new(file, schema.clone(), Some(properties)).map_err(failed)?;
    for page in pages {
        let rows: Vec<Vec<Cell>> = page?.iter().flat_map(rows).collect();
        let columns = COLUMNS.iter().enumerate().map(|(index, (_, kind))| column(*kind, index, &rows));
        let batch = RecordBatch::try_new(schema.clone(), columns.collect());
        let batch = batch.map_err(|error| failed(error.into()))?;
        writer.write(&batch).map_err(failed)?;
    }
    writer.close().map_err(failed).map(|_| ())
}

fn schema() -> Schema {
    let field = |(name, kind): (&str, Kind)| {
        let kind = match kind {
            Kind::Text => DataType::Utf8,
            Kind::Integer => DataType::Int64,
            Kind::Float => DataType::Float64,
        };
        Field::new(name, kind, true)
    };
    Schema::new(COLUMNS.map(field).to_vec())
}

fn column(kind: Kind, index: usize, rows: &[Vec<Cell>]) -> ArrayRef {
    let cells = rows.iter().map(|row| &row[index]);
    match kind {
        Kind::Text => {
            let texts = cells.map(|cell| if let Cell::Text(text) = cell { Some(text) } else { None });
            Arc::new(texts.collect::<StringArray>())
        }
        Kind::Integer => {
            let numbers =
                cells.map(|cell| if let Cell::Integer(number) = cell { Some(*number) } else { None });
            Arc::new(numbers.collect::<Int64Array>())
        }
        Kind::Float => {
            let numbers = cells.map(|cell| if let Cell::Float(number) = cell { Some(*number) } else { None });
            Arc::new(numbers.collect::<Float64Array>())
        }
    }
}
