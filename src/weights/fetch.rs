//! Downloads of published weight files, into a cache.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcetera::BaseStrategy;

use super::manifest::Published;
use crate::error::{Cause, Error, Result};
use crate::sha256::sha256_of;

/// The longest wait for a connection, for an answer, and for the next bytes.
const PATIENCE: Duration = Duration::from_secs(30);

/// The folder that [`fetch`] is meant for: `faster-rcnn` in the user's cache folder (on Linux
/// `$XDG_CACHE_HOME` or `~/.cache`).
///
/// # Errors
///
/// [`Error::Config`] where the user has no home folder.
pub fn cache_folder() -> Result<PathBuf> {
    let strategy = etcetera::choose_base_strategy().map_err(|error| Error::Config(error.to_string()))?;
    Ok(strategy.cache_dir().join("faster-rcnn"))
}

/// Downloads a published file into a folder, unless it is there already, and gives its path.
///
/// Data is written to `NAME.part` beside it, where an interrupted download continues. The file gets its name
/// once its SHA-256 begins with the digits that torchvision publishes. `NAME.lock` locks out other processes;
/// the file is not removed. `progress` gets the number of bytes so far and, if the server tells it, the size
/// of the whole file.
///
/// # Errors
///
/// [`Error::Io`] where the folder cannot be written, [`Error::Download`] where the server cannot be reached
/// (with what to do by hand), sends nothing for half a minute, breaks off, or sends another file, and where
/// another process is downloading the file.
pub fn fetch(
    published: &Published,
    folder: impl AsRef<Path>,
    progress: impl FnMut(u64, Option<u64>),
) -> Result<PathBuf> {
    fetch_patiently(published, folder.as_ref(), PATIENCE, progress)
}

fn fetch_patiently(
    published: &Published,
    folder: &Path,
    patience: Duration,
    mut progress: impl FnMut(u64, Option<u64>),
) -> Result<PathBuf> {
    let path = folder.join(published.file_name());
    if path.exists() {
        return verified(published, path);
    }
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    // A separate file: `.part` is renamed in the end, and a lock on it would go with it.
    let lock = folder.join(format!("{}.lock", published.file_name()));
    let lock_file = open(&lock)?;
    lock_file.try_lock().map_err(|error| {
        let message = format!("{}: is it downloaded already?", lock.display());
        failed(published, message, Some(Box::new(io::Error::from(error))))
    })?;
    // Another process may have finished between the two looks.
    if path.exists() {
        return verified(published, path);
    }
    let part = folder.join(format!("{}.part", published.file_name()));
    let mut file = open(&part)?;
    download(published, patience, &mut file, [&part, &path], &mut progress)?;
    file.sync_all().map_err(Error::io(&part))?;
    let sha256 = sha256_of(&part)?;
    if !sha256.starts_with(&published.sha256) {
        fs::remove_file(&part).map_err(Error::io(&part))?;
        let expected = &published.sha256;
        let message =
            format!("is another file: its SHA-256 begins {}, not {expected}", &sha256[..expected.len()]);
        return Err(failed(published, message, None));
    }
    fs::rename(&part, &path).map_err(Error::io(&path))?;
    Ok(path)
}

/// A file to read and to append to.
fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path).map_err(Error::io(path))
}

/// The path of an existing file, if it is the published one.
fn verified(published: &Published, path: PathBuf) -> Result<PathBuf> {
    match sha256_of(&path)?.starts_with(&published.sha256) {
        true => Ok(path),
        false => Err(Error::file(&path, "not the published file: its SHA-256 differs; remove it")),
    }
}

fn failed(published: &Published, message: String, source: Option<Cause>) -> Error {
    Error::Download { url: published.url.clone(), message, source }
}

/// Appends to `file` until it is complete. `file` is at `part`; later it is renamed to `path`.
fn download(
    published: &Published,
    patience: Duration,
    file: &mut File,
    [part, path]: [&Path; 2],
    progress: &mut impl FnMut(u64, Option<u64>),
) -> Result<()> {
    let fail = |message: String| failed(published, message, None);
    let mut done = file.seek(io::SeekFrom::End(0)).map_err(Error::io(part))?;
    let mut response = request(published, patience, done).map_err(|error| {
        let message = format!("no answer; offline? download it elsewhere and put it at {}", path.display());
        failed(published, message, Some(cause(error)))
    })?;
    match response.status().as_u16() {
        // The server begins anew.
        200 => {
            file.set_len(0).and_then(|()| file.rewind()).map_err(Error::io(part))?;
            done = 0;
        }
        206 if response
            .headers()
            .get("content-range")
            .and_then(|range| range.to_str().ok())
            .is_some_and(|range| range.starts_with(&format!("bytes {done}-"))) => {}
        // 416: the part is complete, or belongs to another file; the checksum decides.
        416 if done > 0 => return Ok(()),
        status => return Err(fail(format!("the server answers with status {status}"))),
    }
    // The published size is rounded to three decimals.
    let limit = ((published.size_mib + 0.001) * f64::from(1 << 20)) as u64;
    let total = response.body().content_length().map(|rest| done + rest);
    let mut body = response.body_mut().as_reader();
    let mut block = vec![0; 1 << 16];
    progress(done, total);
    loop {
        let count = body.read(&mut block).map_err(|error| {
            let message = format!("broke off after {done} bytes; run it again to go on");
            let source = error.downcast().map_or_else(|error| Box::new(error) as Cause, cause);
            failed(published, message, Some(source))
        })?;
        if count == 0 {
            break;
        }
        file.write_all(&block[..count]).map_err(Error::io(part))?;
        done += count as u64;
        if done > limit {
            file.set_len(0).map_err(Error::io(part))?;
            return Err(fail(format!("sends more than the {} MiB published", published.size_mib)));
        }
        progress(done, total);
    }
    match total {
        Some(total) if done != total => {
            Err(fail(format!("broke off after {done} of {total} bytes; run it again to go on")))
        }
        _ => Ok(()),
    }
}

/// Turns I/O errors and timeouts into `io::Error`, so that their kind can be looked at.
fn cause(error: ureq::Error) -> Cause {
    match error {
        ureq::Error::Io(error) => Box::new(error),
        ureq::Error::Timeout(_) => Box::new(io::Error::new(io::ErrorKind::TimedOut, error)),
        error => Box::new(error),
    }
}

/// Asks for the file from its byte `start` on.
fn request(
    published: &Published,
    patience: Duration,
    start: u64,
) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(patience))
        .timeout_recv_response(Some(patience))
        // A limit for each read, not for the whole file.
        .timeout_per_read(Some(patience))
        .http_status_as_error(false)
        .build()
        .into();
    let mut request = agent.get(&published.url);
    if start > 0 {
        request = request.header("Range", format!("bytes={start}-"));
    }
    request.call()
}

#[cfg(test)]
mod tests;
