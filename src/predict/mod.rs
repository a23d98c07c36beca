//! Inference: images in, [`Detection`]s out. The command line and the examples all go through [`Predictor`].

mod thresholds;
mod tiles;
mod views;

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use image::math::Rect;
use image::{RgbImage, imageops};

use crate::bounds;
use crate::data::{Aligned, Dataset, Loader};
use crate::error::{Error, Result};
use crate::eval::ImageResult;
use crate::model::{FasterRcnn, FasterRcnnConfig, PreparedFasterRcnn, Tiles};
use crate::ops::in_host_memory;
use crate::structures::{Detection, Image, ReferenceInput};
use crate::weights;

pub use thresholds::{StoredThreshold, THRESHOLDS_KEY, stored_thresholds};

use views::View;

/// Threads that decode the images of a data set; each is far faster than the detector.
const LOADER_THREADS: usize = 2;

/// Images that go through a GPU together, at most; more take memory and save little time.
const MAX_BATCH: usize = 8;

/// A trained detector.
///
/// It can be cloned and used from several threads; all share the weights. The detections of an image never
/// depend on the other images in a call.
///
/// ```
/// use faster_rcnn::burn::tensor::Device;
/// use faster_rcnn::image::RgbImage;
/// use faster_rcnn::{FasterRcnnConfig, Predictor, ResNetDepth};
///
/// # fn main() -> faster_rcnn::Result<()> {
/// let config = FasterRcnnConfig::new(ResNetDepth::ResNet18, 3).with_class_names(&["open", "short"]);
/// # let config = FasterRcnnConfig::tiny(3).with_class_names(&["open", "short"]);
/// // Of random weights; `Predictor::load` reads a file.
/// let predictor = Predictor::new(config.init(&Device::flex()));
/// let strict = predictor.with_score_thresh(0.9)?; // `predictor` stays as it is
/// for found in strict.detect(&RgbImage::new(64, 48))? {
///     println!("{:?} {:.2} {:?}", strict.class_name(found.label), found.score, found.xyxy);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Predictor {
    detector: PreparedFasterRcnn,
    /// Of each class, if they have different ones: detections above it count.
    class_thresholds: Option<Vec<f32>>,
}

