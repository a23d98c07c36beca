//! A training run's settings, and the TOML file that holds all of them.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::schedule::Schedule;
use crate::bounds::{self, MAX_COUNT};
use crate::data::{AugmentConfig, Dataset};
use crate::error::{Error, Result};
use crate::model::{FasterRcnnConfig, NormKind};
use crate::settings;
use crate::structures::ReferenceInput;

/// Everything that decides how a run goes; one file of the `configs` folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The detector.
    pub model: FasterRcnnConfig,
    /// How it is trained.
    pub train: TrainConfig,
    /// What it is trained on.
    #[serde(default)]
    pub data: DataConfig,
    /// How its training images are varied.
    pub augment: AugmentConfig,
}

/// What a detector is trained on, besides the images that a data set has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// Part of the training images that are replaced by their references, others in each epoch: pictures
    /// without objects, from which the detector learns what no object looks like. A detector that takes a
    /// reference gets the same picture twice then, which is varied apart. Images without a reference stay.
    /// Default 0.
    pub clean_fraction: f64,
    /// Up to so many objects of another training image of the same group are pasted into each image, others
    /// in each epoch, where the lines around them go on. Default 0.
    pub copy_paste: usize,
}

/// How a detector is trained. The defaults are those of torchvision's detection reference for one GPU
/// of its eight: batches of 2, a learning rate of 0.02 / 8, divided by 10 after epochs 16 and 22 of 26.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Passes over the training images.
    pub epochs: usize,
    /// Images of a forward and backward pass; on a team, of each member.
    pub batch_size: usize,
    /// Batches whose gradients are averaged for one step of the optimiser. The remaining batches at the end
    /// of an epoch make one more step, in which each counts as much as in a whole group.
    pub accumulation: usize,
    /// The learning rate before warm-up and schedule.
    pub learning_rate: f64,
    /// How the learning rate falls.
    pub schedule: Schedule,
    /// Steps in which the learning rate rises linearly to its value; at most the first epoch.
    pub warmup_steps: usize,
    /// Where the rise begins, as a part of the learning rate.
    pub warmup_factor: f64,
    /// How gradients change the weights.
    pub optimizer: Optimizer,
    /// How the workers of a team send gradients to each other.
    #[serde(skip_serializing_if = "GradientType::is_default")]
    pub gradient_dtype: GradientType,
    /// Momentum of SGD, without dampening, as in PyTorch.
    pub momentum: f64,
    /// Weight decay of the optimiser.
    pub weight_decay: f64,
    /// Weight decay of the norms' weights and biases; if `None`, `weight_decay` applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm_weight_decay: Option<f64>,
    /// Weight decay of all other biases; if `None`, `weight_decay` applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bias_weight_decay: Option<f64>,
    /// Largest norm that the gradient of all parameters together may have; a larger one is scaled down to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Validates and keeps a moving average of the weights instead of the weights themselves: the part of the
    /// old average that stays in each step, such as 0.998. Less in the first steps; see `average.rs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema_decay: Option<f64>,
    /// Ends the run after this many epochs without a better AP on the validation images. It has no effect if
    /// these have no objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<usize>,
    /// Writes a checkpoint after so many steps of the optimiser within each epoch, too, beside the one at
    /// its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_steps: Option<usize>,
    /// Seed of shuffling, variation and sampling.
    pub seed: u64,
    /// Threads that decode and vary images.
    pub loader_threads: usize,
    /// How many validation images are drawn at the end, with the ground truth beside the predictions.
    pub sample_pictures: usize,
}

/// How gradients change the weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// Stochastic gradient descent with momentum. The default, as in torchvision's references.
    #[default]
    Sgd,
    /// Adam with decoupled weight decay. `momentum` is its first beta; the second is 0.999 and epsilon 1e-8,
    /// as in PyTorch. Its learning rates are smaller than those of SGD: begin with 1e-4.
    AdamW,
}

/// The type of gradients on the way between workers. They are summed in f32, whatever it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GradientType {
    /// As they are. The default.
    #[default]
    F32,
    /// Rounded to bfloat16, half the bytes. Losses then differ a little from those of one process. Devices of
    /// one process, and workers over iroh, do not round.
    Bf16,
}

