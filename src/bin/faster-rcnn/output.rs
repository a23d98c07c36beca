//! What the program writes: text to standard output, and files that are whole or not there.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::panic;
use std::path::Path;

use anyhow::Result;
use faster_rcnn::Error;
use faster_rcnn::internals::write_bytes;
use serde::Serialize;

/// The lines of a message as one.
pub fn one_line(message: &str) -> String {
    let lines: Vec<&str> = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ")
}

/// Prints to standard output. A closed pipe (`head`) is not an error.
pub fn print(text: impl AsRef<[u8]>) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_ref()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::io("standard output")(error).into())
        }
        _ => Ok(()),
    }
}

/// JSON in the form that is printed and written to files.
pub fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("plain data is JSON") + "\n"
}

/// Finds out, before long work, whether a file can be written, and makes its folder. A file of `inputs` is
/// never written.
pub fn prepare<'a>(path: &Path, inputs: impl IntoIterator<Item = &'a Path>) -> Result<(), Error> {
    if path.is_dir() {
        return Err(Error::file(path, "is a folder, not a file to write"));
    }
    if inputs.into_iter().any(|input| is_same_file(path, input)) {
        return Err(Error::file(path, "is read, so it is not written: choose another name"));
    }
    path.parent().map_or(Ok(()), create_folder)
}

/// Whether two paths lead to one file that is there.
pub fn is_same_file(one: &Path, other: &Path) -> bool {
    one == other
        || fs::canonicalize(one).is_ok_and(|one| fs::canonicalize(other).is_ok_and(|other| one == other))
}

/// Writes a file whole or not at all: if this fails, `path` keeps its old content. Anything but a regular
/// file, such as `/dev/stdout`, is written to directly. A link stays, and the file that it points to is
/// replaced.
pub fn write_file(path: &Path, content: impl AsRef<[u8]>) -> Result<(), Error> {
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return fs::write(path, content).map_err(Error::io(path));
    }
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    write_bytes(&target, content.as_ref())
}

/// Makes a folder, unless it is there.
pub fn create_folder(path: &Path) -> Result<(), Error> {
    if path.is_file() {
        return Err(Error::file(path, "is a file, not a folder"));
    }
    fs::create_dir_all(path).map_err(Error::io(path))
}

/// The error names the lost member of a team. The panics of threads that waited for it are only details.
pub fn log_panics() {
    panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
}
