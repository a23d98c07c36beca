//! From YOLO's files to records.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::beside::beside;
use super::labels::read_labels;
use super::yaml::{Description, parse};
use crate::data::dataset::{Dataset, Record, Side};
use crate::data::formats::classes;
use crate::data::formats::files::{entries, files_below, has_extension, is_image, name_below, path_below};
use crate::data::images::image_size;
use crate::data::report::Report;
use crate::error::{Error, Result};
use crate::text::read_text;

const SIDES: [Side; 3] = [Side::Train, Side::Validation, Side::Test];

/// Whether a data set in this format is here.
pub(in crate::data::formats) fn is_yolo(path: &Path) -> bool {
    if path.is_file() {
        return is_yaml(path);
    }
    matches!(description_of(path), Ok(Some(_)))
        || (path.join("images").is_dir() && path.join("labels").is_dir())
}

fn is_yaml(path: &Path) -> bool {
    has_extension(path, "yaml") || has_extension(path, "yml")
}

/// The description in a folder: `data.yaml` or the only other YAML file.
fn description_of(folder: &Path) -> Result<Option<PathBuf>> {
    let mut files: Vec<PathBuf> =
        entries(folder)?.into_iter().filter(|path| path.is_file() && is_yaml(path)).collect();
    match files.iter().position(|file| file.file_stem().is_some_and(|stem| stem == "data")) {
        Some(index) => Ok(Some(files.swap_remove(index))),
        None if files.len() > 1 => Err(Error::file(folder, "holds several YAML files: name one of them")),
        None => Ok(files.pop()),
    }
}

/// An image that was found, and what it is for.
struct Found {
    image: PathBuf,
    name: String,
    side: Option<Side>,
}

/// All images; `path` is the folder or its description.
pub(in crate::data::formats) fn read(path: &Path, report: &mut Report) -> Result<Dataset> {
    let description = if path.is_file() { Some(path.to_path_buf()) } else { description_of(path)? };
    let (root, class_names, found) = match description {
        Some(file) => {
            let description = parse(&file)?;
            let folder = file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
            let root = data_folder(folder, description.path.as_deref());
            let found = described(&file, folder, &root, &description, report)?;
            (root, description.names, found)
        }
        None => {
            let class_names = [path.to_path_buf(), path.join("labels")]
                .iter()
                .find_map(|folder| classes::read(folder).transpose());
            let class_names = class_names.transpose()?.ok_or_else(|| {
                Error::file(path, "names no classes: expected a `data.yaml` or a `classes.txt`")
            })?;
            (path.to_path_buf(), class_names, found_below(&path.join("images"), None)?)
        }
    };
    if found.is_empty() && report.faults.is_empty() {
        return Err(Error::file(path, "holds no images"));
    }
    let read = |found: &Found| {
        let mut report = Report::default();
        (record(&root, found, class_names.len(), &mut report), report)
    };
    let read: Vec<_> = found.par_iter().map(read).collect();
    let mut records = Vec::new();
    for (record, faults) in read {
        records.extend(record);
        report.append(faults);
    }
    warn_of_labels(&root, &found, report)?;
    Ok(Dataset::new(records, class_names))
}

/// Where the paths of a description begin. Its `path` often names a folder of another machine, so it counts
/// only where it is below the description's own.
fn data_folder(folder: &Path, path: Option<&str>) -> PathBuf {
    let below = path.and_then(|path| path_below(folder, path).ok()).filter(|path| path.is_dir());
    below.unwrap_or_else(|| folder.to_path_buf())
}

/// The images that a description names.
fn described(
    file: &Path,
    folder: &Path,
    root: &Path,
    description: &Description,
    report: &mut Report,
) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for (places, side) in description.places.iter().zip(SIDES) {
        for place in places {
            let Some(path) = resolve(folder, root, place).map_err(|message| Error::file(file, message))?
            else {
                report.fault(Error::file(file, format!("there is no folder or list `{place}`")));
                continue;
            };
            let mut part = if path.is_dir() {
                found_below(&path, Some(side))?
            } else {
                listed(&path, root, side, report)?
            };
            if places.len() > 1 {
                // Two folders may have images of the same name.
                part.iter_mut().for_each(|found| found.name = name_below(root, &found.image));
            }
            found.append(&mut part);
        }
    }
    Ok(found)
}

