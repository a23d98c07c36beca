//! How much memory a table may take.

use crate::data::table_file::TableFile;
use crate::error::Result;

/// What any table may take: annotations that are all equal compress to almost nothing.
const FLOOR: u64 = 256 << 20;

/// What a table may take beside that, in sizes of its file.
const TIMES: u64 = 64;

/// The bytes that reading a table may still take. Some kilobytes of a hostile file can claim any number of
/// rows, objects and letters.
pub(super) struct Budget<'a> {
    table: &'a TableFile,
    left: u64,
}

impl<'a> Budget<'a> {
    pub fn new(table: &'a TableFile) -> Self {
        Self { table, left: FLOOR.saturating_add(table.length().saturating_mul(TIMES)) }
    }

    /// # Errors
    ///
    /// [`Error::File`](crate::Error::File) where no more is left.
    pub fn take(&mut self, bytes: u64) -> Result<()> {
        let exceeded = || self.table.fault("unpacks to more than 256 MiB and 64 times its size");
        self.left = self.left.checked_sub(bytes).ok_or_else(exceeded)?;
        Ok(())
    }
}
