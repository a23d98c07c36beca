//! An image that shows whether a version still does what it did when it was registered.

use std::fmt;
use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageFormat, RgbImage};
use serde::{Deserialize, Serialize};

use crate::data::{SyntheticConfig, board, load_image};
use crate::error::{Error, Result};
use crate::files::write_new;
use crate::model::FasterRcnnConfig;
use crate::predict::Predictor;
use crate::structures::{Detection, ReferenceInput, Xyxy};

/// File names in the folder of a version.
pub(super) const SAMPLE_IMAGE: &str = "sample.png";
pub(super) const SAMPLE_REFERENCE: &str = "sample_reference.png";

/// Boxes may differ by this many pixels from those on record, and scores by this much. Another instruction
/// set rounds sums differently: it moves boxes by about 0.001 pixels and scores by 0.00001. Other weights or
/// other settings move them by far more.
const BOX_TOLERANCE: f32 = 0.1;
const SCORE_TOLERANCE: f32 = 0.001;

/// The score threshold where a detector finds nothing at its own one.
const LOW_SCORE: f32 = 0.005;

/// The pixels of a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleImages {
    /// The image.
    pub image: RgbImage,
    /// The reference, for a detector that takes one.
    pub reference: Option<RgbImage>,
}

/// What a detector finds in its sample: by falling score, on the CPU, with the weights' own settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The score threshold, where it is lower than that of the weights, at which nothing was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_threshold: Option<f32>,
    /// Expected detections.
    pub detections: Vec<SampleDetection>,
}

/// An expected detection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleDetection {
    /// `[x1, y1, x2, y2]` in pixels of the sample.
    #[serde(rename = "box")]
    pub xyxy: Xyxy,
    /// Class, counted from 1.
    pub label: usize,
    /// What the class is called, where the weights say it.
    pub name: Option<String>,
    /// In 0..=1.
    pub score: f32,
}

/// A detection that has no counterpart.
#[derive(Debug, Clone, PartialEq)]
pub enum SampleDifference {
    /// It is expected, and not found.
    Missing(Detection),
    /// It is found, and not expected.
    Unexpected(Detection),
}

impl SampleImages {
    /// Of image files.
    ///
    /// # Errors
    ///
    /// As [`load_image`].
    pub fn load(image: &Path, reference: Option<&Path>) -> Result<Self> {
        let reference = reference.map(load_image).transpose()?;
        Ok(Self { image: load_image(image)?, reference })
    }

    /// A made-up board, as large as the detector sees images.
    pub(super) fn synthetic(config: &FasterRcnnConfig) -> Self {
        let size = config.transform.min_size.clamp(128, 640);
        let (board, template, _) = board(&SyntheticConfig { size, seed: 0 }, 0);
        let rgb = |image| DynamicImage::ImageLuma8(image).into_rgb8();
        let reference = (config.reference != ReferenceInput::None).then(|| rgb(template));
        Self { image: rgb(board), reference }
    }

    /// Writes the files into the folder of a version.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let images = [(SAMPLE_IMAGE, Some(&self.image)), (SAMPLE_REFERENCE, self.reference.as_ref())];
        for (name, image) in images.into_iter().filter_map(|(name, image)| Some((name, image?))) {
            let path = folder.join(name);
            let mut png = Cursor::new(Vec::new());
            image.write_to(&mut png, ImageFormat::Png).map_err(Error::image(&path))?;
            write_new(&path, &png.into_inner())?;
        }
        Ok(())
    }

    /// Reads the files in the folder of a version.
    ///
    /// # Errors
    ///
    /// As [`load_image`].
    pub fn read(folder: &Path) -> Result<Self> {
        let reference = folder.join(SAMPLE_REFERENCE);
        Self::load(&folder.join(SAMPLE_IMAGE), reference.exists().then_some(reference.as_path()))
    }

    /// What a detector finds.
    fn detect(&self, predictor: &Predictor) -> Result<Vec<Detection>> {
        match &self.reference {
            None => predictor.detect(&self.image),
            Some(reference) => predictor.detect_against(&self.image, reference),
        }
    }
}

impl Sample {
    /// What a detector finds now; if that is nothing, what it finds at a low score threshold.
    ///
    /// # Errors
    ///
    /// As [`Predictor::detect_against`]: a detector that takes a reference needs one, others take none.
    pub(super) fn new(images: &SampleImages, predictor: &Predictor) -> Result<Self> {
        let (mut detections, mut score_threshold) = (images.detect(predictor)?, None);
        if detections.is_empty() && predictor.config().roi_heads.score_thresh > LOW_SCORE {
            score_threshold = Some(LOW_SCORE);
            detections = images.detect(&predictor.with_score_thresh(LOW_SCORE)?)?;
        }
        let expected = |&Detection { xyxy, label, score }: &Detection| SampleDetection {
            xyxy,
            label,
            name: predictor.class_name(label).map(str::to_string),
            score,
        };
        Ok(Self { score_threshold, detections: detections.iter().map(expected).collect() })
    }

