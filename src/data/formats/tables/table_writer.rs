//! A Parquet file that is written.

use std::fs::File;
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::error::{Error, Result};

/// A table that is written.
pub(super) struct TableWriter<'a> {
    path: &'a Path,
    writer: ArrowWriter<File>,
}

impl<'a> TableWriter<'a> {
    /// A new file.
    pub fn new(path: &'a Path, schema: SchemaRef, properties: WriterProperties) -> Result<Self> {
        let file = File::create_new(path).map_err(Error::io(path))?;
        // Beside a schema of Arrow's, pyarrow takes no notice of what is said for `datasets`.
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(file, schema, options).map_err(failed(path))?;
        Ok(Self { path, writer })
    }

    /// Rows, if they fit together.
    pub fn write(&mut self, batch: Result<RecordBatch, ArrowError>) -> Result<()> {
        let batch = batch.map_err(|error| failed(self.path)(error.into()))?;
        self.writer.write(&batch).map_err(failed(self.path))
    }

    /// Ends the row group.
    pub fn flush(&mut self) -> Result<()> {
        self.writer.flush().map_err(failed(self.path))
    }

    /// Ends the file, down to the disk.
    pub fn finish(mut self) -> Result<()> {
        self.writer.finish().map_err(failed(self.path))?;
        self.writer.inner().sync_all().map_err(Error::io(self.path))
    }
}

fn failed(path: &Path) -> impl FnOnce(ParquetError) -> Error {
    move |error| Error::file_because(path, "cannot be written", error)
}
