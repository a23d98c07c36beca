//! The bytes of an image in a row of a table.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::serialized_reader::SerializedPageReader;

use super::table_file::TableFile;
use super::table_thrift::{PageHeader, PageKind, PageLocation, page_header, page_locations};
use crate::error::{Error, Result};

/// The most bytes of a page of images when it is unpacked. Other programs put many images into one.
const LARGEST_PAGE: usize = 512 << 20;

/// The most different images that a dictionary has. The library makes room for as many as a page claims.
const MOST_ENTRIES: usize = 1 << 20;

/// A row of a Parquet table that holds the bytes of an image file.
///
/// The table is opened once, and each row is found by the table's list of pages. So a row costs the reading
/// of the page that it is in, from any thread.
#[derive(Clone)]
pub struct TableCell {
    column: Arc<ImageColumn>,
    /// Counted from 0.
    row: usize,
}

impl TableCell {
    pub(super) fn new(column: Arc<ImageColumn>, row: usize) -> Self {
        Self { column, row }
    }

    /// The table.
    pub fn table(&self) -> &Path {
        self.column.file.path()
    }

    /// What errors call it, such as `train.parquet: row 12`, counted from 1.
    pub fn place(&self) -> PathBuf {
        let mut place = self.table().as_os_str().to_os_string();
        place.push(format!(": row {}", self.row + 1));
        place.into()
    }

    /// The bytes of the image file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], and [`Error::File`] where the table is damaged or the row holds no bytes.
    pub fn read(&self) -> Result<Vec<u8>> {
        match self.column.read(self.row)? {
            Some(bytes) => Ok(bytes.data().to_vec()),
            None => {
                Err(Error::file(self.place(), format!("the column `{}` holds no image", self.column.name())))
            }
        }
    }
}

impl fmt::Debug for TableCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TableCell({}, {})", self.place().display(), self.column.name())
    }
}

/// The same row and column of one file.
impl PartialEq for TableCell {
    fn eq(&self, other: &Self) -> bool {
        let is_same_column = Arc::ptr_eq(&self.column, &other.column)
            || (self.table() == other.table() && self.column.leaf == other.column.leaf);
        is_same_column && self.row == other.row
    }
}

/// A column of a table that holds the bytes of files.
pub(super) struct ImageColumn {
    file: Arc<TableFile>,
    leaf: usize,
    chunks: Vec<Chunk>,
}

/// The part of the column in a row group.
struct Chunk {
    /// In the table.
    first_row: usize,
    metadata: ColumnChunkMetaData,
    /// Whether each row has bytes, or none has; none where that is not known.
    have_bytes: Option<bool>,
    dictionary: Option<PageLocation>,
    pages: Vec<PageLocation>,
}

impl ImageColumn {
    /// Finds the pages of a column, which has bytes and no lists.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], and [`Error::File`] where the pages cannot be found.
    pub fn new(file: Arc<TableFile>, leaf: usize) -> Result<Self> {
        let (mut chunks, mut first_row) = (Vec::new(), 0);
        for group in file.metadata().row_groups() {
            let metadata = group.column(leaf);
            file.check_compression(metadata)?;
            let (dictionary, pages) = match indexed(&file, metadata)? {
                Some(found) => found,
                None => scanned(&file, metadata)?,
            };
            let nulls = metadata.statistics().and_then(|statistics| statistics.null_count_opt());
            let have_bytes = match nulls {
                _ if metadata.column_descr().max_def_level() == 0 => Some(true),
                Some(0) => Some(true),
                Some(nulls) if nulls == group.num_rows() as u64 => Some(false),
                _ => None,
            };
            let metadata = metadata.clone().into_builder().clear_statistics();
            let metadata = metadata.set_data_page_offset(0).set_dictionary_page_offset(None);
            let metadata = file.guarded(|| metadata.build())?;
            chunks.push(Chunk { first_row, metadata, have_bytes, dictionary, pages });
            first_row += group.num_rows() as usize;
        }
        Ok(Self { file, leaf, chunks })
    }

    pub fn name(&self) -> String {
        self.file.metadata().file_metadata().schema_descr().column(self.leaf).path().string()
    }

    fn chunk(&self, row: usize) -> &Chunk {
        &self.chunks[self.chunks.partition_point(|chunk| chunk.first_row <= row) - 1]
    }

    /// Whether a row, counted from 0, has bytes. The table is believed where it says that all rows have, or
    /// none has; else the row is read.
    pub fn has_bytes(&self, row: usize) -> Result<bool> {
        self.chunk(row).have_bytes.map_or_else(|| Ok(self.read(row)?.is_some()), Ok)
    }

