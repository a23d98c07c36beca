//! DeepPCB's lists: a line of `groupX/X/NAME.jpg groupX/X_not/NAME.txt` a board.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::board::Board;
use super::files::find_image;
use crate::data::formats::files::path_below;
use crate::error::{Error, Result};
use crate::text::read_bytes;

/// One result for each line that is not blank. Paths in it are relative to `root`.
///
/// # Errors
///
/// The outer error is a list that cannot be read or names nothing, the inner ones are [`Error::Line`].
pub(super) fn read_lines(root: &Path, list: &Path) -> Result<Vec<Result<Board>>> {
    let text = read_bytes(list)?;
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).enumerate();
    let boards: Vec<Result<Board>> = lines
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| {
            parse_line(root, line)
                .map(|(image, labels)| Board {
                    image,
                    labels,
                    listed: Some((list.to_path_buf(), index + 1)),
                    side: None,
                })
                .map_err(|message| Error::line(list, index + 1, message))
        })
        .collect();
    if boards.is_empty() {
        return Err(Error::file(list, "lists no images"));
    }
    Ok(boards)
}

/// The image and the label file; the error is the message for [`Error::Line`].
fn parse_line(root: &Path, line: &[u8]) -> Result<(PathBuf, PathBuf), String> {
    let shown = String::from_utf8_lossy(line);
    let wrong = || {
        let fields = fields(line).map_or(0, |fields| fields.len());
        let hint = if fields > 2 {
            "; around paths with blanks, put double quotes, or a tab between them"
        } else {
            ""
        };
        format!("expected an image and a label file, found `{shown}`{hint}")
    };
    match fields(line).as_deref() {
        Some([image, labels]) => {
            let path = |bytes: &[u8]| {
                let path = path(bytes).ok_or_else(|| format!("the path is not UTF-8: `{shown}`"))?;
                path_below(root, path)
            };
            Ok((find_image(&path(image)?), path(labels)?))
        }
        _ => Err(wrong()),
    }
}

/// The fields of a line. They are separated by tabs, if that makes two and the line does not begin with a
/// quote; or else in double quotes; or else separated by blanks. None if a quote is not closed.
fn fields(line: &[u8]) -> Option<Vec<Cow<'_, [u8]>>> {
    let between = |is_separator: fn(&u8) -> bool| {
        let fields = line.split(is_separator).map(<[u8]>::trim_ascii).filter(|field| !field.is_empty());
        fields.map(Cow::Borrowed).collect::<Vec<_>>()
    };
    let tabbed = between(|byte| *byte == b'\t');
    if tabbed.len() == 2 && !line.starts_with(b"\"") {
        return Some(tabbed);
    }
    if line.contains(&b'"') {
        return quoted(line);
    }
    Some(between(u8::is_ascii_whitespace))
}

/// Fields of which some are in double quotes; two of these in a row stand for one in the field.
fn quoted(mut line: &[u8]) -> Option<Vec<Cow<'_, [u8]>>> {
    let mut fields = Vec::new();
    while let Some(first) = line.first() {
        if *first != b'"' {
            let (field, rest) =
                line.split_at(line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len()));
            fields.push(Cow::Borrowed(field));
            line = rest.trim_ascii_start();
            continue;
        }
        let mut field = Vec::new();
        line = &line[1..];
        loop {
            let end = line.iter().position(|byte| *byte == b'"')?;
            field.extend_from_slice(&line[..end]);
            line = &line[end + 1..];
            if line.first() != Some(&b'"') {
                break;
            }
            field.push(b'"');
            line = &line[1..];
        }
        fields.push(Cow::Owned(field));
        line = line.trim_ascii_start();
    }
    Some(fields)
}

/// On Unix a path is bytes.
#[cfg(unix)]
fn path(bytes: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    Some(std::ffi::OsStr::from_bytes(bytes).into())
}

#[cfg(not(unix))]
fn path(bytes: &[u8]) -> Option<PathBuf> {
    std::str::from_utf8(bytes).ok().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_blanks_stand_in_quotes_or_between_tabs() {
        let two = Some(vec!["a b.jpg", "c d.txt"]);
        for (line, expected) in [
            ("a.jpg c.txt", Some(vec!["a.jpg", "c.txt"])),
            ("a.jpg \t  c.txt", Some(vec!["a.jpg", "c.txt"])),
            ("a b.jpg\tc d.txt", two.clone()),
            ("a \"b\".jpg\tc.txt", Some(vec!["a \"b\".jpg", "c.txt"])),
            ("\"a b.jpg\" \"c d.txt\"", two.clone()),
            ("\"a b.jpg\"\t\"c d.txt\"", two),
            ("a.jpg   \"c d.txt\"", Some(vec!["a.jpg", "c d.txt"])),
            ("a b.jpg c d.txt", Some(vec!["a", "b.jpg", "c", "d.txt"])),
            ("a.jpg\tb.jpg\tc.txt", Some(vec!["a.jpg", "b.jpg", "c.txt"])),
            ("\"\"\"a\"\" b.jpg\" c.txt", Some(vec!["\"a\" b.jpg", "c.txt"])),
            ("\"a b.jpg c.txt", None),
        ] {
            let found = fields(line.as_bytes());
            let expected = expected
                .map(|fields| fields.into_iter().map(|f| Cow::Borrowed(f.as_bytes())).collect::<Vec<_>>());
            assert_eq!(found, expected, "{line}");
        }
    }
}