/// A path of a description that is there.
fn resolve(folder: &Path, root: &Path, place: &str) -> Result<Option<PathBuf>, String> {
    let mut inner = place;
    while let Some(rest) = inner.strip_prefix("../").or_else(|| inner.strip_prefix("./")) {
        inner = rest;
    }
    let whole =
        if Path::new(place).is_absolute() { within(folder, place)? } else { path_below(root, inner)? };
    let other = path_below(folder, inner).ok();
    Ok([Some(whole), other].into_iter().flatten().find(|path| path.exists()))
}

/// An absolute path, where it leads into the folder.
fn within(folder: &Path, place: &str) -> Result<PathBuf, String> {
    let leaves = || format!("the path `{place}` leaves the folder of the data set");
    let real = fs::canonicalize(folder).map_err(|_| leaves())?;
    let relative = Path::new(place).strip_prefix(&real).map_err(|_| leaves())?;
    path_below(folder, relative)
}

fn found_below(folder: &Path, side: Option<Side>) -> Result<Vec<Found>> {
    let images = files_below(folder, is_image)?.into_iter();
    Ok(images.map(|image| Found { name: name_below(folder, &image), image, side }).collect())
}

/// The images in a list, a path a line: from the data set's folder, or `./` from the list's own.
fn listed(list: &Path, root: &Path, side: Side, report: &mut Report) -> Result<Vec<Found>> {
    let folder = list.parent().unwrap_or(root);
    let text = read_text(list)?;
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let fault = match resolve(root, if line.starts_with("./") { folder } else { root }, line) {
            Ok(Some(image)) => {
                found.push(Found { name: name_below(root, &image), image, side: Some(side) });
                continue;
            }
            Ok(None) => format!("there is no image `{line}`"),
            Err(message) => message,
        };
        report.fault(Error::line(list, index + 1, fault));
    }
    Ok(found)
}

fn record(root: &Path, found: &Found, classes: usize, report: &mut Report) -> Option<Record> {
    let size = report.take(image_size(&found.image))?;
    let labels = file_of(root, &found.image, "labels").with_extension("txt");
    let annotations = read_labels(&labels, size, classes, report);
    let annotations = report.take(annotations)?;
    let reference =
        Some(file_of(root, &found.image, "references")).filter(|path| *path != found.image && path.is_file());
    let record = Record::new(found.image.as_path(), size, annotations).with_name(&*found.name);
    Some(Record { reference: reference.map(Into::into), side: found.side, ..record })
}

/// A file that belongs to an image: in another folder than `images`.
fn file_of(root: &Path, image: &Path, folder: &str) -> PathBuf {
    // Names that are no UTF-8 have no labels.
    root.join(beside(&name_below(root, image), folder))
}

/// Warns of label files without an image, and where no image at all has one.
fn warn_of_labels(root: &Path, found: &[Found], report: &mut Report) -> Result<()> {
    let labels: BTreeSet<PathBuf> =
        found.iter().map(|found| file_of(root, &found.image, "labels").with_extension("txt")).collect();
    let folders: BTreeSet<PathBuf> = labels
        .iter()
        .filter_map(|path| path.parent())
        .filter(|folder| folder.is_dir())
        .map(Into::into)
        .collect();
    let mut has_labels = false;
    for folder in folders {
        for file in entries(&folder)?.into_iter().filter(|path| has_extension(path, "txt")) {
            if labels.contains(&file) {
                has_labels = true;
            } else if file.file_name().is_some_and(|name| name != "classes.txt") {
                report.warn(Error::file(file, "left out: no image belongs to it"));
            }
        }
    }
    if !has_labels && !found.is_empty() {
        report.warn(Error::file(root, "no image has a label file"));
    }
    Ok(())
}
