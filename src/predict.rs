//! Inference: images in, [`Detection`]s out. The shell, the web and the examples all go through [`Predictor`].

use std::path::Path;

use burn::tensor::{Bool, Device, Tensor};
use image::RgbImage;

use crate::data::{Dataset, Loader};
use crate::error::{Error, Result};
use crate::eval::ImageResult;
use crate::model::Stages;
use crate::model::{FasterRcnn, FasterRcnnConfig};
use crate::structures::{Detection, Image};
use crate::weights;

/// Threads that decode the images of a data set; each is far faster than the detector.
const LOADER_THREADS: usize = 2;

/// A detector that is done with training.
///
/// Images go through it one by one, so what is found in one never depends on the others.
#[derive(Debug)]
pub struct Predictor {
    model: FasterRcnn,
}

impl Predictor {
    /// Predicts with the image size and the score threshold of the model's own settings.
    pub fn new(model: FasterRcnn) -> Self {
        Self { model: model.prepare() }
    }

    /// Reads a weight file: one of this crate's, or one of torchvision's detectors.
    ///
    /// # Errors
    ///
    /// As [`weights::load`].
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let path = path.as_ref();
        let model = weights::load(path, device)?;
        tracing::info!(path = %path.display(), classes = model.config().num_classes - 1, "read a detector");
        Ok(Self::new(model))
    }

    /// Gives detections above another score, in `0..=1`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for any other number.
    pub fn with_score_threshold(self, threshold: f32) -> Result<Self> {
        let mut config = self.config().clone();
        config.roi_heads.score_thresh = threshold;
        self.with_config(config)
    }

    /// Resizes images so that the short side has `min_size` pixels, and the long one at most `max_size`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] unless `0 < min_size <= max_size <= 16384`.
    pub fn with_image_size(self, min_size: usize, max_size: usize) -> Result<Self> {
        let config = self.config().clone().with_image_size(min_size, max_size);
        self.with_config(config)
    }

    fn with_config(self, config: FasterRcnnConfig) -> Result<Self> {
        config.validate()?;
        let model = self.model.with_transform(config.transform);
        Ok(Self::new(model.with_score_thresh(config.roi_heads.score_thresh)))
    }

    /// The detector's settings.
    pub fn config(&self) -> &FasterRcnnConfig {
        self.model.config()
    }

    /// What class `label` is called; none for the background (0), and where the weights carry no names.
    pub fn class_name(&self, label: usize) -> Option<&str> {
        self.config().class_names.get(label.checked_sub(1)?).map(String::as_str)
    }

    /// What is in the image, by falling score, in its pixels.
    ///
    /// # Errors
    ///
    /// [`Error::EmptyImage`] for an image without pixels, [`Error::NonFinite`] where the network computes a
    /// NaN or an infinity.
    pub fn detect(&self, image: &RgbImage) -> Result<Vec<Detection>> {
        let (width, height) = image.dimensions();
        if width == 0 || height == 0 {
            return Err(Error::EmptyImage { width, height });
        }
        self.run(Image::from(image))
    }

    /// What is known of and found in each image of a data set, in its order, loaded on background threads.
    ///
    /// # Errors
    ///
    /// An image's is what its loading or [`detect`](Self::detect) gives, with its name.
    pub fn results(&self, data: &Dataset) -> impl Iterator<Item = Result<ImageResult>> {
        let batches = Loader::in_order(&data.records, 1, LOADER_THREADS).next_epoch();
        batches.flat_map(|batch| match batch {
            Ok(batch) => {
                let images = batch.names.into_iter().zip(batch.images).zip(batch.annotations);
                let result = |((name, image), annotations)| match self.run(image) {
                    Ok(detections) => Ok(ImageResult { annotations, detections }),
                    Err(Error::NonFinite(message)) => Err(Error::NonFinite(format!("{name}: {message}"))),
                    Err(error) => Err(error),
                };
                images.map(result).collect()
            }
            Err(error) => vec![Err(error)],
        })
    }

    /// As [`detect`](Self::detect), of an image that is converted already.
    pub(crate) fn run(&self, image: Image) -> Result<Vec<Detection>> {
        let images = self.config().transform.batch(&[image], &self.model.device());
        let stages = self.model.stages(&images);
        let (mut detections, finite) = self.model.detections_and(&images, &stages, finite(&stages));
        check_finite(&finite)?;
        Ok(detections.remove(0))
    }
}