    /// Lets a detector look at the images again. Gives the detections without a counterpart: one of the same
    /// class, with a box that differs by up to 0.1 pixels and a score that differs by up to 0.001.
    ///
    /// Detections close to the lowest score that is kept, that of the threshold or of the number of
    /// detections, may be on one side only.
    ///
    /// # Errors
    ///
    /// As [`Predictor::detect_against`]: a detector that takes a reference needs one, others take none.
    pub fn verify(&self, images: &SampleImages, predictor: &Predictor) -> Result<Vec<SampleDifference>> {
        match self.score_threshold {
            None => Ok(self.differences(&images.detect(predictor)?, predictor.config())),
            Some(threshold) => {
                let predictor = predictor.with_score_thresh(threshold)?;
                Ok(self.differences(&images.detect(&predictor)?, predictor.config()))
            }
        }
    }

    fn differences(&self, found: &[Detection], config: &FasterRcnnConfig) -> Vec<SampleDifference> {
        let expected: Vec<Detection> = self
            .detections
            .iter()
            .map(|&SampleDetection { xyxy, label, score, .. }| Detection { xyxy, label, score })
            .collect();
        let heads = &config.roi_heads;
        let lowest = |detections: &[Detection]| match detections.last() {
            Some(last) if detections.len() >= heads.detections_per_img => last.score,
            _ => heads.score_thresh,
        };
        let counted = lowest(&expected).max(lowest(found)) + SCORE_TOLERANCE;

        let mut free: Vec<&Detection> = found.iter().collect();
        let mut differences = Vec::new();
        for wanted in &expected {
            match free.iter().position(|found| is_same(wanted, found)) {
                Some(index) => {
                    free.remove(index);
                }
                None if wanted.score > counted => differences.push(SampleDifference::Missing(*wanted)),
                None => {}
            }
        }
        let unexpected = free.into_iter().filter(|found| found.score > counted);
        differences.extend(unexpected.map(|found| SampleDifference::Unexpected(*found)));
        differences
    }
}

fn is_same(one: &Detection, other: &Detection) -> bool {
    one.label == other.label
        && (one.score - other.score).abs() <= SCORE_TOLERANCE
        && one.xyxy.iter().zip(other.xyxy).all(|(a, b)| (a - b).abs() <= BOX_TOLERANCE)
}

impl fmt::Display for SampleDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, Detection { xyxy, label, score }) = match self {
            Self::Missing(detection) => ("expected and not found", detection),
            Self::Unexpected(detection) => ("found and not expected", detection),
        };
        write!(f, "{what}: label {label}, box {xyxy:.1?}, score {score:.4}")
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn sample(detections: &[Detection]) -> Sample {
        let expected = |&Detection { xyxy, label, score }: &Detection| SampleDetection {
            xyxy,
            label,
            name: None,
            score,
        };
        Sample { score_threshold: None, detections: detections.iter().map(expected).collect() }
    }

    #[test]
    fn a_detector_that_finds_nothing_is_asked_for_less_likely_detections() {
        let config = FasterRcnnConfig::tiny(3).with_score_thresh(0.99);
        let predictor = Predictor::new(config.init(&Device::flex()));
        let images = SampleImages::synthetic(predictor.config());
        assert_eq!(images.detect(&predictor).unwrap(), []);
        let sample = Sample::new(&images, &predictor).unwrap();
        assert_eq!(sample.score_threshold, Some(LOW_SCORE));
        assert!(!sample.detections.is_empty());
        assert_eq!(sample.verify(&images, &predictor).unwrap(), []);
        let json = serde_json::to_string(&sample).unwrap();
        assert_eq!(serde_json::from_str::<Sample>(&json).unwrap(), sample);
    }

    #[test]
    fn detections_are_compared_within_the_tolerance_and_above_the_lowest_score() {
        let config = FasterRcnnConfig::tiny(3);
        let at = |x: f32, label, score| Detection { xyxy: [x, 0.0, x + 10.0, 10.0], label, score };
        let expected = sample(&[at(0.0, 1, 0.9), at(50.0, 2, 0.5), at(90.0, 1, 0.0505)]);
        let same = [at(50.05, 2, 0.5009), at(0.0, 1, 0.9)];
        assert_eq!(expected.differences(&same, &config), []);
        for (found, what) in [
            ([at(0.2, 1, 0.9), at(50.0, 2, 0.5)], "expected and not found: label 1, box [0.0"),
            ([at(0.0, 1, 0.9), at(50.0, 1, 0.5)], "expected and not found: label 2"),
            ([at(0.0, 1, 0.9), at(50.0, 2, 0.502)], "expected and not found: label 2"),
        ] {
            let differences = expected.differences(&found, &config);
            assert_eq!(differences.len(), 2, "{differences:?}");
            assert!(differences[0].to_string().starts_with(what), "{}", differences[0]);
        }
        let more = [same.as_slice(), &[at(20.0, 1, 0.3)]].concat();
        assert_eq!(expected.differences(&more, &config), [SampleDifference::Unexpected(at(20.0, 1, 0.3))]);
    }
}
