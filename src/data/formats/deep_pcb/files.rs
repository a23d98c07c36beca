//! Which files and folders of DeepPCB's layout mean what. Names are compared as bytes, since they need not be
//! UTF-8.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use crate::data::formats::files::{
    image_with_stem, is_image, starts_with, sub_folders, with_extension_added,
};
use crate::data::images::EXTENSIONS;
use crate::error::{Error, Result};

/// `PCBData` itself, from its own path or from that of the folder that holds it.
pub(super) fn data_folder(root: &Path) -> Result<PathBuf> {
    fs::read_dir(root).map_err(Error::io(root))?;
    let inner = root.join("PCBData");
    Ok(if inner.is_dir() { inner } else { root.to_path_buf() })
}

/// Whether this is such a folder: it has a list, or a folder `group*/X_not`.
pub(in crate::data::formats) fn is_data_folder(root: &Path) -> bool {
    let Ok(root) = data_folder(root) else { return false };
    let has_labels = |group: &PathBuf| {
        let folders = sub_folders(group).unwrap_or_default();
        folders
            .iter()
            .any(|folder| folder.file_name().is_some_and(|name| strip_suffix(name, "_not").is_some()))
    };
    ["trainval.txt", "test.txt"].iter().any(|list| root.join(list).is_file())
        || sub_folders(&root)
            .unwrap_or_default()
            .iter()
            .any(|group| starts_with(group, "group") && has_labels(group))
}

/// The file that a list means by `NAME.jpg`. That is `NAME_test.jpg`, or `NAME.jpg` where only that exists;
/// or else the same with another extension of an image.
pub(super) fn find_image(listed: &Path) -> PathBuf {
    let (stem, extension) = (listed.file_stem().unwrap_or_default(), listed.extension().unwrap_or_default());
    let test = with_extension_added(&listed.with_file_name(joined(stem, "_test")), extension);
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
    let candidates =
        extensions.map(|extension| with_extension_added(&image.with_file_name(&template), extension));
    candidates.into_iter().find(|path| path.is_file())
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

/// A name and what follows it.
pub(super) fn joined(name: &OsStr, suffix: &str) -> OsString {
    let mut joined = name.to_os_string();
    joined.push(suffix);
    joined
}

/// The name without a suffix, where it has it.
pub(super) fn strip_suffix<'a>(name: &'a OsStr, suffix: &str) -> Option<&'a OsStr> {
    let rest = name.as_encoded_bytes().strip_suffix(suffix.as_bytes())?;
    // SAFETY: `rest` is the beginning of an `OsStr`, cut off immediately before `suffix`, which is UTF-8 and
    // not empty.
    (!suffix.is_empty()).then(|| unsafe { OsStr::from_encoded_bytes_unchecked(rest) })
}