impl GradientType {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 26,
            batch_size: 2,
            accumulation: 1,
            learning_rate: 0.0025,
            schedule: Schedule::MultiStep { milestones: vec![16, 22], gamma: 0.1 },
            warmup_steps: 1000,
            warmup_factor: 0.001,
            optimizer: Optimizer::Sgd,
            gradient_dtype: GradientType::F32,
            momentum: 0.9,
            weight_decay: 1e-4,
            norm_weight_decay: None,
            bias_weight_decay: None,
            clip_norm: None,
            ema_decay: None,
            early_stopping: None,
            checkpoint_steps: None,
            seed: 0,
            loader_threads: 2,
            sample_pictures: 8,
        }
    }
}

impl TrainConfig {
    /// Finds settings that cannot work.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] names the first one.
    pub fn validate(&self) -> Result<()> {
        let counts = [
            ("train.epochs", self.epochs),
            ("train.accumulation", self.accumulation),
            ("train.early_stopping", self.early_stopping.unwrap_or(1)),
            ("train.checkpoint_steps", self.checkpoint_steps.unwrap_or(1)),
        ];
        bounds::all_within(&counts, 1..=MAX_COUNT)?;
        bounds::within("train.batch_size", self.batch_size, 1..=4096)?;
        bounds::within("train.loader_threads", self.loader_threads, 1..=1024)?;
        bounds::within("train.sample_pictures", self.sample_pictures, 0..=MAX_COUNT)?;
        bounds::within("train.warmup_steps", self.warmup_steps, 0..=100_000_000)?;
        let decay = |decay: Option<f64>| decay.unwrap_or(0.0);
        let parts = [
            ("train.warmup_factor", self.warmup_factor),
            ("train.momentum", self.momentum),
            ("train.ema_decay", self.ema_decay.unwrap_or(0.0)),
            ("train.weight_decay", self.weight_decay),
            ("train.norm_weight_decay", decay(self.norm_weight_decay)),
            ("train.bias_weight_decay", decay(self.bias_weight_decay)),
        ];
        bounds::all_within(&parts, 0.0..=1.0)?;
        // Too large ones make a loss that is not a number, which ends the run by name.
        let scales =
            [("train.learning_rate", self.learning_rate), ("train.clip_norm", self.clip_norm.unwrap_or(1.0))];
        bounds::all_within(&scales, 0.0..=1e12)?;
        self.schedule.validate()
    }
}

impl RunConfig {
    /// A detector with the defaults of [`TrainConfig`] and [`AugmentConfig`].
    pub fn new(model: FasterRcnnConfig) -> Self {
        let (train, data, augment) =
            (TrainConfig::default(), DataConfig::default(), AugmentConfig::default());
        Self { model, train, data, augment }
    }

    /// Settings for the data at hand: ResNet-50-FPN at the images' own size, but at most torchvision's 800 by
    /// 1,333 pixels, with the defaults of [`TrainConfig`] and [`AugmentConfig`].
    ///
    /// From weights, torchvision's frozen norms. From random ones, what can learn: group norm, all layers
    /// trained, and the gradient clipped at 10, because a detector that knows nothing yet has large ones.
    pub fn for_data(data: &Dataset, from_weights: bool) -> Self {
        let median = |mut sides: Vec<usize>| {
            sides.sort_unstable();
            sides.get(sides.len() / 2).copied().unwrap_or(800)
        };
        let sizes = || data.records.iter().map(|record| record.size);
        let short = median(sizes().map(|(height, width)| height.min(width)).collect());
        let long = sizes().map(|(height, width)| height.max(width)).max().unwrap_or(1333);
        let min_size = short.clamp(32, 800);
        // Images are as large as they are, or as much smaller as the short side is.
        let max_size = (long * min_size).div_ceil(short.max(1)).clamp(min_size, 1333);
        let model = FasterRcnnConfig::resnet50_fpn(0).with_image_size(min_size, max_size);
        if from_weights {
            return Self::new(model);
        }
        let mut config = Self::new(model.with_norm(NormKind::Group).with_trainable_layers(5));
        config.train.clip_norm = Some(10.0);
        config
    }

