//! Writes a table with a row for each object.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::columns::{CLASS, EDGES, FILE_NAME};
use super::corners;
use super::table_writer::TableWriter;
use crate::data::dataset::Dataset;
use crate::error::Result;
use crate::structures::Annotation;

/// Rows at a time.
const BATCH: usize = 4096;

/// Writes the objects of some records: the image's name, the corners in pixels, and the name of the class.
pub(super) fn write_boxes(path: &Path, data: &Dataset, records: &[usize]) -> Result<()> {
    let text = |name| Field::new(name, DataType::Utf8, false);
    let edges = EDGES.map(|name| Field::new(name, DataType::Float64, false));
    let fields: Vec<Field> = [text(FILE_NAME[0])].into_iter().chain(edges).chain([text(CLASS[0])]).collect();
    let schema = Arc::new(Schema::new(fields));
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(Default::default()))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_key_value_metadata(corners::entry(data.corners).map(|entry| vec![entry]))
        .build();
    let mut table = TableWriter::new(path, schema.clone(), properties)?;
    let records = records.iter().map(|index| &data.records[*index]);
    let rows =
        records.flat_map(|record| record.annotations.iter().map(|object| (record.name.as_str(), object)));
    let rows: Vec<(&str, &Annotation)> = rows.collect();
    for rows in rows.chunks(BATCH) {
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0)))];
        for edge in 0..EDGES.len() {
            let values = rows.iter().map(|(_, object)| f64::from(object.xyxy[edge]));
            columns.push(Arc::new(Float64Array::from_iter_values(values)));
        }
        let classes = rows.iter().map(|(_, object)| &data.class_names[object.label - 1]);
        columns.push(Arc::new(StringArray::from_iter_values(classes)));
        table.write(RecordBatch::try_new(schema.clone(), columns))?;
    }
    table.finish()
}
