//! A table's rows, some at a time.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, FieldRef, Fields, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use super::budget::Budget;
use crate::data::table_file::{Source, TableFile};
use crate::data::table_thrift::PageKind;
use crate::error::Result;

/// Rows at a time.
const BATCH: usize = 1024;

/// The most bytes of a page when it is unpacked. Other programs write pages of one or a few MiB.
const LARGEST_PAGE: usize = 64 << 20;

/// What a value takes while its batch is read: its levels, its place in a list, and itself.
const VALUE: u64 = 32;

/// Some columns of a table, batch by batch. Text is not copied.
pub(super) struct Batches {
    table: Arc<TableFile>,
    reader: ParquetRecordBatchReader,
    /// The next batch's first row, counted from 0.
    row: usize,
}

impl Batches {
    /// Begins to read the columns `leaves`.
    ///
    /// # Errors
    ///
    /// [`Error::File`](crate::Error::File) where their pages are damaged, or are more than the budget has.
    pub fn open(table: &Arc<TableFile>, leaves: &[usize], budget: &mut Budget) -> Result<Self> {
        for group in table.metadata().row_groups() {
            for leaf in leaves {
                let chunk = group.column(*leaf);
                table.check_compression(chunk)?;
                for (_, page) in table.pages(chunk, LARGEST_PAGE)? {
                    if page.kind != PageKind::Other {
                        budget.take((page.values as u64).saturating_mul(VALUE))?;
                        budget.take(page.unpacked as u64)?;
                    }
                }
            }
        }
        let reader = table.guarded(|| {
            let plain = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
            let metadata = ArrowReaderMetadata::try_new(table.metadata().clone(), plain)?;
            let schema = Schema::new(with_views(metadata.schema().fields()));
            let views = ArrowReaderOptions::new().with_schema(Arc::new(schema));
            let metadata = ArrowReaderMetadata::try_new(table.metadata().clone(), views)?;
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(Source(table.clone()), metadata);
            let mask = ProjectionMask::leaves(builder.parquet_schema(), leaves.iter().copied());
            builder.with_projection(mask).with_batch_size(BATCH).build()
        })?;
        Ok(Self { table: table.clone(), reader, row: 0 })
    }

    /// The next rows, and the number of the first one, counted from 0.
    ///
    /// # Errors
    ///
    /// [`Error::File`](crate::Error::File) where the table is damaged.
    pub fn next(&mut self) -> Result<Option<(usize, RecordBatch)>> {
        let row = self.row;
        let batch = self.table.guarded(|| Ok(self.reader.next().transpose()?))?;
        self.row += batch.as_ref().map_or(0, RecordBatch::num_rows);
        Ok(batch.map(|batch| (row, batch)))
    }
}

/// Fields whose text and bytes point into their pages. A page can name a long text for each of many rows.
fn with_views(fields: &Fields) -> Fields {
    fields.iter().map(with_view).collect()
}

fn with_view(field: &FieldRef) -> FieldRef {
    let kind = match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::List(element) => DataType::List(with_view(element)),
        DataType::Struct(fields) => DataType::Struct(with_views(fields)),
        other => other.clone(),
    };
    Arc::new(Field::clone(field).with_data_type(kind))
}