    /// With other values for single keys: `train.epochs=3`, `model.backbone=resnet18`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a faulty setting or override.
    pub fn with_overrides(&self, overrides: &[String]) -> Result<Self> {
        let config: Self = settings::with(self, overrides)?;
        config.validate().map(|()| config)
    }

    /// Reads a TOML file and then sets single keys: `train.epochs=3`, `model.backbone=resnet18`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be read, [`Error::File`] with the line if its content is not valid,
    /// [`Error::Config`] for a faulty setting or override.
    pub fn load(path: impl AsRef<Path>, overrides: &[String]) -> Result<Self> {
        let path = path.as_ref();
        let config: Self = settings::with(&settings::read(path)?, overrides)?;
        match config.validate() {
            Err(Error::Config(message)) if overrides.is_empty() => Err(Error::file(path, message)),
            result => result.map(|()| config),
        }
    }

    /// Finds settings that cannot work.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] names the first one.
    pub fn validate(&self) -> Result<()> {
        let within = |table: &str, error| match error {
            Error::Config(message) => Error::Config(format!("{table}.{message}")),
            error => error,
        };
        let mut model = self.model.clone();
        if model.num_classes == 0 {
            // The data set will say how many there are.
            let classes = match model.class_names.len() {
                0 => self.augment.inverted_labels.len(),
                named => named,
            };
            model.num_classes = classes.max(1) + 1;
        }
        model.validate().map_err(|error| within("model", error))?;
        self.train.validate()?;
        bounds::within("data.clean_fraction", self.data.clean_fraction, 0.0..=1.0)?;
        bounds::within("data.copy_paste", self.data.copy_paste, 0..=100)?;
        bounds::ensure(
            self.augment.reference_shift == 0.0 || self.model.reference != ReferenceInput::None,
            || {
                "augment.reference_shift needs a detector that takes a reference: set model.reference"
                    .to_string()
            },
        )?;
        let (labels, classes) = (&self.augment.inverted_labels, model.num_classes - 1);
        bounds::ensure(
            labels.is_empty() || labels.len() == classes && labels.iter().all(|label| *label <= classes),
            || {
                format!(
                    "augment.inverted_labels must be a label in 1..={classes} for each of as many classes"
                )
            },
        )?;
        self.augment.validate().map_err(|error| within("augment", error))
    }

    /// The complete file.
    pub fn to_toml(&self) -> String {
        settings::to_toml(self)
    }