impl Predictor {
    /// Predicts with the model's own settings, such as image size and thresholds.
    pub fn new(model: FasterRcnn) -> Self {
        Self { detector: model.prepare(), class_thresholds: None }
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

    /// One with the same weights that gives detections above another score, the same for all classes.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] unless `score_thresh` is in `0..=1`.
    pub fn with_score_thresh(&self, score_thresh: f32) -> Result<Self> {
        let other = self.with_settings(|config| config.roi_heads.score_thresh = score_thresh)?;
        Ok(Self { class_thresholds: None, ..other })
    }

    /// One with the same weights that gives detections of label `l` above a score of `thresholds[l - 1]`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] unless there is a threshold in `0..=1` for each class.
    pub fn with_class_thresholds(&self, thresholds: &[f32]) -> Result<Self> {
        let classes = self.config().num_classes - 1;
        if thresholds.len() != classes {
            let given = thresholds.len();
            return Err(Error::Config(format!(
                "{given} thresholds of classes, the detector finds {classes}"
            )));
        }
        for threshold in thresholds {
            bounds::within("threshold", *threshold, 0.0..=1.0)?;
        }
        let lowest = thresholds.iter().copied().fold(1.0, f32::min);
        let other = self.with_score_thresh(lowest)?;
        Ok(Self { class_thresholds: Some(thresholds.to_vec()), ..other })
    }

    /// One with the same weights and another NMS threshold: of two detections of a class with an IoU above
    /// `nms_thresh`, the one with the lower score is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] unless `nms_thresh` is in `0..=1`.
    pub fn with_nms_thresh(&self, nms_thresh: f64) -> Result<Self> {
        self.with_settings(|config| config.roi_heads.nms_thresh = nms_thresh)
    }

    /// One with the same weights for which detections of two classes with an IoU above `exclusive_iou` are
    /// one object, which has one class: the lower score falls. 1 leaves all scores as they are.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] unless `exclusive_iou` is in `0..=1`.
    pub fn with_exclusive_iou(&self, exclusive_iou: f64) -> Result<Self> {
        self.with_settings(|config| config.roi_heads.exclusive_iou = exclusive_iou)
    }

    /// One with the same weights that gives at most `detections_per_img` detections per image.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] unless `detections_per_img` is in `1..=65536`.
    pub fn with_detections_per_img(&self, detections_per_img: usize) -> Result<Self> {
        self.with_settings(|config| config.roi_heads.detections_per_img = detections_per_img)
    }

    /// One with the same weights that resizes images so that the short side has `min_size` pixels, and the
    /// long one at most `max_size`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] unless `0 < min_size <= max_size <= 16384`.
    pub fn with_image_size(&self, min_size: usize, max_size: usize) -> Result<Self> {
        self.with_settings(|config| {
            (config.transform.min_size, config.transform.max_size) = (min_size, max_size);
        })
    }

    /// Whether each class has a threshold of its own.
    #[cfg(feature = "serve")]
    pub(crate) fn has_class_thresholds(&self) -> bool {
        self.class_thresholds.is_some()
    }

    fn with_settings(&self, change: impl FnOnce(&mut FasterRcnnConfig)) -> Result<Self> {
        let detector = self.detector.with_settings(change)?;
        Ok(Self { detector, class_thresholds: self.class_thresholds.clone() })
    }

    /// One with the same weights that looks at several views of an image: see
    /// [`FasterRcnnConfig::views`].
    ///
    /// # Errors
    ///
    /// [`Error::Config`] unless `views` is 1, 2, 4 or 8.
    pub fn with_views(&self, views: usize) -> Result<Self> {
        self.with_settings(|config| config.views = views)
    }

    /// One with the same weights that looks at large images through overlapping windows, so that small
    /// objects keep their size and memory does not grow with the image. An image that fits into a window
    /// gives the same detections as without. There may be more than `detections_per_img` in an image then,
    /// but not in a window.
    ///
    /// # Errors
    ///
    /// As [`Tiles::validate`].
    pub fn with_tiles(&self, tiles: Tiles) -> Result<Self> {
        self.with_settings(|config| config.tiles = Some(tiles))
    }

    /// The detector's settings.
    pub fn config(&self) -> &FasterRcnnConfig {
        self.detector.config()
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
    /// NaN or an infinity, [`Error::Reference`] if the detector compares images with references.
    pub fn detect(&self, image: &RgbImage) -> Result<Vec<Detection>> {
        self.check_alone(image)?;
        match self.config().tiles {
            None => self.detect_one(Image::from(image)),
            Some(_) => self.detect_parts(image.dimensions(), |Rect { x, y, width, height }| {
                Image::from(imageops::crop_imm(image, x, y, width, height).to_image())
            }),
        }
    }

    /// What is in the image and not in its reference, a picture of the same thing without objects, such as a
    /// good board. By falling score, in pixels of the image.
    ///
    /// # Errors
    ///
    /// As [`detect`](Self::detect). [`Error::Reference`] if the detector takes no reference, or if this one
    /// does not show what the image shows: it says how badly it fits.
    pub fn detect_against(&self, image: &RgbImage, reference: &RgbImage) -> Result<Vec<Detection>> {
        check_pixels(image)?;
        match self.config().reference {
            ReferenceInput::None => Err(Error::Reference(
                "the detector takes no reference: it was trained on images alone".to_string(),
            )),
            ReferenceInput::Difference => {
                let aligned = Aligned::fitting(image, reference, self.config().reference_align)?;
                self.detect_parts(image.dimensions(), |part| Image::from(aligned.part(part)))
            }
        }
    }

    /// The detections of each image. On a CPU they equal those of [`detect`](Self::detect), bit for bit. A
    /// GPU computes images of the same resized size together, which may round scores differently.
    ///
    /// # Errors
    ///
    /// As [`detect`](Self::detect), for the first image with an error.
    pub fn detect_batch(&self, images: &[RgbImage]) -> Result<Vec<Vec<Detection>>> {
        if self.goes_one_by_one() {
            return images.iter().map(|image| self.detect(image)).collect();
        }
        let convert = |image| self.check_alone(image).map(|()| Image::from(image));
        self.detect_by_size(images.iter().map(convert).collect::<Result<_>>()?)
    }

    /// As [`detect_batch`](Self::detect_batch), of images that are converted already.
    #[cfg(feature = "serve")]
    pub(crate) fn detect_images(&self, images: Vec<Image>) -> Result<Vec<Vec<Detection>>> {
        if self.goes_one_by_one() {
            return images.into_iter().map(|image| self.detect_one(image)).collect();
        }
        self.detect_by_size(images)
    }

    /// Whether the detector works on a processor, where images together take as long as one by one.
    pub(crate) fn is_in_host_memory(&self) -> bool {
        in_host_memory(self.detector.device())
    }

    fn goes_one_by_one(&self) -> bool {
        self.config().tiles.is_some() || self.is_in_host_memory()
    }

    /// Whether the image has pixels, and the detector looks at nothing else.
    fn check_alone(&self, image: &RgbImage) -> Result<()> {
        check_pixels(image)?;
        match self.config().reference {
            ReferenceInput::None => Ok(()),
            ReferenceInput::Difference => Err(Error::Reference(
                "the detector compares an image with its reference, and none is given".to_string(),
            )),
        }
    }

    /// Sends images of the same resized size to the device together.
    fn detect_by_size(&self, images: Vec<Image>) -> Result<Vec<Vec<Detection>>> {
        let mut by_size = BTreeMap::<_, Vec<(usize, Image)>>::new();
        for (index, image) in images.into_iter().enumerate() {
            let resized = self.config().transform.resized_size(image.size());
            by_size.entry(resized).or_default().push((index, image));
        }
        let mut found = BTreeMap::new();
        for images in by_size.into_values() {
            let (indices, images): (Vec<usize>, Vec<Image>) = images.into_iter().unzip();
            for (indices, images) in indices.chunks(MAX_BATCH).zip(images.chunks(MAX_BATCH)) {
                found.extend(indices.iter().copied().zip(self.detect_together(images)?));
            }
        }
        Ok(found.into_values().collect())
    }

    /// The annotations and the detections of each image of a data set, in its order. Images are loaded on
    /// background threads, with their references if the detector takes them.
    ///
    /// # Errors
    ///
    /// The error of loading an image or of [`detect`](Self::detect), with the image's name.
    pub fn results(&self, data: &Dataset) -> impl Iterator<Item = Result<ImageResult>> {
        let FasterRcnnConfig { reference, reference_align, .. } = *self.config();
        let loader = Loader::in_order(&data.records, 1, LOADER_THREADS);
        let batches = loader.with_reference(reference, reference_align).next_epoch();
        batches.flat_map(|batch| match batch {
            Ok(batch) => {
                let images = batch.names.into_iter().zip(batch.images).zip(batch.annotations);
                let result = |((name, image), annotations)| match self.detect_one(image) {
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
    pub(crate) fn detect_one(&self, image: Image) -> Result<Vec<Detection>> {
        let (height, width) = image.size();
        match self.config().tiles {
            None => Ok(self.detect_together(&[image])?.remove(0)),
            Some(_) => self.detect_parts((width as u32, height as u32), |part| image.crop(part)),
        }
    }

    /// Sends images to the device together.
    fn detect_together(&self, images: &[Image]) -> Result<Vec<Vec<Detection>>> {
        let mut found = match self.config().views {
            1 => self.detector.detect(images)?,
            views => self.detect_views(images, views)?,
        };
        if let Some(thresholds) = &self.class_thresholds {
            let counts = |one: &Detection| one.score > thresholds[one.label - 1];
            found.iter_mut().for_each(|of_image| of_image.retain(counts));
        }
        Ok(found)
    }

    fn detect_views(&self, images: &[Image], views: usize) -> Result<Vec<Vec<Detection>>> {
        let heads = &self.config().roi_heads;
        let corners = self.config().corners.unwrap_or_default();
        // A view that is less sure than the mean has to be heard, too. The mean says which class is the best.
        let each = self.detector.with_settings(|config| {
            config.roi_heads.score_thresh = heads.score_thresh.min(views::LEAST_SCORE);
            config.roi_heads.exclusive_iou = 1.0;
        })?;
        let mut found = vec![Vec::with_capacity(views); images.len()];
        for view in View::all(views) {
            let turned: Vec<Image> = images.iter().map(|image| view.of(image)).collect();
            let detections = each.detect(&turned)?.into_iter();
            found.iter_mut().zip(detections).for_each(|(found, of_view)| found.push((view, of_view)));
        }
        let merged = images.iter().zip(&found).map(|(image, found)| {
            let mut merged = views::merge(found, image.size(), corners, heads.nms_thresh);
            heads.exclusion().apply(&mut merged);
            merged.retain(|detection| detection.score > heads.score_thresh);
            merged.truncate(heads.detections_per_img);
            merged
        });
        Ok(merged.collect())
    }

    /// What is in an image of `(width, height)`, of which no more than the parts that the detector looks at
    /// together are in memory.
    fn detect_parts(&self, size: (u32, u32), part: impl Fn(Rect) -> Image) -> Result<Vec<Detection>> {
        let windows = match &self.config().tiles {
            None => vec![Rect { x: 0, y: 0, width: size.0, height: size.1 }],
            Some(tiles) => tiles.windows(size),
        };
        if let [window] = windows[..] {
            return Ok(self.detect_together(&[part(window)])?.remove(0));
        }
        let together = if self.is_in_host_memory() { 1 } else { MAX_BATCH };
        let mut found = Vec::with_capacity(windows.len());
        for windows in windows.chunks(together) {
            let images: Vec<Image> = windows.iter().map(|window| part(*window)).collect();
            found.extend(windows.iter().copied().zip(self.detect_together(&images)?));
        }
        Ok(tiles::merge(found.into_iter(), size, self.config().roi_heads.nms_thresh))
    }
}

fn check_pixels(image: &RgbImage) -> Result<()> {
    match image.dimensions() {
        (width, height) if width == 0 || height == 0 => Err(Error::EmptyImage { width, height }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
