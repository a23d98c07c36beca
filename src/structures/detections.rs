//! What is known of an image (annotations) and what the model says of it (detections).

use serde::{Deserialize, Serialize};

use super::Xyxy;

/// One labelled object of an image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Annotation {
    /// Box in pixels of the image it belongs to.
    pub xyxy: Xyxy,
    /// Class, counted from 1; 0 is the background.
    pub label: usize,
    /// COCO's `iscrowd`: a region of many objects, left out of training, neither hit nor miss in evaluation.
    #[serde(default)]
    pub crowd: bool,
    /// VOC's `difficult`: an object that is hard to see, left out of training, neither hit nor miss in
    /// evaluation.
    #[serde(default)]
    pub difficult: bool,
    /// COCO's `area` in square pixels: that of the object's mask, smaller than its box's. None where the data
    /// set has none. COCO's metric sorts objects by it into small, medium and large ones.
    #[serde(default)]
    pub area: Option<f32>,
}

impl Annotation {
    /// A single object, neither a crowd nor difficult, without an area of its own.
    pub fn new(xyxy: Xyxy, label: usize) -> Self {
        Self { xyxy, label, crowd: false, difficult: false, area: None }
    }

    /// Whether it is left out of training and neither hit nor miss in evaluation.
    pub fn is_ignored(&self) -> bool {
        self.crowd || self.difficult
    }
}

/// One object found in an image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Box in pixels of the original image.
    pub xyxy: Xyxy,
    /// Class, counted from 1.
    pub label: usize,
    /// Confidence in `0..=1`.
    pub score: f32,
}
