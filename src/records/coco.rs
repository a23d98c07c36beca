//! Verdicts as a COCO data set to train on.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::inspection::{Inspection, Judgement};
use crate::error::Result;
use crate::structures::{Xyxy, area};

/// Takes inspections and gives the files of a data set.
pub(super) struct CocoWriter {
    class_names: Vec<String>,
    images: Vec<Value>,
    annotations: Vec<Value>,
    references: HashSet<String>,
}

impl CocoWriter {
    /// Of models whose classes have these names; more may follow in inspections.
    pub fn new(class_names: Vec<String>) -> Self {
        Self { class_names, images: Vec::new(), annotations: Vec::new(), references: HashSet::new() }
    }

    /// Gives `put` the image and the reference, and notes the rest.
    pub fn add(
        &mut self,
        inspection: &Inspection,
        image: &[u8],
        reference: Option<&[u8]>,
        put: &mut dyn FnMut(&str, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let file_name = format!("{}.{}", inspection.id, extension(image));
        put(&format!("images/{file_name}"), image)?;
        let id = self.images.len() + 1;
        let mut entry = json!({
            "id": id,
            "file_name": file_name,
            "width": inspection.image.width,
            "height": inspection.image.height,
            // An image that was inspected twice is for one side of a split only.
            "group": inspection.image.sha256,
        });
        if let (Some(stored), Some(bytes)) = (&inspection.reference, reference) {
            let path = format!("references/{}.{}", stored.sha256, extension(bytes));
            if self.references.insert(stored.sha256.clone()) {
                put(&path, bytes)?;
            }
            entry["reference"] = path.into();
        }
        self.images.push(entry);
        for found in &inspection.detections {
            match found.verdict {
                Some(Judgement::FalseCall) => {}
                Some(Judgement::Real) => self.annotate(id, found.xyxy, found.label, &found.name, false),
                None => self.annotate(id, found.xyxy, found.label, &found.name, true),
            }
        }
        for missed in &inspection.missed {
            self.annotate(id, missed.xyxy, missed.label, &missed.name, false);
        }
        Ok(())
    }

    fn annotate(&mut self, image: usize, xyxy: Xyxy, label: usize, name: &Option<String>, ignore: bool) {
        let name = name.clone().unwrap_or_else(|| format!("class {label}"));
        let known = self.class_names.iter().position(|known| *known == name);
        let category = known.unwrap_or_else(|| {
            self.class_names.push(name);
            self.class_names.len() - 1
        });
        let [x1, y1, x2, y2] = xyxy;
        let mut annotation = json!({
            "id": self.annotations.len() + 1,
            "image_id": image,
            "category_id": category + 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": area(&xyxy),
            "iscrowd": 0,
        });
        if ignore {
            annotation["ignore"] = 1.into();
        }
        self.annotations.push(annotation);
    }

    /// Gives `put` the JSON of all images, and the caller their number.
    pub fn finish(self, put: &mut dyn FnMut(&str, &[u8]) -> Result<()>) -> Result<u64> {
        let categories = self.class_names.iter().zip(1..);
        let categories: Vec<Value> = categories.map(|(name, id)| json!({"id": id, "name": name})).collect();
        let count = self.images.len() as u64;
        let json = json!({"images": self.images, "annotations": self.annotations, "categories": categories});
        put("annotations.json", json.to_string().as_bytes())?;
        Ok(count)
    }
}

/// Of an image file, from its content.
fn extension(bytes: &[u8]) -> &'static str {
    let format = image::guess_format(bytes).ok();
    format.and_then(|format| format.extensions_str().first().copied()).unwrap_or("png")
}