    /// Names of the settings that differ. Settings that a resumed run may change are left out: the numbers of
    /// an epoch do not depend on them. `train.epochs` may change too, unless the schedule is the cosine,
    /// which depends on it.
    pub(super) fn differences(&self, other: &Self) -> Vec<String> {
        let mut names = settings::differences(self, other);
        let mut free = vec![
            "train.loader_threads",
            "train.sample_pictures",
            "train.early_stopping",
            "train.checkpoint_steps",
        ];
        if self.train.schedule != Schedule::Cosine {
            free.push("train.epochs");
        }
        names.retain(|name| !free.contains(&name.as_str()));
        names
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::Record;
    use crate::model::ResNetDepth;

    fn file(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn a_file_comes_back_as_it_was_written_and_keys_can_be_set() {
        let config = RunConfig::new(FasterRcnnConfig::resnet50_fpn(7));
        let (_folder, path) = file(&config.to_toml());
        assert_eq!(RunConfig::load(&path, &[]).unwrap(), config);

        let overrides =
            ["train.epochs=3", "model.backbone=resnet18", "train.clip_norm=1.5", "augment.crop=[320, 300]"];
        let changed = RunConfig::load(&path, &overrides.map(String::from)).unwrap();
        assert_eq!((changed.train.epochs, changed.train.clip_norm), (3, Some(1.5)));
        assert_eq!((changed.model.backbone, changed.augment.crop), (ResNetDepth::ResNet18, Some((320, 300))));
        let names = ["augment.crop", "model.backbone", "train.clip_norm"];
        assert_eq!(config.differences(&changed), names);
    }

    #[test]
    fn settings_for_the_data_at_hand_have_its_size_and_norms_that_fit_the_start() {
        let sizes = |sizes: &[(usize, usize)], from_weights| {
            let records = sizes.iter().map(|size| Record::new("a.png", *size, Vec::new())).collect();
            let config = RunConfig::for_data(&Dataset::new(records, ["hole"]), from_weights);
            config.validate().unwrap();
            (config.model.transform.min_size, config.model.transform.max_size)
        };
        assert_eq!(sizes(&[(640, 640); 3], true), (640, 640));
        assert_eq!(sizes(&[(480, 640), (640, 480), (427, 640)], true), (480, 640));
        assert_eq!(sizes(&[(3000, 4000)], true), (800, 1067));
        assert_eq!(sizes(&[(1000, 9000)], true), (800, 1333));
        assert_eq!(sizes(&[(8, 8)], false), (32, 32));
        assert_eq!(sizes(&[], false), (800, 1333));

        let data = Dataset::default();
        let (random, from_weights) = (RunConfig::for_data(&data, false), RunConfig::for_data(&data, true));
        assert_eq!(
            (from_weights.model.norm, from_weights.model.trainable_layers),
            (NormKind::FrozenBatch, 3)
        );
        assert_eq!((random.model.norm, random.model.trainable_layers), (NormKind::Group, 5));
        assert_eq!((from_weights.train.clip_norm, random.train.clip_norm), (None, Some(10.0)));
        let changed = random.with_overrides(&["train.epochs=3".to_string()]).unwrap();
        assert_eq!(random.differences(&changed), [""; 0]);
        assert_eq!(changed.train.epochs, 3);
        assert!(random.with_overrides(&["train.epochs=0".to_string()]).is_err());
    }

    #[test]
    fn any_seed_can_be_read_set_and_compared() {
        let mut config = RunConfig::new(FasterRcnnConfig::resnet50_fpn(7));
        (config.train.seed, config.model.seed) = (u64::MAX, i64::MAX as u64 + 1);
        let (_folder, path) = file(&config.to_toml());
        let changed = RunConfig::load(&path, &["train.epochs=3".to_string()]).unwrap();
        assert_eq!((changed.train.seed, changed.model.seed), (u64::MAX, i64::MAX as u64 + 1));
        assert_eq!(config.differences(&changed), [""; 0]);
        let changed = RunConfig::load(&path, &[format!("train.seed={}", u64::MAX - 1)]).unwrap();
        assert_eq!(config.differences(&changed), ["train.seed"]);
    }

    #[test]
    fn faults_are_named() {
        let text = RunConfig::new(FasterRcnnConfig::resnet50_fpn(7)).to_toml();
        let (_folder, path) = file(&text.replace("epochs = 26", "epoch = 26"));
        let error = RunConfig::load(&path, &[]).unwrap_err().to_string();
        assert!(error.contains("run.toml: at line") && error.contains("`epoch`"), "{error}");
        assert_eq!(error.lines().count(), 1);

        let (_folder, path) = file(&text);
        for (setting, expected) in [
            ("train.epochs=0", "train.epochs must be in 1..=65536, is 0"),
            ("train.momentum=2", "train.momentum must be in 0..=1, is 2"),
            ("augment.inverted_labels=[2,1]", "augment.inverted_labels must be a label in 1..=6 for each"),
            ("augment.inverted_labels=[2,1,4,3,6,7]", "augment.inverted_labels must be a label in 1..=6"),
            ("train.epoch=3", "unknown field `epoch`"),
            ("trains.epochs=3", "there is no table `trains`"),
            ("train.epochs=many", "invalid type"),
            ("epochs", "expected key=value"),
            ("train.=1", "expected key=value"),
            ("train.schedule={kind=\"step\"}", "unknown variant `step`"),
        ] {
            let error = RunConfig::load(&path, &[setting.to_string()]).unwrap_err().to_string();
            assert!(error.contains(expected), "{setting}: {error}");
        }

        // Names say how many classes there are, where no number does.
        let names = ["model.num_classes=0", "model.class_names=[\"hole\"]", "augment.inverted_labels=[2,1]"];
        let error = RunConfig::load(&path, &names.map(String::from)).unwrap_err().to_string();
        assert!(error.contains("augment.inverted_labels must be a label in 1..=1"), "{error}");
    }
}
