//! Folders and names of files. Names are compared as bytes, since they need not be UTF-8.

use std::ffi::OsStr;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::data::images::EXTENSIONS;
use crate::error::{Error, Result};

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

/// The folders of a folder, without those that are hidden.
pub(super) fn sub_folders(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// All files of a folder and of the folders below it for which `is_wanted` holds, sorted, without hidden
/// ones. A link that leads back to a folder above it is not followed.
pub(super) fn files_below(folder: &Path, is_wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
    fn walk(
        folder: &Path,
        above: &mut Vec<PathBuf>,
        is_wanted: &impl Fn(&Path) -> bool,
        files: &mut Vec<PathBuf>,
    ) -> Result<()> {
        let real = fs::canonicalize(folder).map_err(Error::io(folder))?;
        if above.contains(&real) {
            return Ok(());
        }
        above.push(real);
        for path in entries(folder)? {
            if path.is_dir() {
                walk(&path, above, is_wanted, files)?;
            } else if is_wanted(&path) {
                files.push(path);
            }
        }
        above.pop();
        Ok(())
    }
    let mut files = Vec::new();
    walk(folder, &mut Vec::new(), &is_wanted, &mut files)?;
    Ok(files)
}

/// Whether the name ends as an image's, in small or capital letters.
pub(super) fn is_image(path: &Path) -> bool {
    EXTENSIONS.iter().any(|extension| has_extension(path, extension))
}

/// Whether the name has this extension, in small or capital letters.
pub(super) fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().and_then(OsStr::to_str).is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

/// The first file with this stem and the extension of an image.
pub(super) fn image_with_stem(folder: &Path, stem: &OsStr) -> Option<PathBuf> {
    let files = entries(folder).ok()?;
    files.into_iter().find(|path| path.file_stem() == Some(stem) && is_image(path))
}

/// Whether the last part of the path begins with `prefix`.
pub(super) fn starts_with(path: &Path, prefix: &str) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
}

/// A path with an extension added; dots in its name stay.
pub(super) fn with_extension_added(path: &Path, extension: impl AsRef<OsStr>) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".");
    name.push(extension);
    name.into()
}

/// A path of a data set as the name of an image: relative to `folder`, with `/` between its parts. Bytes that
/// are no UTF-8 become `\u{FFFD}`.
pub(super) fn name_below(folder: &Path, path: &Path) -> String {
    let relative = path.strip_prefix(folder).unwrap_or(path);
    let parts = relative.components().map(|part| part.as_os_str().to_string_lossy());
    parts.collect::<Vec<_>>().join("/")
}

/// The path that a file of a data set means by `relative`.
///
/// # Errors
///
/// A message, where the path is empty or leaves the folder. Data sets come from strangers.
pub(super) fn path_below(folder: &Path, relative: impl AsRef<Path>) -> Result<PathBuf, String> {
    let relative = relative.as_ref();
    let fail = |what: &str| Err(format!("the path `{}` {what}", relative.display()));
    let (mut path, mut depth) = (folder.to_path_buf(), 0);
    for part in relative.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => {
                path.push(name);
                depth += 1;
            }
            Component::ParentDir if depth > 0 => {
                path.pop();
                depth -= 1;
            }
            _ => return fail("leaves the folder of the data set"),
        }
    }
    if depth == 0 || relative.as_os_str().as_encoded_bytes().contains(&0) {
        return fail("names no file");
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_their_folder() {
        let folder = Path::new("data");
        for (relative, expected) in [
            ("a.jpg", "data/a.jpg"),
            ("./a/b c.jpg", "data/a/b c.jpg"),
            ("a/../b.jpg", "data/b.jpg"),
            ("..a.jpg", "data/..a.jpg"),
        ] {
            assert_eq!(path_below(folder, relative).unwrap(), Path::new(expected));
        }
        for relative in ["../a.jpg", "a/../../b.jpg", "/etc/passwd"] {
            let error = path_below(folder, relative).unwrap_err();
            assert_eq!(error, format!("the path `{relative}` leaves the folder of the data set"));
        }
        for relative in ["", ".", "a/..", "a\0b"] {
            assert!(path_below(folder, relative).unwrap_err().ends_with("names no file"));
        }
        assert_eq!(name_below(folder, Path::new("data/a/b.jpg")), "a/b.jpg");
    }
}
