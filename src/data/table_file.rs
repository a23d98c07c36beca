//! A Parquet file that is open: its schema, its chunks, and their bytes. A file may come from a stranger, so
//! sizes are checked before anything is unpacked.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::Compression;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};

use super::table_thrift::{PageHeader, PageKind, PageLocation, is_whole, page_header};
use crate::error::{Error, Result};

/// The most bytes of what a file says of itself at its end.
const LARGEST_FOOTER: u64 = 16 << 20;

/// The first try to read a page header, and the largest one. It may hold the least and the largest value.
const PAGE_HEADER: [usize; 2] = [256, 64 << 10];

/// A Parquet file. Reading takes no position with it, so that threads do not disturb each other.
#[derive(Debug)]
pub(super) struct TableFile {
    path: PathBuf,
    file: File,
    length: u64,
    metadata: Arc<ParquetMetaData>,
}

impl TableFile {
    /// Opens the file and reads its end.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], and [`Error::File`] where it is not a whole Parquet file.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        let length = file.metadata().map_err(Error::io(path))?.len();
        let end = Range { file: &file, length };
        let metadata = footer(&end).map_err(|error| damaged(path, error))?;
        let table = Self { path: path.to_path_buf(), file, length, metadata: Arc::new(metadata) };
        table.check_sizes()?;
        Ok(table)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    pub fn metadata(&self) -> &Arc<ParquetMetaData> {
        &self.metadata
    }

    /// An error about the file as a whole.
    pub fn fault(&self, message: impl ToString) -> Error {
        Error::file(&self.path, message)
    }

    /// Calls a function of the library. On broken files some of them panic.
    pub fn guarded<T>(&self, read: impl FnOnce() -> ParquetResult<T>) -> Result<T> {
        guard(read).map_err(|error| damaged(&self.path, error))
    }

    /// No chunk lies outside the file, and the rows can be counted.
    fn check_sizes(&self) -> Result<()> {
        let mut rows = 0_u64;
        for (index, group) in self.metadata.row_groups().iter().enumerate() {
            let fault = |what: &str| Err(self.fault(format!("row group {}: {what}", index + 1)));
            rows = match u64::try_from(group.num_rows()).ok().and_then(|count| rows.checked_add(count)) {
                Some(rows) if rows <= u64::from(u32::MAX) => rows,
                _ => return fault("has more rows than are read"),
            };
            if group.num_columns() != self.metadata.file_metadata().schema_descr().num_columns() {
                return fault("has other columns than the table");
            }
            for chunk in group.columns() {
                let name = chunk.column_path().string();
                if chunk.file_path().is_some() {
                    return fault(&format!("the column `{name}` is in another file"));
                }
                let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
                let numbers = (u64::try_from(start), u64::try_from(chunk.compressed_size()));
                let (Ok(start), Ok(size)) = numbers else {
                    return fault(&format!("the column `{name}` has a negative place"));
                };
                if start.checked_add(size).is_none_or(|end| end > self.length) {
                    return fault(&format!("the column `{name}` lies outside the file"));
                }
            }
        }
        Ok(())
    }

    /// Whether a chunk can be unpacked here.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where it cannot.
    pub fn check_compression(&self, chunk: &ColumnChunkMetaData) -> Result<()> {
        match chunk.compression() {
            Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::ZSTD(_) => Ok(()),
            other => {
                let name = chunk.column_path().string();
                let message =
                    format!("the column `{name}` is compressed by {other}; Snappy and zstd are read");
                Err(self.fault(message))
            }
        }
    }

    /// The pages of a chunk, from their headers: where each begins, its header, and the row of its first
    /// value where no value is a list.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], and [`Error::File`] where a page is larger than `most` when it is unpacked, or is not
    /// within the chunk.
    pub fn pages(&self, chunk: &ColumnChunkMetaData, most: usize) -> Result<Vec<(PageLocation, PageHeader)>> {
        let (start, size) = chunk.byte_range();
        let (mut pages, mut offset, mut first_row) = (Vec::new(), start, 0);
        while offset < start + size {
            let header = self.page_header(chunk, offset, start + size - offset, most)?;
            let length = header.length + header.packed;
            pages.push((PageLocation { offset, length, first_row }, header));
            offset += length as u64;
            if header.kind == PageKind::Data {
                first_row += header.values;
            }
        }
        Ok(pages)
    }

