//! The images that a command is given: files, folders, patterns and lists.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use faster_rcnn::Error;
use faster_rcnn::internals::{image_files, read_text};

/// The images, in the order in which they are named; those of a folder or a pattern are sorted.
///
/// A folder stands for all images in it and in the folders below. A name with `*`, `?` or `[` that is no
/// file is a pattern; `**` stands for any folders. A list has a path a line, from the list's own folder.
pub fn images(named: &[PathBuf], list: Option<&Path>) -> Result<Vec<PathBuf>> {
    let mut images = Vec::new();
    for path in named {
        if path.is_dir() {
            let files = image_files(path)?;
            if files.is_empty() {
                bail!("{}: holds no images", path.display());
            }
            images.extend(files);
        } else if let Some(pattern) = pattern(path) {
            images.extend(matching(pattern)?);
        } else {
            images.push(path.clone());
        }
    }
    if let Some(list) = list {
        images.extend(listed(list)?);
    }
    Ok(images)
}

/// The path as a pattern, where it is one and no file is called so.
fn pattern(path: &Path) -> Option<&str> {
    let text = path.to_str()?;
    (text.contains(['*', '?', '[']) && fs::symlink_metadata(path).is_err()).then_some(text)
}

fn matching(pattern: &str) -> Result<Vec<PathBuf>> {
    let paths = glob::glob(pattern).with_context(|| format!("{pattern}: is no pattern"))?;
    let paths = paths.collect::<Result<Vec<_>, _>>()?;
    let files: Vec<PathBuf> = paths.into_iter().filter(|path| path.is_file()).collect();
    if files.is_empty() {
        bail!("{pattern}: no file has such a name");
    }
    Ok(files)
}

fn listed(list: &Path) -> Result<Vec<PathBuf>, Error> {
    let text = read_text(list)?;
    let folder = list.parent().unwrap_or(Path::new(""));
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let images: Vec<PathBuf> = lines.map(|line| folder.join(line)).collect();
    if images.is_empty() {
        return Err(Error::file(list, "lists no images"));
    }
    Ok(images)
}
