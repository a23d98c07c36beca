//! Downloads of published weight files, into a cache.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcetera::BaseStrategy;
use sha2::{Digest, Sha256};

use super::manifest::Published;
use crate::{Error, Result};

/// How long a server may stay silent.
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
/// What arrives is kept beside it as `NAME.part`, from which an interrupted download goes on, and gets its
/// name once its SHA-256 is the published one. `progress` is told the bytes that are there and, where the
/// server says so, those of the whole file.
///
/// # Errors
///
/// [`Error::Io`] where the folder cannot be written, [`Error::Download`] where the server cannot be
/// reached (with what to do by hand), breaks off, or sends another file, and where another process is
/// downloading the file.
pub fn fetch(
    published: &Published,
    folder: &Path,
    mut progress: impl FnMut(u64, Option<u64>),
) -> Result<PathBuf> {
    let path = folder.join(published.file_name());
    if path.exists() {
        return match sha256_of(&path)?.starts_with(&published.sha256) {
            true => Ok(path),
            false => Err(Error::file(&path, "not the published file: its SHA-256 differs; remove it")),
        };
    }
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let part = folder.join(format!("{}.part", published.file_name()));
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&part)
        .map_err(Error::io(&part))?;
    let fail = |message: String| Error::Download { url: published.url.clone(), message };
    file.try_lock()
        .map_err(|error| fail(format!("{}: {error}; is it downloaded already?", part.display())))?;

    download(published, &mut file, &part, &path, &mut progress)?;
    file.sync_all().map_err(Error::io(&part))?;
    let sha256 = sha256_of(&part)?;
    if !sha256.starts_with(&published.sha256) {
        fs::remove_file(&part).map_err(Error::io(&part))?;
        let expected = &published.sha256;
        return Err(fail(format!(
            "is another file: its SHA-256 begins {}, not {expected}",
            &sha256[..expected.len()]
        )));
    }
    fs::rename(&part, &path).map_err(Error::io(&path))?;
    Ok(path)
}

/// Appends to what `file` holds until it is whole.
fn download(
    published: &Published,
    file: &mut File,
    part: &Path,
    path: &Path,
    progress: &mut impl FnMut(u64, Option<u64>),
) -> Result<()> {
    let fail = |message: String| Error::Download { url: published.url.clone(), message };
    let mut done = file.seek(io::SeekFrom::End(0)).map_err(Error::io(part))?;
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .http_status_as_error(false)
        .build()
        .into();
    let mut request = agent.get(&published.url);
    if done > 0 {
        request = request.header("Range", format!("bytes={done}-"));
    }
    let by_hand = |error: ureq::Error| {
        fail(format!("{error}; offline? download it elsewhere and put it at {}", path.display()))
    };
    let mut response = request.call().map_err(by_hand)?;
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
        // There is nothing after what is there: it is whole, or none of this file's.
        416 if done > 0 => return Ok(()),
        status => return Err(fail(format!("the server answers with status {status}"))),
    }
    let limit = (published.size_mib * 1.01 * f64::from(1 << 20)) as u64 + (1 << 20);
    let total = response.body().content_length().map(|rest| done + rest);
    let mut body = response.body_mut().as_reader();
    let mut block = vec![0; 1 << 16];
    progress(done, total);
    loop {
        let count = body.read(&mut block).map_err(|error| fail(format!("{error}; run it again to go on")))?;
        if count == 0 {
            break;
        }
        file.write_all(&block[..count]).map_err(Error::io(part))?;
        done += count as u64;
        if done > limit {
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

/// Hexadecimal.
fn sha256_of(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    File::open(path).and_then(|mut file| io::copy(&mut file, &mut hasher)).map_err(Error::io(path))?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
