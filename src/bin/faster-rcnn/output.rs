//! What the program writes: text to standard output, and files that are whole or not there.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use anyhow::Result;
use faster_rcnn::Error;
use serde::Serialize;

/// Prints to standard output. A reader that has gone, such as `head`, has seen enough: no error.
pub fn print(text: impl AsRef<[u8]>) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_ref()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::io("standard output")(error).into())
        }
        _ => Ok(()),
    }
}

/// As it is printed and written to files.
pub fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("plain data is JSON") + "\n"
}

/// Finds out, before long work, whether a file can be written; makes its folder.
pub fn prepare(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Err(Error::file(path, "is a folder, not a file to write"));
    }
    path.parent().map_or(Ok(()), create_folder)
}

/// Writes a file under a temporary name beside `path` and renames it; `path` then holds what it held before
/// or the whole new content. What is no regular file, such as `/dev/stdout`, is written to as it is.
pub fn write_file(path: &Path, content: impl AsRef<[u8]>) -> Result<(), Error> {
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return fs::write(path, content).map_err(Error::io(path));
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    fs::write(&temporary, content).and_then(|()| fs::rename(&temporary, path)).map_err(Error::io(path))
}

/// Makes a folder, unless it is there.
pub fn create_folder(path: &Path) -> Result<(), Error> {
    if path.is_file() {
        return Err(Error::file(path, "is a file, not a folder"));
    }
    fs::create_dir_all(path).map_err(Error::io(path))
}