    /// The header at `offset`; the page may have `room` bytes with it, and `most` when it is unpacked.
    fn page_header(
        &self,
        chunk: &ColumnChunkMetaData,
        offset: u64,
        room: u64,
        most: usize,
    ) -> Result<PageHeader> {
        for size in PAGE_HEADER {
            let bytes = self.bytes(offset, room.min(size as u64) as usize)?;
            if let Some(header) = page_header(&bytes) {
                self.check_page(chunk, &header, room, most)?;
                return Ok(header);
            }
        }
        let name = chunk.column_path().string();
        Err(self.fault(format!("the column `{name}` has no page at byte {offset}")))
    }

    /// Whether a page has the room that its header claims, and does not unpack to more than `most` bytes.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where it has not.
    pub fn check_page(
        &self,
        chunk: &ColumnChunkMetaData,
        header: &PageHeader,
        room: u64,
        most: usize,
    ) -> Result<()> {
        let name = chunk.column_path().string();
        if (header.length as u64).saturating_add(header.packed as u64) > room {
            return Err(self.fault(format!("a page of the column `{name}` is not within it")));
        }
        if header.unpacked > most {
            let claimed = header.unpacked;
            let message =
                format!("a page of the column `{name}` claims {claimed} bytes; at most {most} are unpacked");
            return Err(self.fault(message));
        }
        Ok(())
    }

    /// Bytes of the file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where it does not have them.
    pub fn bytes(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let bytes = Range { file: &self.file, length: self.length }.bytes(offset, length);
        bytes.map_err(Error::io(&self.path))
    }
}

/// For the library. It is cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Source(pub Arc<TableFile>);

impl Length for Source {
    fn len(&self) -> u64 {
        self.0.length
    }
}

impl ChunkReader for Source {
    type T = BufReader<Onward>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(BufReader::new(Onward { table: self.0.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let range = Range { file: &self.0.file, length: self.0.length };
        Ok(range.bytes(start, length)?.into())
    }
}

/// Reads on from a byte.
#[derive(Debug)]
pub(super) struct Onward {
    table: Arc<TableFile>,
    at: u64,
}

impl Read for Onward {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = read_at(&self.table.file, buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// A file with its length.
struct Range<'a> {
    file: &'a File,
    length: u64,
}

impl Range<'_> {
    /// Some bytes. Nothing is allocated for those that are not there.
    fn bytes(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        if offset.checked_add(length as u64).is_none_or(|end| end > self.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = vec![0; length];
        let mut read = 0;
        while read < length {
            match read_at(self.file, &mut bytes[read..], offset + read as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(bytes)
    }
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

/// What the file says of itself: its last 8 bytes say how long that is.
fn footer(file: &Range) -> ParquetResult<ParquetMetaData> {
    let short = || ParquetError::General("it is shorter than a Parquet file can be".to_string());
    let end = file.length.checked_sub(8).ok_or_else(short)?;
    let tail = file.bytes(end, 8)?;
    let [a, b, c, d, magic @ ..] = <[u8; 8]>::try_from(tail).map_err(|_| short())?;
    if &magic != b"PAR1" {
        return Err(ParquetError::General("it does not end as a Parquet file".to_string()));
    }
    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
    if length > LARGEST_FOOTER || length > end {
        let message = format!("its end claims {length} bytes; at most {LARGEST_FOOTER} are read");
        return Err(ParquetError::General(message));
    }
    let bytes = file.bytes(end - length, length as usize)?;
    if !is_whole(&bytes) {
        return Err(ParquetError::General("its end is damaged, or describes too many columns".to_string()));
    }
    guard(|| ParquetMetaDataReader::decode_metadata(&bytes))
}

/// A panic as an error.
fn guard<T>(read: impl FnOnce() -> ParquetResult<T>) -> ParquetResult<T> {
    panic::catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
        Err(ParquetError::General(format!("the reader gave up: {message}")))
    })
}

fn damaged(path: &Path, error: ParquetError) -> Error {
    Error::file_because(path, "not a whole Parquet file", error)
}
