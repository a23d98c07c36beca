//! A version before it is registered: weights, and all that is found out about them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::card::{Input, ModelCard, Output, Signature, Training};
use super::sample::{SAMPLE_IMAGE, SAMPLE_REFERENCE, Sample, SampleImages};
use crate::error::{Error, Result};
use crate::files::{sync_folder, write_new};
use crate::model::FasterRcnnConfig;
use crate::predict::Predictor;
use crate::sha256::{Summing, sha256_of_bytes};
use crate::text::read_text;
use crate::weights::{Layout, LoadOptions, TRAINING_KEY, WeightFile};

/// File names in the folder of a version.
pub(super) const WEIGHTS: &str = "model.safetensors";
pub(super) const CARD: &str = "version.json";
/// All files that the folder of a version may have.
pub(super) const FILES: [&str; 4] = [WEIGHTS, CARD, SAMPLE_IMAGE, SAMPLE_REFERENCE];

/// A version that can be registered.
#[derive(Debug)]
pub struct NewVersion {
    weights: PathBuf,
    predictor: Predictor,
    training: Option<TrainingEntry>,
    comment: Option<String>,
    evaluation: Option<Value>,
    images: SampleImages,
}

/// What a run writes about itself into the metadata of its weights, as far as it is needed here.
#[derive(Debug, Deserialize)]
struct TrainingEntry {
    epoch: usize,
    step: u64,
    config: Value,
    /// 16 hexadecimal digits an image.
    #[serde(default)]
    train_images: String,
    #[serde(default)]
    validation_images: String,
}

impl NewVersion {
    /// Of the folder of a run, which gives its best weights and its evaluation, or of a weight file.
    ///
    /// The sample is a made-up board; [`with_sample`](Self::with_sample) takes another image.
    ///
    /// # Errors
    ///
    /// Those of reading the weights. [`Error::File`] where the file is PyTorch's, not safetensors.
    pub fn of(run_or_file: impl AsRef<Path>) -> Result<Self> {
        let given = run_or_file.as_ref();
        let is_run = given.is_dir();
        let weights = if is_run { given.join("checkpoints/best.safetensors") } else { given.to_path_buf() };
        if is_run && !weights.exists() {
            return Err(Error::file(
                given,
                "is no run with weights: checkpoints/best.safetensors is missing",
            ));
        }
        let file = WeightFile::open(&weights)?;
        if file.layout() != Layout::Safetensors {
            let message = "is PyTorch's; `faster-rcnn weights convert` makes a file that can be registered";
            return Err(Error::file(weights, message));
        }
        let training = file.metadata().get(TRAINING_KEY).map(|json| serde_json::from_str(json)).transpose();
        let training: Option<TrainingEntry> = training.map_err(|error| {
            Error::file_because(&weights, format!("its {TRAINING_KEY} cannot be read"), error)
        })?;
        let predictor = Predictor::new(file.load(&LoadOptions::default(), &Device::flex())?);
        let images = SampleImages::synthetic(predictor.config());
        let new = Self { weights, predictor, training, comment: None, evaluation: None, images };
        match given.join("evaluation.json") {
            evaluation if is_run && evaluation.exists() => new.with_evaluation(evaluation),
            _ => Ok(new),
        }
    }

    /// With a comment.
    #[must_use]
    pub fn with_comment(self, comment: impl Into<String>) -> Self {
        Self { comment: Some(comment.into()), ..self }
    }

    /// With another image as the sample.
    #[must_use]
    pub fn with_sample(self, images: SampleImages) -> Self {
        Self { images, ..self }
    }

    /// With the numbers of an evaluation, the JSON of `evaluate --json`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] and [`Error::File`] where the file cannot be read or is no JSON.
    pub fn with_evaluation(self, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let evaluation: Value = serde_json::from_str(&read_text(path)?)
            .map_err(|error| Error::file_because(path, "is not the JSON of an evaluation", error))?;
        Ok(Self { evaluation: Some(evaluation), ..self })
    }

    /// Looks what the detector finds in the sample, which takes a while.
    pub(super) fn examine(&self) -> Result<Examined<'_>> {
        Ok(Examined { new: self, sample: Sample::new(&self.images, &self.predictor)? })
    }
}

/// A version of which all is known but the sum of its bytes.
pub(super) struct Examined<'a> {
    new: &'a NewVersion,
    sample: Sample,
}

impl Examined<'_> {
    /// Fills an empty folder with the files of the version. Each file and its name are on the disk then.
    pub fn write(self, folder: &Path) -> Result<()> {
        let Self { new, sample } = self;
        let (sha256, bytes) = copy(&new.weights, &folder.join(WEIGHTS))?;
        let config = new.predictor.config();
        let card = ModelCard {
            sha256,
            bytes,
            created: format!("{:.0}", Timestamp::now()),
            program: env!("CARGO_PKG_VERSION").to_string(),
            comment: new.comment.clone(),
            signature: signature(config),
            settings: new.training.as_ref().map_or_else(|| json!({ "model": config }), |t| t.config.clone()),
            training: new.training.as_ref().map(training),
            evaluation: new.evaluation.clone(),
            sample,
        };
        new.images.write(folder)?;
        let json = serde_json::to_string_pretty(&card).expect("plain data is JSON") + "\n";
        write_new(&folder.join(CARD), json.as_bytes())?;
        sync_folder(folder)
    }
}

/// Copies a file down to the disk. Gives the SHA-256 and the number of the bytes that were written.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(String, u64)> {
    let mut source = File::open(from).map_err(Error::io(from))?;
    let mut file = File::create_new(to).map_err(Error::io(to))?;
    let mut sums = Summing::new(&mut file);
    let bytes = io::copy(&mut source, &mut sums).map_err(Error::io(to))?;
    let sha256 = sums.sha256();
    file.sync_all().map_err(Error::io(to))?;
    Ok((sha256, bytes))
}

fn signature(config: &FasterRcnnConfig) -> Signature {
    Signature {
        input: Input {
            min_size: config.transform.min_size,
            max_size: config.transform.max_size,
            reference: config.reference,
            reference_align: config.reference_align,
        },
        output: Output {
            detections_per_image: config.roi_heads.detections_per_img,
            score_threshold: config.roi_heads.score_thresh,
        },
        classes: config.class_names.clone(),
        num_classes: config.num_classes - 1,
    }
}

fn training(entry: &TrainingEntry) -> Training {
    let images = format!("{}\n{}", entry.train_images, entry.validation_images);
    Training {
        epoch: entry.epoch,
        step: entry.step,
        training_images: entry.train_images.len() / 16,
        validation_images: entry.validation_images.len() / 16,
        data_sha256: sha256_of_bytes(images.as_bytes()),
    }
}
