//! From COCO's files to records.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use rayon::prelude::*;

use super::files::{files_of, image_folder, root_of, side_of};
use super::json::{File, Image, Object};
use crate::data::dataset::{Dataset, Record};
use crate::data::formats::files::path_below;
use crate::data::objects::{Place, objects};
use crate::data::report::Report;
use crate::error::{Error, Result};
use crate::structures::Annotation;
use crate::text::read_bytes;

/// Images by which the folder is found.
const PROBED: usize = 16;

/// All images of a JSON file, or of a folder's.
pub(in crate::data::formats) fn read(path: &Path, report: &mut Report) -> Result<Dataset> {
    let mut data = Dataset::default();
    let mut first: Option<std::path::PathBuf> = None;
    for file in files_of(path)? {
        let part = read_file(&file, report)?;
        match &first {
            None => data.class_names = part.class_names,
            Some(other) if part.class_names != data.class_names => {
                let message = format!("its categories are not those of {}", other.display());
                return Err(Error::file(&file, message));
            }
            Some(_) => {}
        }
        data.records.extend(part.records);
        first.get_or_insert(file);
    }
    Ok(data)
}

fn read_file(path: &Path, report: &mut Report) -> Result<Dataset> {
    let bytes = read_bytes(path)?;
    let file: File<'_> = serde_json::from_slice(&bytes)
        .map_err(|error| Error::file_because(path, "is not COCO's JSON", error))?;
    let (labels, class_names) = classes(path, &file)?;
    let by_image = by_image(path, &file, report);

    let root = root_of(path);
    let first: Vec<&str> = file.images.iter().take(PROBED).map(|image| &*image.file_name).collect();
    let folder = image_folder(path, &root, &first);
    let side = side_of(path);
    let read = |(image, annotated): (&Image<'_>, &Vec<usize>)| {
        let mut report = Report::default();
        let parsed =
            annotated.iter().filter_map(|index| parse(path, &file.annotations[*index], &labels, &mut report));
        let parsed: Vec<_> = parsed.collect();
        let annotations = objects(path, (image.height, image.width), parsed, &mut report);
        let record = record(image, &root, &folder).map_err(|message| {
            report.fault(Error::file(path, format!("image {}: {message}", image.id)));
        });
        let record = record.ok().map(|record| Record { annotations, side, ..record });
        (record, report)
    };
    let read: Vec<_> = file.images.par_iter().zip(&by_image).map(read).collect();
    let mut records = Vec::with_capacity(read.len());
    for (record, found) in read {
        records.extend(record);
        report.append(found);
    }
    Ok(Dataset::new(records, class_names))
}

/// Labels by category, and what they are called: class 1 is the category with the lowest id.
fn classes(path: &Path, file: &File<'_>) -> Result<(HashMap<i64, usize>, Vec<String>)> {
    let mut categories: Vec<_> = file.categories.iter().collect();
    categories.sort_by_key(|category| category.id);
    if let Some(pair) = categories.windows(2).find(|pair| pair[0].id == pair[1].id) {
        return Err(Error::file(path, format!("two categories have the id {}", pair[0].id)));
    }
    let labels = categories.iter().enumerate().map(|(index, category)| (category.id, index + 1)).collect();
    Ok((labels, categories.iter().map(|category| category.name.to_string()).collect()))
}

/// The annotations of each image, by their position in the file.
fn by_image(path: &Path, file: &File<'_>, report: &mut Report) -> Vec<Vec<usize>> {
    let mut positions = HashMap::with_capacity(file.images.len());
    for (position, image) in file.images.iter().enumerate() {
        if positions.insert(image.id, position).is_some() {
            report.fault(Error::file(path, format!("two images have the id {}", image.id)));
        }
    }
    let mut by_image = vec![Vec::new(); file.images.len()];
    for (index, object) in file.annotations.iter().enumerate() {
        match positions.get(&object.image_id) {
            Some(position) => by_image[*position].push(index),
            None => {
                let message = format!("image {} is not among the file's images", object.image_id);
                report.fault(Place::Annotation(object.id).error(path, message));
            }
        }
    }
    by_image
}

/// An object, or what is wrong with it; none for a box without area, which COCO itself has some of.
fn parse(
    path: &Path,
    object: &Object,
    labels: &HashMap<i64, usize>,
    report: &mut Report,
) -> Option<(Place, Result<Annotation, String>)> {
    let place = Place::Annotation(object.id);
    let fail = |message: String| Some((place, Err(message)));
    let Some(&label) = labels.get(&object.category_id) else {
        return fail(format!("category {} is not among the file's categories", object.category_id));
    };
    let Some([x, y, width, height]) = object.bbox else { return fail("has no `bbox`".to_string()) };
    if width == 0.0 || height == 0.0 {
        report.warn(place.error(path, format!("left out: its box is {width} wide and {height} high")));
        return None;
    }
    if object.area.is_some_and(|area| area < 0.0) {
        return fail(format!("area {} is negative", object.area.unwrap_or_default()));
    }
    let annotation = Annotation {
        crowd: object.iscrowd.0,
        difficult: object.ignore.0,
        area: object.area.map(|area| area as f32),
        ..Annotation::new([x, y, x + width, y + height].map(|corner| corner as f32), label)
    };
    Some((place, Ok(annotation)))
}

/// An image without its objects; the error is a message.
fn record(image: &Image<'_>, root: &Path, folder: &Path) -> Result<Record, String> {
    let path = path_below(folder, &*image.file_name)?;
    if image.width == 0 || image.height == 0 {
        return Err(format!("a size of {} x {} has no pixels", image.width, image.height));
    }
    // Found now rather than in the middle of a run.
    if !fs::metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
        return Err(format!("there is no file {}", path.display()));
    }
    let record = Record::new(path, (image.height, image.width), Vec::new()).with_name(&*image.file_name);
    let reference = image.reference.as_deref().map(|reference| path_below(root, reference)).transpose()?;
    Ok(Record {
        reference: reference.map(Into::into),
        group: image.group.as_deref().map(str::to_string),
        ..record
    })
}
