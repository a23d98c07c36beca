//! The JSON of `faster-rcnn predict`, which `faster-rcnn evaluate` reads.

use std::collections::HashMap;
use std::path::Path;

use faster_rcnn::data::{Dataset, Record};
use faster_rcnn::eval::ImageResult;
use faster_rcnn::internals::read_text;
#[cfg(feature = "records")]
use faster_rcnn::records::Inspection;
use faster_rcnn::structures::{Detection, Xyxy};
use faster_rcnn::{Error, Predictor};
use serde::{Deserialize, Serialize};

/// What was found in an image.
#[derive(Serialize, Deserialize)]
pub struct Prediction {
    /// Path of the image.
    image: String,
    /// In pixels.
    width: usize,
    /// In pixels.
    height: usize,
    detections: Vec<Found>,
}

#[derive(Serialize, Deserialize)]
struct Found {
    /// In pixels of the original image.
    #[serde(rename = "box")]
    xyxy: Xyxy,
    label: usize,
    /// What the class is called; not every detector knows.
    #[serde(default)]
    name: Option<String>,
    score: f32,
}

impl Prediction {
    /// `size` is `(width, height)` of the image.
    pub fn new(image: &Path, size: (u32, u32), detections: &[Detection], predictor: &Predictor) -> Self {
        let found = |&Detection { xyxy, label, score }: &Detection| Found {
            xyxy,
            label,
            name: predictor.class_name(label).map(str::to_string),
            score,
        };
        Self {
            image: image.display().to_string(),
            width: size.0 as usize,
            height: size.1 as usize,
            detections: detections.iter().map(found).collect(),
        }
    }

    /// What the records say of an image.
    #[cfg(feature = "records")]
    pub fn of_inspection(image: &Path, inspection: &Inspection) -> Self {
        let found = inspection.detections.iter().map(|found| Found {
            xyxy: found.xyxy,
            label: found.label,
            name: found.name.clone(),
            score: found.score,
        });
        Self {
            image: image.display().to_string(),
            width: inspection.image.width as usize,
            height: inspection.image.height as usize,
            detections: found.collect(),
        }
    }

    /// Path of the image.
    pub fn image(&self) -> &str {
        &self.image
    }

    /// `(width, height)` in pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// What was found, with the names of the classes where they are known.
    pub fn found(&self) -> impl Iterator<Item = (Detection, Option<&str>)> {
        self.detections.iter().map(|found| {
            let &Found { xyxy, label, score, .. } = found;
            (Detection { xyxy, label, score }, found.name.as_deref())
        })
    }

    /// Its detections if they are possible for the image, else what is wrong with them.
    fn detections(self, record: &Record, class_names: &[String]) -> Result<Vec<Detection>, String> {
        let size = (self.height, self.width);
        if size != record.size {
            let (height, width) = record.size;
            return Err(format!(
                "is {} x {} pixels here and {width} x {height} in the data set",
                self.width, self.height
            ));
        }
        let check = |(index, found): (usize, Found)| {
            let Found { xyxy, label, name, score } = found;
            let fail = |what: String| Err(format!("detection {}: {what}", index + 1));
            let Some(class) = label.checked_sub(1).and_then(|index| class_names.get(index)) else {
                return fail(format!("label {label} is not one of 1..={}", class_names.len()));
            };
            if let Some(name) = name.filter(|name| name != class) {
                return fail(format!("label {label} is called `{name}` here and `{class}` in the data set"));
            }
            if !xyxy.iter().all(|side| side.is_finite()) || xyxy[0] >= xyxy[2] || xyxy[1] >= xyxy[3] {
                return fail(format!("box {xyxy:?} is not [x1, y1, x2, y2] with x1 < x2 and y1 < y2"));
            }
            if !(0.0..=1.0).contains(&score) {
                return fail(format!("score {score} is not in 0..=1"));
            }
            Ok(Detection { xyxy, label, score })
        };
        self.detections.into_iter().enumerate().map(check).collect()
    }
}

/// The detections of a file together with the annotations of the data set, in the order of the data set. An
/// image is known by its name in the data set, or by its file name where only one is called so. Each must be
/// there once and only once.
pub fn read(path: &Path, data: &Dataset) -> Result<Vec<ImageResult>, Error> {
    let fail = |message: String| Error::file(path, message);
    let text = read_text(path)?;
    let predictions: Vec<Prediction> = serde_json::from_str(&text)
        .map_err(|error| Error::file_because(path, "is not the JSON of detections", error))?;

    let (mut by_name, mut by_file_name) = (HashMap::new(), HashMap::<_, Vec<usize>>::new());
    for (index, record) in data.records.iter().enumerate() {
        by_name.insert(record.name.as_str(), index);
        by_file_name.entry(record.file_name()).or_default().push(index);
    }
    let mut results: Vec<Option<ImageResult>> = vec![None; data.records.len()];
    for prediction in predictions {
        let image = prediction.image.clone();
        let file_name = Path::new(&image).file_name().unwrap_or_default().to_string_lossy();
        let several = by_file_name.get(&*file_name).map_or(&[][..], Vec::as_slice);
        let index = match (by_name.get(image.as_str()), several) {
            (Some(index), _) | (None, [index]) => *index,
            (None, []) => return Err(fail(format!("image {image} is not in the data set"))),
            (None, _) => {
                let count = several.len();
                return Err(fail(format!("the data set has {count} images called {file_name}")));
            }
        };
        let record = &data.records[index];
        if results[index].is_some() {
            return Err(fail(format!("two entries are for an image called {}", record.name)));
        }
        let detections = prediction
            .detections(record, &data.class_names)
            .map_err(|message| fail(format!("image {image}: {message}")))?;
        results[index] = Some(ImageResult { annotations: record.annotations.clone(), detections });
    }
    let complete = results.into_iter().zip(&data.records).map(|(result, record)| {
        let name = &record.name;
        result.ok_or_else(|| {
            fail(format!("has no entry for image {name} (one without detections needs an empty list)"))
        })
    });
    complete.collect()
}
