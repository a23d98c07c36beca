//! The headers of a Parquet file, as far as their sizes must be known before anything is unpacked: Thrift's
//! compact protocol.

/// The most elements of a list of structures, such as row groups and columns. The library makes room for as
/// many as a list claims to have.
const MOST_STRUCTURES: usize = 1 << 16;

/// How deep structures may lie in each other.
const DEEPEST: usize = 32;

/// Types of fields in the protocol.
const BYTE: u8 = 3;
const BINARY: u8 = 8;
const STRUCTURE: u8 = 12;

/// What a page header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageHeader {
    pub kind: PageKind,
    /// Bytes of the header itself.
    pub length: usize,
    /// Bytes of the page that follows.
    pub packed: usize,
    /// Bytes of the page when it is unpacked.
    pub unpacked: usize,
    /// Values with nulls, or entries of the dictionary.
    pub values: usize,
    /// Whether the values are positions in the dictionary.
    pub uses_dictionary: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageKind {
    Data,
    Dictionary,
    /// An index, which nobody reads.
    Other,
}

/// Where a page is, its header included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageLocation {
    pub offset: u64,
    pub length: usize,
    /// In the row group, counted from 0.
    pub first_row: usize,
}

/// The page header at the beginning of `bytes`; none where there is no whole one.
pub(super) fn page_header(bytes: &[u8]) -> Option<PageHeader> {
    let mut thrift = Thrift { bytes, at: 0 };
    let (mut kind, mut packed, mut unpacked, mut details) = (None, None, None, None);
    let mut field = 0;
    while let Some(found) = thrift.field(&mut field)? {
        match (field, found) {
            (1, _) => kind = Some(thrift.integer()?),
            (2, _) => unpacked = Some(thrift.size()?),
            (3, _) => packed = Some(thrift.size()?),
            // Of a data page, of a dictionary, and of a data page of the second version.
            (5, STRUCTURE) => details = Some(thrift.details(2)?),
            (7, STRUCTURE) => details = Some(thrift.details(2)?),
            (8, STRUCTURE) => details = Some(thrift.details(4)?),
            (_, other) => thrift.skip(other, 0)?,
        }
    }
    let kind = match kind? {
        0 | 3 => PageKind::Data,
        2 => PageKind::Dictionary,
        _ => PageKind::Other,
    };
    let (values, encoding) = match details {
        None if kind != PageKind::Other => return None,
        details => details.unwrap_or((0, 0)),
    };
    Some(PageHeader {
        kind,
        length: thrift.at,
        packed: packed?,
        unpacked: unpacked?,
        values,
        uses_dictionary: kind == PageKind::Data && matches!(encoding, 2 | 8),
    })
}

/// The pages of an offset index.
pub(super) fn page_locations(bytes: &[u8]) -> Option<Vec<PageLocation>> {
    let mut thrift = Thrift { bytes, at: 0 };
    let (mut field, mut pages) = (0, Vec::new());
    while let Some(found) = thrift.field(&mut field)? {
        if field != 1 {
            thrift.skip(found, 0)?;
            continue;
        }
        let (STRUCTURE, count) = thrift.list()? else { return None };
        for _ in 0..count {
            let (mut field, mut numbers) = (0, [None; 3]);
            while let Some(found) = thrift.field(&mut field)? {
                match numbers.get_mut((field - 1) as usize) {
                    Some(number) => *number = Some(thrift.size()?),
                    None => thrift.skip(found, 0)?,
                }
            }
            let [Some(offset), Some(length), Some(first_row)] = numbers else { return None };
            pages.push(PageLocation { offset: offset as u64, length, first_row });
        }
    }
    Some(pages)
}

/// Whether the bytes are a structure whose lists are there, with no more structures in a list than are read.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    Thrift { bytes, at: 0 }.skip(STRUCTURE, 0).is_some()
}

struct Thrift<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Thrift<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn integer(&mut self) -> Option<i64> {
        let value = self.unsigned()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// An integer that is not negative.
    fn size(&mut self) -> Option<usize> {
        usize::try_from(self.integer()?).ok()
    }

    /// The type of the next field of a structure, whose number goes to `field`; the inner none is the end.
    fn field(&mut self, field: &mut i64) -> Option<Option<u8>> {
        let byte = self.byte()?;
        if byte & 0x0F == 0 {
            return Some(None);
        }
        *field = match byte >> 4 {
            0 => self.integer()?,
            step => field.checked_add(i64::from(step))?,
        };
        // The numbers of fields have 16 bits.
        (1..=i64::from(i16::MAX)).contains(field).then_some(Some(byte & 0x0F))
    }

