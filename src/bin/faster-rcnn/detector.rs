//! A detector from a weight file, with the settings that a user gives for it. `predict` and `evaluate` share
//! them.

use std::path::Path;
use std::str::FromStr;

use anyhow::Result;
use clap::error::ErrorKind;
use faster_rcnn::weights::{LoadOptions, WeightFile};
use faster_rcnn::{DeviceName, Error, Predictor};

use crate::settings::WeightArguments;
use crate::shipped::{self, Threshold};

/// By how many pixels windows overlap, if nothing else is said and they are large enough.
const OVERLAP: usize = 64;

/// How to detect. Options not given are taken from the weights' settings, or from torchvision's if they have
/// none.
#[derive(clap::Args)]
pub struct DetectorArguments {
    /// Leave out detections with this score or less, in 0..=1 [default: the weights' setting, else 0.05].
    #[arg(long, value_name = "SCORE", value_parser = fraction::<f32>)]
    score_threshold: Option<f32>,
    /// Leave out detections below a threshold that `evaluate --store` wrote into the weights.
    #[arg(long, value_name = "THRESHOLD", conflicts_with = "score_threshold")]
    threshold: Option<Threshold>,
    /// Use the stored threshold of each class. What --escapes and --alarms tolerate then holds for each class
    /// alone.
    #[arg(long, requires = "threshold")]
    per_class: bool,
    /// Where two detections of a class overlap by more than this IoU, in 0..=1, leave out the one with the
    /// lower score [default: the weights' setting, else 0.5].
    #[arg(long, value_name = "IOU", value_parser = fraction::<f32>)]
    nms_threshold: Option<f32>,
    /// Take detections of two classes that overlap by more than this IoU, in 0..=1, for one object, which has
    /// one class: the lower score falls. 1 is off [default: the weights' setting, else 1].
    #[arg(long, value_name = "IOU", value_parser = fraction::<f32>)]
    exclusive_iou: Option<f32>,
    /// Keep this many detections of an image at most, those with the highest scores [default: the weights'
    /// setting, else 100].
    #[arg(long, value_name = "N")]
    detections_per_image: Option<usize>,
    /// Resize the short side of an image to MIN pixels, but the long side to MAX at most [default: the
    /// weights' setting, else 800,1333].
    #[arg(long, value_name = "MIN[,MAX]")]
    #[arg(conflicts_with_all = ["min_size", "max_size"])]
    image_size: Option<ImageSize>,
    /// MIN of --image-size.
    #[arg(long, value_name = "PIXELS", hide = true)]
    min_size: Option<usize>,
    /// MAX of --image-size.
    #[arg(long, value_name = "PIXELS", hide = true)]
    max_size: Option<usize>,
    /// Look at so many views of an image: 1, also mirrored from left to right (2), from top to bottom (4) and
    /// along its diagonal (8). It takes as many times as long [default: the weights' setting, else 1].
    #[arg(long, value_name = "N", value_parser = ["1", "2", "4", "8"])]
    views: Option<String>,
    /// Look at larger images through windows of this many pixels in each direction: the size of the images
    /// that the detector was trained on [default: the weights' setting, else none]. 16384 is larger than any.
    #[arg(long, value_name = "PIXELS")]
    tile: Option<usize>,
    /// By how many pixels windows overlap: a few more than the largest object has [default: 64, or a quarter
    /// of a window that is smaller than 256].
    #[arg(long, value_name = "PIXELS", requires = "tile")]
    overlap: Option<usize>,
    #[command(flatten)]
    weights: WeightArguments,
    /// Where to compute: cpu, cuda, cuda:N or wgpu.
    #[arg(long, default_value = "cpu")]
    device: DeviceName,
}

/// `MIN[,MAX]` in pixels.
#[derive(Clone, Copy)]
pub struct ImageSize {
    min: usize,
    max: Option<usize>,
}

impl ImageSize {
    /// MIN and MAX; one that is not given is `max`, or MIN where that is larger.
    pub fn within(self, max: usize) -> (usize, usize) {
        (self.min, self.max.unwrap_or(max.max(self.min)))
    }
}

impl FromStr for ImageSize {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| text.trim().parse().map_err(|_| "expected MIN or MIN,MAX, in pixels");
        let (min, max) = match text.split_once(',') {
            None => (number(text)?, None),
            Some((min, max)) => (number(min)?, Some(number(max)?)),
        };
        Ok(Self { min, max })
    }
}