    /// The value of a row, counted from 0; none where it is null.
    pub fn read(&self, row: usize) -> Result<Option<ByteArray>> {
        let chunk = self.chunk(row);
        let row = row - chunk.first_row;
        let after = chunk.pages.partition_point(|page| page.first_row <= row);
        let fault = || self.file.fault(format!("the column `{}` has no page for each row", self.name()));
        let page = chunk.pages[..after].last().ok_or_else(fault)?;
        let bytes = self.page(chunk, page)?;

        let (length, row) = (bytes.len(), row - page.first_row);
        let metadata = chunk.metadata.clone().into_builder().set_total_compressed_size(length as i64);
        let read = || {
            let pages = SerializedPageReader::new(Arc::new(bytes), &metadata.build()?, row + 1, None)?;
            let description = chunk.metadata.column_descr_ptr();
            let mut reader = ColumnReaderImpl::<ByteArrayType>::new(description, Box::new(pages));
            let (mut levels, mut values) = (Vec::new(), Vec::new());
            let skipped = reader.skip_records(row)?;
            let (records, _, _) = reader.read_records(1, Some(&mut levels), None, &mut values)?;
            Ok((skipped == row && records == 1).then(|| values.pop()))
        };
        self.file.guarded(read)?.ok_or_else(fault)
    }

    /// A page as a chunk of its own, with its dictionary before it.
    fn page(&self, chunk: &Chunk, page: &PageLocation) -> Result<Bytes> {
        let bytes = self.file.bytes(page.offset, page.length)?;
        let header = self.header(chunk, &bytes)?;
        if !header.uses_dictionary {
            return Ok(bytes.into());
        }
        let Some(dictionary) = chunk.dictionary else {
            return Err(self.file.fault(format!("the column `{}` lacks its dictionary", self.name())));
        };
        let mut both = self.file.bytes(dictionary.offset, dictionary.length)?;
        self.header(chunk, &both)?;
        both.extend(bytes);
        Ok(both.into())
    }

    fn header(&self, chunk: &Chunk, bytes: &[u8]) -> Result<PageHeader> {
        let fault = || self.file.fault(format!("a page of the column `{}` is damaged", self.name()));
        let is_sound = |header: &PageHeader| match header.kind {
            PageKind::Data => true,
            PageKind::Dictionary => header.values <= MOST_ENTRIES,
            PageKind::Other => false,
        };
        let header = page_header(bytes).filter(is_sound).ok_or_else(fault)?;
        self.file.check_page(&chunk.metadata, &header, bytes.len() as u64, LARGEST_PAGE)?;
        Ok(header)
    }
}

/// The dictionary of a chunk, and its pages.
type Pages = (Option<PageLocation>, Vec<PageLocation>);

/// The pages as the table's index has them; none in a table without one.
fn indexed(file: &TableFile, chunk: &ColumnChunkMetaData) -> Result<Option<Pages>> {
    let (Some(offset), Some(length)) = (chunk.offset_index_offset(), chunk.offset_index_length()) else {
        return Ok(None);
    };
    let (Ok(offset), Ok(length)) = (u64::try_from(offset), usize::try_from(length)) else { return Ok(None) };
    let Some(pages) = page_locations(&file.bytes(offset, length)?) else { return Ok(None) };
    let (start, size) = chunk.byte_range();
    let is_within = |page: &PageLocation| {
        page.offset >= start && page.offset.saturating_add(page.length as u64) <= start + size
    };
    if !pages.iter().all(is_within) || !pages.is_sorted_by_key(|page| page.first_row) {
        return Ok(None);
    }
    let Some(first) = pages.first() else { return Ok(None) };
    // What is before the first page is the dictionary.
    let length = (first.offset - start) as usize;
    let dictionary = (length > 0).then_some(PageLocation { offset: start, length, first_row: 0 });
    Ok(Some((dictionary, pages)))
}

/// The pages by their headers, which takes a read for each.
fn scanned(file: &TableFile, chunk: &ColumnChunkMetaData) -> Result<Pages> {
    let pages = file.pages(chunk, LARGEST_PAGE)?.into_iter();
    let pages: Vec<_> = pages.filter(|(_, header)| header.kind != PageKind::Other).collect();
    let of = |kind| pages.iter().filter(move |(_, header)| header.kind == kind).map(|(page, _)| *page);
    Ok((of(PageKind::Dictionary).next(), of(PageKind::Data).collect()))
}