    /// The type of a list's elements, and how many there are.
    fn list(&mut self) -> Option<(u8, usize)> {
        let byte = self.byte()?;
        let count = match byte >> 4 {
            15 => usize::try_from(self.unsigned()?).ok()?,
            count => usize::from(count),
        };
        // Each element takes a byte or more.
        (count <= self.bytes.len() - self.at).then_some((byte & 0x0F, count))
    }

    /// The number of values, field 1, and the encoding, the field `encoding`, of a page.
    fn details(&mut self, encoding: i64) -> Option<(usize, i64)> {
        let (mut field, mut values, mut found_encoding) = (0, None, None);
        while let Some(found) = self.field(&mut field)? {
            match field {
                1 => values = Some(self.size()?),
                _ if field == encoding => found_encoding = Some(self.integer()?),
                _ => self.skip(found, 1)?,
            }
        }
        Some((values?, found_encoding?))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        match kind {
            // Truth is said by the type.
            1 | 2 => {}
            BYTE => self.at += 1,
            4..=6 => {
                self.unsigned()?;
            }
            7 => self.at += 8,
            BINARY => {
                let length = usize::try_from(self.unsigned()?).ok()?;
                self.at = self.at.checked_add(length)?;
            }
            9 | 10 => {
                let (kind, count) = self.list()?;
                if kind == STRUCTURE && count > MOST_STRUCTURES {
                    return None;
                }
                for _ in 0..count {
                    match kind {
                        // In a list it takes a byte.
                        1 | 2 => self.at += 1,
                        _ => self.skip(kind, depth + 1)?,
                    }
                }
            }
            STRUCTURE => {
                let mut field = 0;
                while let Some(found) = self.field(&mut field)? {
                    self.skip(found, depth + 1)?;
                }
            }
            // Parquet has neither maps nor other types.
            _ => return None,
        }
        (self.at <= self.bytes.len()).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A data page of 3 values by a dictionary, 10 bytes as 20, as pyarrow writes it.
    const HEADER: [u8; 13] = [0x15, 0, 0x15, 40, 0x15, 20, 0x2C, 0x15, 6, 0x15, 16, 0, 0];

    #[test]
    fn headers_are_read_and_no_part_of_one() {
        let expected = PageHeader {
            kind: PageKind::Data,
            length: HEADER.len(),
            packed: 10,
            unpacked: 20,
            values: 3,
            uses_dictionary: true,
        };
        assert_eq!(page_header(&HEADER), Some(expected));
        for length in 0..HEADER.len() {
            assert_eq!(page_header(&HEADER[..length]), None);
        }
        // A negative size.
        let mut negative = HEADER;
        negative[5] = 21;
        assert_eq!(page_header(&negative), None);
    }

    #[test]
    fn pages_are_located() {
        // A list of two structures: (4, 100, 0) and (104, 64, 7).
        let index =
            [0x19, 0x2C, 0x16, 8, 0x15, 0xC8, 1, 0x16, 0, 0, 0x16, 0xD0, 1, 0x15, 0x80, 1, 0x16, 14, 0, 0];
        let pages = [
            PageLocation { offset: 4, length: 100, first_row: 0 },
            PageLocation { offset: 104, length: 64, first_row: 7 },
        ];
        assert_eq!(page_locations(&index).unwrap(), pages);
        for length in 0..index.len() {
            assert_eq!(page_locations(&index[..length]), None);
        }
    }

    #[test]
    fn lists_that_claim_more_than_is_there_are_not_whole() {
        assert!(is_whole(&HEADER));
        // 2^31 - 1 structures, and 70,000 empty ones.
        assert!(!is_whole(&[0x19, 0xFC, 0xFF, 0xFF, 0xFF, 0xFF, 7, 0, 0]));
        let many = [&[0x19, 0xFC, 0xF0, 0xA2, 4][..], &vec![0; 70_001]].concat();
        assert!(!is_whole(&many));
        let some = [&[0x19, 0xFC, 0xE8, 7][..], &vec![0; 1001]].concat();
        assert!(is_whole(&some));
        let deep = [&[0x1C; 40][..], &[0; 41]].concat();
        assert!(!is_whole(&deep));
    }
}
