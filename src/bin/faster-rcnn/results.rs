//! Detections in the forms of other programs.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Result;
use faster_rcnn::Error;
use faster_rcnn::internals::{read_text, voc_document, yolo_line};
use faster_rcnn::structures::{Annotation, Detection};
use serde::{Deserialize, Serialize};

use crate::output::to_json;
use crate::predictions::Prediction;

/// An entry of COCO's results, <https://cocodataset.org/#format-results>.
#[derive(Serialize)]
struct CocoResult {
    image_id: Id,
    category_id: i64,
    /// `[x, y, width, height]` in pixels.
    bbox: [f32; 4],
    score: f32,
}

#[derive(Serialize, Clone)]
#[serde(untagged)]
enum Id {
    Number(i64),
    Name(String),
}

/// The ids that COCO's JSON gives to images and categories.
#[derive(Deserialize)]
struct CocoIds {
    images: Vec<CocoImage>,
    categories: Vec<CocoCategory>,
}

#[derive(Deserialize)]
struct CocoImage {
    id: i64,
    file_name: String,
}

#[derive(Deserialize)]
struct CocoCategory {
    id: i64,
    name: String,
}

/// COCO's results. With COCO's JSON of the images, its ids are taken: of images by file name, of categories
/// by name. Without, the id of an image is its name without extension, as a number where it is one, and that
/// of a category is the label.
pub fn coco(predictions: &[Prediction], ids: Option<&Path>) -> Result<String, Error> {
    let known = ids.map(known_ids).transpose()?;
    let mut results = Vec::new();
    for prediction in predictions {
        let path = Path::new(prediction.image());
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let image_id = match &known {
            Some((path, images, _)) => match images.get(&*name) {
                Some(id) => Id::Number(*id),
                None => return Err(Error::file(path, format!("has no image called {name}, or several"))),
            },
            None => {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                stem.parse().map_or_else(|_| Id::Name(stem.into_owned()), Id::Number)
            }
        };
        for (found, name) in prediction.found() {
            let category_id = match (&known, name) {
                (None, _) | (Some(_), None) => found.label as i64,
                (Some((path, _, categories)), Some(name)) => *categories
                    .get(name)
                    .ok_or_else(|| Error::file(path, format!("has no category called {name}")))?,
            };
            let [x1, y1, x2, y2] = found.xyxy;
            let (image_id, bbox) = (image_id.clone(), [x1, y1, x2 - x1, y2 - y1]);
            results.push(CocoResult { image_id, category_id, bbox, score: found.score });
        }
    }
    Ok(to_json(&results))
}

type KnownIds<'a> = (&'a Path, HashMap<String, i64>, HashMap<String, i64>);

fn known_ids(path: &Path) -> Result<KnownIds<'_>, Error> {
    let ids: CocoIds = serde_json::from_str(&read_text(path)?)
        .map_err(|error| Error::file_because(path, "is not COCO's JSON", error))?;
    let mut images = HashMap::new();
    for image in ids.images {
        let name = image.file_name.rsplit('/').next().unwrap_or_default().to_string();
        // A name of several images names none.
        images.entry(name).and_modify(|id: &mut Option<i64>| *id = None).or_insert(Some(image.id));
    }
    let images = images.into_iter().filter_map(|(name, id)| Some((name, id?))).collect();
    let categories = ids.categories.into_iter().map(|category| (category.name, category.id)).collect();
    Ok((path, images, categories))
}

/// A table with a row a detection.
pub fn csv(predictions: &[Prediction]) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["image", "width", "height", "x1", "y1", "x2", "y2", "label", "name", "score"])?;
    for prediction in predictions {
        for (found, name) in prediction.found() {
            let (width, height) = prediction.size();
            let numbers = found.xyxy.map(|corner| corner.to_string());
            let [x1, y1, x2, y2] = numbers.each_ref().map(String::as_str);
            writer.write_record([
                prediction.image(),
                &width.to_string(),
                &height.to_string(),
                x1,
                y1,
                x2,
                y2,
                &found.label.to_string(),
                name.unwrap_or_default(),
                &found.score.to_string(),
            ])?;
        }
    }
    Ok(writer.into_inner()?)
}

/// YOLO's lines, with the score as the last field, as ultralytics writes them with `save_conf`.
pub fn yolo(prediction: &Prediction) -> String {
    let (width, height) = prediction.size();
    let line = |found: Detection| yolo_line(found.xyxy, found.label, (height, width));
    prediction.found().map(|(found, _)| format!("{} {}\n", line(found), found.score)).collect()
}

/// VOC's XML, which annotation tools open.
pub fn voc(prediction: &Prediction) -> String {
    let (width, height) = prediction.size();
    let objects = prediction.found().map(|(found, name)| {
        let name = name.map_or_else(|| format!("class {}", found.label), str::to_string);
        (Annotation::new(found.xyxy, found.label), name, found.score)
    });
    let objects: Vec<_> = objects.collect();
    let objects = objects.iter().map(|(object, name, score)| (object, name.as_str(), Some(*score)));
    voc_document(prediction.image(), (height, width), &[], objects)
}
