//! Which files and folders of DeepPCB's layout mean what. Names are compared as bytes, since they need not be
//! UTF-8.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use crate::data::images::EXTENSIONS;
use crate::error::{Error, Result};

/// `PCBData` itself, from its own path or from that of the folder that holds it.
pub(super) fn data_folder(root: &Path) -> Result<PathBuf> {
    fs::read_dir(root).map_err(Error::io(root))?;
    let inner = root.join("PCBData");
    Ok(if inner.is_dir() { inner } else { root.to_path_buf() })
}

/// The file that a list means by `NAME.jpg`. That is `NAME_test.jpg`, or `NAME.jpg` where only that exists;
/// or else the same with another extension of an image.
pub(super) fn find_image(listed: &Path) -> PathBuf {
    let (stem, extension) = (listed.file_stem().unwrap_or_default(), listed.extension().unwrap_or_default());
    let test = named(&listed.with_file_name(joined(stem, "_test")), extension);
    if let Some(found) = [test.as_path(), listed].into_iter().find(|path| path.is_file()) {
        return found.to_path_buf();
    }
    [joined(stem, "_test"), stem.to_os_string()]
        .iter()
        .find_map(|stem| image_with_stem(listed.parent()?, stem))
        .unwrap_or(test)
}

/// The template of a board: `NAME_temp.jpg` beside `NAME_test.jpg`, or the same with another extension of an
/// image.
pub(super) fn find_template(image: &Path) -> Option<PathBuf> {
    let template = joined(strip_suffix(image.file_stem()?, "_test")?, "_temp");
    // Probing a few names is cheaper than listing the folder for each board.
    let extensions = image.extension().into_iter().chain(EXTENSIONS.iter().map(OsStr::new));
    let candidates = extensions.map(|extension| named(&image.with_file_name(&template), extension));
    candidates.into_iter().find(|path| path.is_file())
}

/// The first file with this stem and the extension of an image.
fn image_with_stem(folder: &Path, stem: &OsStr) -> Option<PathBuf> {
    let files = entries(folder).ok()?;
    files.into_iter().find(|path| path.file_stem() == Some(stem) && is_image(path))
}

/// Whether the name ends as an image's, in small or capital letters.
pub(super) fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    extension.is_some_and(|extension| EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension)))
}

/// Whether the name says that the image is a board without defects.
pub(super) fn is_template(path: &Path) -> bool {
    is_image(path) && path.file_stem().is_some_and(|stem| strip_suffix(stem, "_temp").is_some())
}

/// `NAME` of an image `NAME_test.jpg` or `NAME.jpg`; none for a template or another file.
pub(super) fn board_name(path: &Path) -> Option<OsString> {
    let stem = path.file_stem().filter(|_| is_image(path) && !is_template(path))?;
    Some(strip_suffix(stem, "_test").unwrap_or(stem).to_os_string())
}

/// The folders of a folder, without those that are hidden.
pub(super) fn sub_folders(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// The entries of a folder, sorted, without hidden ones. Programs write names that begin with a dot: macOS's
/// `._NAME.jpg` has the extension of an image, but is none.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let listing = fs::read_dir(folder).map_err(Error::io(folder))?;
    let mut paths = listing
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(Error::io(folder))?;
    paths.retain(|path| !starts_with(path, "."));
    paths.sort();
    Ok(paths)
}

/// Whether the last part of the path begins with `prefix`.
pub(super) fn starts_with(path: &Path, prefix: &str) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
}

/// A name and what follows it.
pub(super) fn joined(name: &OsStr, suffix: &str) -> OsString {
    let mut joined = name.to_os_string();
    joined.push(suffix);
    joined
}

/// A path with an extension added; dots in its name stay.
fn named(path: &Path, extension: &OsStr) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".");
    name.push(extension);
    name.into()
}

/// The name without a suffix, where it has it.
pub(super) fn strip_suffix<'a>(name: &'a OsStr, suffix: &str) -> Option<&'a OsStr> {
    let rest = name.as_encoded_bytes().strip_suffix(suffix.as_bytes())?;
    // SAFETY: `rest` is the beginning of an `OsStr`, cut off immediately before `suffix`, which is UTF-8 and
    // not empty.
    (!suffix.is_empty()).then(|| unsafe { OsStr::from_encoded_bytes_unchecked(rest) })
}
