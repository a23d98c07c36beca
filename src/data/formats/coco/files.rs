//! Which files of a folder are COCO's, what they are for and where their images are.

use std::path::{Path, PathBuf};

use crate::data::dataset::Side;
use crate::data::formats::files::{entries, has_extension, sub_folders};
use crate::error::{Error, Result};

const ROBOFLOW: &str = "_annotations.coco.json";

/// Whether a data set in this format is here.
pub(in crate::data::formats) fn is_coco(path: &Path) -> bool {
    if path.is_file() {
        has_extension(path, "json")
    } else {
        !json_files(path).unwrap_or_default().is_empty()
    }
}

/// The files of a data set: the path itself, or those of a folder.
pub(super) fn files_of(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let files = json_files(path)?;
    if files.is_empty() {
        return Err(Error::file(path, "holds no COCO data set: expected `annotations/instances_*.json`"));
    }
    Ok(files)
}

/// Of `annotations`, or else of the folder itself, those called `instances_*.json`, or else all; or else
/// Roboflow's.
fn json_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let annotations = folder.join("annotations");
    for place in [annotations.as_path(), folder] {
        if !place.is_dir() {
            continue;
        }
        let is_json = |path: &PathBuf| has_extension(path, "json") && path.is_file();
        let all: Vec<PathBuf> = entries(place)?.into_iter().filter(is_json).collect();
        let is_instances = |path: &&PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("instances"))
        };
        let instances: Vec<PathBuf> = all.iter().filter(is_instances).cloned().collect();
        if !all.is_empty() {
            return Ok(if instances.is_empty() { all } else { instances });
        }
    }
    let sides = sub_folders(folder)?.into_iter().map(|side| side.join(ROBOFLOW));
    Ok(sides.filter(|file| file.is_file()).collect())
}

/// What a file says of itself by its name, or of Roboflow's by its folder's.
fn words(file: &Path) -> String {
    let named = if file.ends_with(ROBOFLOW) { file.parent().unwrap_or(file) } else { file };
    let stem = named.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    stem.strip_prefix("instances_").map(str::to_string).unwrap_or(stem)
}

/// What the images of a file are for.
pub(super) fn side_of(file: &Path) -> Option<Side> {
    let words = words(file).to_lowercase();
    let side = |word: &str| match word {
        "train" | "trainval" | "training" => Some(Side::Train),
        "val" | "valid" | "validation" => Some(Side::Validation),
        "test" | "testing" => Some(Side::Test),
        _ => None,
    };
    words.split(|character: char| !character.is_ascii_alphabetic()).find_map(side)
}

/// The folder of the data set: where the paths of references begin, and which no path leaves.
pub(super) fn root_of(file: &Path) -> PathBuf {
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    match folder.parent() {
        Some(above) if folder.ends_with("annotations") => {
            if above == Path::new("") {
                PathBuf::from(".")
            } else {
                above.to_path_buf()
            }
        }
        _ => folder.to_path_buf(),
    }
}

/// The folder that the first images of a file are in.
pub(super) fn image_folder(file: &Path, root: &Path, first_images: &[&str]) -> PathBuf {
    let words = words(file);
    let beside = file.parent().unwrap_or(root);
    let candidates = [
        root.join("images").join(&words),
        root.join(&words),
        root.join("images"),
        beside.join("images"),
        root.to_path_buf(),
        beside.to_path_buf(),
    ];
    let holds = |folder: &&PathBuf| first_images.iter().any(|image| folder.join(image).is_file());
    candidates
        .iter()
        .find(holds)
        .or(candidates.iter().find(|folder| folder.is_dir()))
        .unwrap_or(&candidates[4])
        .clone()
}
