//! Text files as editors write them: with or without a byte order mark.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result};

const UTF8_MARK: &[u8] = b"\xEF\xBB\xBF";
const UTF16_MARKS: [&[u8]; 2] = [b"\xFF\xFE", b"\xFE\xFF"];

/// The content of a text file in which only ASCII characters have a meaning, such as a list of paths. A byte
/// order mark at its start, which some editors write, is left out.
///
/// # Errors
///
/// [`Error::Io`] where the file cannot be read, [`Error::File`] where it is UTF-16 or no text.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = fs::read(path).map_err(Error::io(path))?;
    if UTF16_MARKS.iter().any(|mark| bytes.starts_with(mark)) {
        return Err(Error::file(path, "the text is encoded as UTF-16: save it as UTF-8"));
    }
    if bytes.contains(&0) {
        let message = "the file holds zero bytes: it is no text, or one encoded as UTF-16; save it as UTF-8";
        return Err(Error::file(path, message));
    }
    if bytes.starts_with(UTF8_MARK) {
        bytes.drain(..UTF8_MARK.len());
    }
    Ok(bytes)
}

/// The content of a UTF-8 text file, without the byte order mark that some editors write at its start.
///
/// # Errors
///
/// As `read_bytes`, and [`Error::Line`] where a line is not UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read_bytes(path)?).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        Error::line(path, line, "the text is not encoded as UTF-8: save it as UTF-8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_no_character_and_other_encodings_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.txt");
        let read = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            read_text(&path).map_err(|error| error.to_string().replace(&path.display().to_string(), "F"))
        };
        for (bytes, text) in [
            (&b"\xEF\xBB\xBF1 2\n"[..], "1 2\n"),
            (b"\xEF\xBB\xBF", ""),
            (b"", ""),
            ("brücke".as_bytes(), "brücke"),
        ] {
            assert_eq!(read(bytes).as_deref(), Ok(text));
        }
        for (bytes, message) in [
            (&b"\xFF\xFE1\0"[..], "F: the text is encoded as UTF-16"),
            (b"\xFE\xFF\x001", "F: the text is encoded as UTF-16"),
            (b"1\x002\0", "F: the file holds zero bytes"),
            (b"1\n2\nbr\xFCcke\n", "F:3: the text is not encoded as UTF-8"),
        ] {
            let error = read(bytes).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
