//! The folders of DeepPCB's layout: which boards they hold, and which of their files are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::board::Board;
use super::files::{board_name, is_template, joined, strip_suffix};
use crate::data::formats::files::{entries, is_image, starts_with, sub_folders};
use crate::data::images::EXTENSIONS;
use crate::error::{Error, Result};

/// Labels of the images in the folder `X` are in `X_not`.
const LABEL_FOLDER: &str = "_not";

/// The boards of all `group*/X` folders with their label files in `group*/X_not`, sorted.
pub(super) fn walk(root: &Path) -> Result<Vec<Board>> {
    let mut boards = Vec::new();
    for folder in image_folders(root)? {
        let label_folder =
            folder.with_file_name(joined(folder.file_name().unwrap_or_default(), LABEL_FOLDER));
        // Of several images with one name, those with `_test` come first.
        let mut images: BTreeMap<OsString, (bool, PathBuf)> = BTreeMap::new();
        for image in entries(&folder)? {
            let Some(name) = board_name(&image) else { continue };
            let is_test = image.file_stem() != Some(name.as_os_str());
            let taken = images.get(&name).is_some_and(|(taken_is_test, _)| *taken_is_test || !is_test);
            if !taken {
                images.insert(name, (is_test, image));
            }
        }
        boards.extend(images.into_iter().map(|(name, (_, image))| Board {
            image,
            labels: label_folder.join(joined(&name, ".txt")),
            listed: None,
            side: None,
        }));
    }
    if boards.is_empty() {
        return Err(Error::file(
            root,
            "holds no images: expected `group*/X/NAME_test.jpg` as in DeepPCB's PCBData",
        ));
    }
    Ok(boards)
}

/// A message for each file of the data set's folders that is no part of `boards`, and for each image in other
/// folders.
pub(super) fn left_out(root: &Path, boards: &[&Board]) -> Result<Vec<Error>> {
    let images: BTreeSet<&Path> = boards.iter().map(|board| board.image.as_path()).collect();
    let labels: BTreeSet<&Path> = boards.iter().map(|board| board.labels.as_path()).collect();
    let mut folders: BTreeSet<PathBuf> =
        images.iter().chain(&labels).filter_map(|path| path.parent()).map(Into::into).collect();
    for group in groups(root)? {
        folders.extend(sub_folders(&group)?);
    }
    let mut left_out = Vec::new();
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        for path in entries(folder)?.iter().filter(|path| path.is_file()) {
            if images.contains(path.as_path()) || labels.contains(path.as_path()) || is_template(path) {
                continue;
            }
            let reason = if is_image(path) {
                "left out: no list names it, or another image has its labels".to_string()
            } else if is_label_folder(folder) {
                "left out: no image belongs to it".to_string()
            } else {
                format!("left out: images are called {}", EXTENSIONS.map(|end| format!(".{end}")).join(", "))
            };
            left_out.push(Error::file(path, reason));
        }
    }
    for folder in two_levels(root).difference(&folders) {
        // A folder that cannot be read is none of the data set's.
        let files = entries(folder).unwrap_or_default();
        for image in files.iter().filter(|path| path.is_file() && is_image(path) && !is_template(path)) {
            let reason = "left out: no list names it, and it is not in a folder `group*/X`";
            left_out.push(Error::file(image, reason));
        }
    }
    Ok(left_out)
}

/// The root, its folders and theirs, as far as they can be read.
fn two_levels(root: &Path) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::from([root.to_path_buf()]);
    for folder in sub_folders(root).unwrap_or_default() {
        folders.extend(sub_folders(&folder).unwrap_or_default());
        folders.insert(folder);
    }
    folders
}

fn image_folders(root: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for group in groups(root)? {
        folders.extend(sub_folders(&group)?.into_iter().filter(|folder| !is_label_folder(folder)));
    }
    Ok(folders)
}

fn groups(root: &Path) -> Result<Vec<PathBuf>> {
    Ok(sub_folders(root)?.into_iter().filter(|folder| starts_with(folder, "group")).collect())
}

fn is_label_folder(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| strip_suffix(name, LABEL_FOLDER).is_some())
}