const PLACES: [&str; 3] = ["backbone", "first stage", "second stage"];

/// 1 for each of [`PLACES`] whose values are all finite.
fn finite(stages: &Stages) -> Tensor<1> {
    fn all<const D: usize>(tensor: &Tensor<D>) -> Tensor<1, Bool> {
        tensor.clone().is_finite().all()
    }
    let backbone = stages.pyramid.iter().map(all).reduce(Tensor::bool_and).expect("a pyramid has levels");
    let first = all(&stages.rpn.objectness).bool_and(all(&stages.rpn.deltas));
    let second = all(&stages.roi.class_logits).bool_and(all(&stages.roi.box_deltas));
    Tensor::cat([backbone, first, second].map(|all| all.float()).to_vec(), 0)
}

/// Comparisons with a NaN are false, so without this, broken weights would look like an empty image.
fn check_finite(finite: &[f32]) -> Result<()> {
    match PLACES.iter().zip(finite).find(|(_, finite)| **finite != 1.0) {
        None => Ok(()),
        Some((place, _)) => Err(Error::NonFinite(format!(
            "the detector's {place} computes NaN or infinity: its weights are broken"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::resnet::ResNetDepth;

    fn predictor() -> Predictor {
        let mut config = FasterRcnnConfig::new(ResNetDepth::ResNet18, 3).with_class_names(&["open", "short"]);
        config = config.with_image_size(64, 96);
        config.fpn_channels = 8;
        config.roi_heads.representation_size = 8;
        Predictor::new(config.init(&Device::flex()))
    }

    #[test]
    fn boxes_lie_in_the_image_whatever_its_shape_and_one_without_pixels_is_an_error() {
        let predictor = predictor();
        for (width, height) in [(50, 40), (1, 1), (300, 2)] {
            let found = predictor.detect(&RgbImage::new(width, height)).unwrap();
            assert!(found.is_sorted_by(|a, b| a.score >= b.score));
            for Detection { xyxy: [x1, y1, x2, y2], label, .. } in found {
                assert!(0.0 <= x1 && x1 < x2 && x2 <= width as f32, "{x1} {x2} of {width}");
                assert!(0.0 <= y1 && y1 < y2 && y2 <= height as f32, "{y1} {y2} of {height}");
                assert!(predictor.class_name(label).is_some());
            }
        }
        for (width, height) in [(0, 0), (0, 7), (7, 0)] {
            let error = predictor.detect(&RgbImage::new(width, height)).unwrap_err();
            assert!(matches!(error, Error::EmptyImage { .. }), "{error}");
        }
    }

    #[test]
    fn settings_are_checked_and_unknown_labels_have_no_name() {
        for threshold in [-0.1, 1.1, f32::NAN] {
            assert!(predictor().with_score_threshold(threshold).is_err());
        }
        for (min_size, max_size) in [(0, 10), (20, 10), (1 << 40, 1 << 40)] {
            assert!(predictor().with_image_size(min_size, max_size).is_err());
        }
        let predictor = predictor().with_image_size(32, 48).unwrap().with_score_threshold(1.0).unwrap();
        assert_eq!(predictor.config().transform.min_size, 32);
        assert!(predictor.detect(&RgbImage::new(64, 64)).unwrap().is_empty());
        let names = [0, 1, 2, 3].map(|label| predictor.class_name(label));
        assert_eq!(names, [None, Some("open"), Some("short"), None]);
    }
}