/// A number in 0..=1.
pub fn fraction<T: FromStr + PartialOrd + From<u8>>(text: &str) -> Result<T, &'static str> {
    match text.parse() {
        Ok(number) if (T::from(0)..=T::from(1)).contains(&number) => Ok(number),
        _ => Err("expected a number in 0..=1"),
    }
}

impl DetectorArguments {
    /// Where to compute.
    #[cfg(feature = "serve")]
    pub fn device(&self) -> DeviceName {
        self.device
    }

    /// Reads the detector.
    pub fn load(&self, weights: &Path) -> Result<Predictor> {
        let device = self.device.open()?;
        let file = WeightFile::open(weights)?;
        let model = file.load(&self.options(), &device)?;
        let mut predictor = self.resize(Predictor::new(model));
        if let Some(threshold) = self.threshold {
            let stored = shipped::read(&file, weights, threshold)?;
            // Detections above the next lower number are at or above the threshold. The evaluation knows
            // nothing of those that the weights' own setting leaves out.
            let least = predictor.config().roi_heads.score_thresh;
            let above = |threshold: f32| threshold.next_down().max(least);
            predictor = if self.per_class {
                let names = &predictor.config().class_names;
                if names.is_empty() || stored.per_class.is_empty() {
                    return Err(Error::file(weights, "has no thresholds of single classes").into());
                }
                let above: Vec<f32> = stored.of_classes(names).into_iter().map(above).collect();
                predictor.with_class_thresholds(&above)?
            } else {
                predictor.with_score_thresh(above(stored.overall.threshold))?
            };
        }
        let classes = predictor.config().num_classes - 1;
        tracing::info!(path = %weights.display(), classes, "read a detector");
        Ok(predictor)
    }

    /// The score which detections must reach, where --threshold says it; of --per-class, the lowest one.
    pub fn threshold_of(&self, predictor: &Predictor) -> Option<f32> {
        self.threshold.map(|_| predictor.config().roi_heads.score_thresh.next_up())
    }

    /// The options as settings of the model. They override those of `--set`.
    pub fn options(&self) -> LoadOptions {
        let given = |key: &str, value: Option<String>| value.map(|value| format!("{key}={value}"));
        let options = [
            given("views", self.views.clone()),
            given("tiles", self.tile.map(|size| self.tiles(size))),
            given("roi_heads.score_thresh", self.score_threshold.map(toml_float)),
            given("roi_heads.nms_thresh", self.nms_threshold.map(toml_float)),
            given("roi_heads.exclusive_iou", self.exclusive_iou.map(toml_float)),
            given("roi_heads.detections_per_img", self.detections_per_image.map(|count| count.to_string())),
        ];
        options.into_iter().flatten().fold(self.weights.options(), LoadOptions::set)
    }

    /// Windows of this size, in TOML.
    fn tiles(&self, size: usize) -> String {
        let overlap = self.overlap.unwrap_or(OVERLAP.min(size / 4));
        format!("{{ size = {size}, overlap = {overlap} }}")
    }

    /// A size that is not given is that of the weights. Impossible sizes are wrong usage.
    fn resize(&self, predictor: Predictor) -> Predictor {
        let own = predictor.config().transform.clone();
        let (min, max) = match (self.image_size, self.min_size, self.max_size) {
            (None, None, None) => return predictor,
            (None, min, max) => (min.unwrap_or(own.min_size), max.unwrap_or(own.max_size)),
            (Some(size), ..) => size.within(own.max_size),
        };
        predictor.with_image_size(min, max).unwrap_or_else(|error| {
            let message = format!("an image size of {min},{max}: {error}\n");
            <clap::Error>::raw(ErrorKind::ValueValidation, message).exit()
        })
    }
}

/// With a point, so that it is a float in TOML, too.
fn toml_float(number: f32) -> String {
    format!("{number:?}")
}

/// Checks that a detector finds the classes of a data set: by their names, or by their number where the
/// weights have no names.
pub fn check_classes(predictor: &Predictor, weights: &Path, class_names: &[String]) -> Result<(), Error> {
    let config = predictor.config();
    let found = config.num_classes - 1;
    let fits = match config.class_names.as_slice() {
        [] => found == class_names.len(),
        names => names == class_names,
    };
    if fits {
        return Ok(());
    }
    let list =
        |names: &[String]| if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
    let (detector, data) = (list(&config.class_names), list(class_names));
    let message = format!("detects {found} classes{detector}, the data set has {}{data}", class_names.len());
    Err(Error::file(weights, message))
}
