//! What the weight files of a run say about the run, in their metadata.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::best::BestEpoch;
use super::config::RunConfig;
use super::position::Position;
use crate::data::{Dataset, Record, Split};
use crate::error::{Error, Result};
use crate::weights::{TRAINING_KEY, WeightFile};

/// What a weight file says about the run that wrote it: its settings, its progress, and on which images it
/// was trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Whole epochs that these weights were trained for.
    pub epoch: usize,
    /// Batches of the next epoch that they were trained for, too; 0 at the end of an epoch.
    #[serde(default)]
    pub batches: usize,
    /// Steps of the optimiser.
    pub step: u64,
    /// The best epoch so far. Files of the first release do not tell it.
    #[serde(default)]
    pub best: BestEpoch,
    /// Devices that train together, each with its part of every batch.
    #[serde(default = "one")]
    pub devices: usize,
    /// All settings of the run.
    pub config: RunConfig,
    /// Of at least one image; none in a file of the first release.
    #[serde(default)]
    train_images: Fingerprints,
    #[serde(default)]
    validation_images: Fingerprints,
}

impl RunInfo {
    /// Of a run that begins.
    pub(super) fn new(config: RunConfig, data: &Split, devices: usize) -> Self {
        Self {
            epoch: 0,
            batches: 0,
            step: 0,
            best: BestEpoch::default(),
            devices,
            config,
            train_images: Fingerprints::of(&data.train),
            validation_images: Fingerprints::of(&data.validation),
        }
    }

    /// Of the same run later.
    pub(super) fn at(&self, Position { epoch, batches }: Position, step: u64, best: BestEpoch) -> Self {
        Self { epoch, batches, step, best, ..self.clone() }
    }

    /// How far the run is.
    pub(super) fn position(&self) -> Position {
        Position { epoch: self.epoch, batches: self.batches }
    }

    /// Reads it from a weight file; `None` where no run wrote the file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] and [`Error::File`] where the file cannot be read, or this part of its metadata is
    /// damaged.
    pub fn read(weights: impl AsRef<Path>) -> Result<Option<Self>> {
        let file = WeightFile::open(weights)?;
        let Some(json) = file.metadata().get(TRAINING_KEY) else { return Ok(None) };
        let damaged =
            |error| Error::file_because(file.path(), format!("its {TRAINING_KEY} cannot be read"), error);
        serde_json::from_str(json).map_err(damaged).map(Some)
    }

    /// How many images of `data` the weights were trained on. An image is known by its file name, its size
    /// and its objects, so it may have moved to another folder. 0 for weights of the first release, which do
    /// not tell their images.
    pub fn trained_on(&self, data: &Dataset) -> usize {
        let trained: HashSet<u64> = self.train_images.0.iter().copied().collect();
        data.records.iter().filter(|record| trained.contains(&fingerprint(record))).count()
    }

    /// The images of `data` that the run held out, in its order, if all of them are there once and only once.
    /// They are known as in [`trained_on`](Self::trained_on).
    pub fn held_out(&self, data: &Dataset) -> Option<Dataset> {
        let wanted: HashMap<u64, usize> =
            self.validation_images.0.iter().enumerate().map(|(index, number)| (*number, index)).collect();
        let mut records = vec![None; self.validation_images.0.len()];
        for record in &data.records {
            if let Some(index) = wanted.get(&fingerprint(record))
                && records[*index].replace(record.clone()).is_some()
            {
                return None;
            }
        }
        let records = records.into_iter().collect::<Option<Vec<Record>>>()?;
        (!records.is_empty()).then(|| Dataset {
            records,
            class_names: data.class_names.clone(),
            corners: data.corners,
        })
    }

    /// How many lines of training steps the run has written: one for each batch.
    #[cfg(feature = "tensorboard")]
    pub(super) fn training_lines(&self) -> usize {
        let batch = self.devices * self.config.train.batch_size;
        self.position().in_batches(self.train_images.0.len().div_ceil(batch))
    }

    /// Checks that a run can go on from this. Files of the first release do not tell which images the run has
    /// and which epoch is the best.
    pub(super) fn check_complete(&self, path: &Path) -> Result<()> {
        if self.train_images.0.is_empty() {
            let message = "an earlier release wrote it, whose runs cannot be resumed: start a new one from \
                           these weights";
            return Err(Error::file(path, message));
        }
        Ok(())
    }

    /// Checks that a run that goes on within an epoch has batches of the size that it had, where `devices`
    /// train now.
    pub(super) fn check_devices(&self, devices: usize, path: &Path) -> Result<()> {
        if self.batches == 0 || self.devices == devices {
            return Ok(());
        }
        let (began, epoch) = (self.devices, self.epoch + 1);
        let message = format!(
            "the run goes on within epoch {epoch}, which {began} devices or workers began: it needs as many \
             again, there are {devices} now"
        );
        Err(Error::file(path, message))
    }

    /// Checks that a resumed run has the images that it began with, in the same order: shuffling depends on
    /// it.
    pub(super) fn check_data(&self, data: &Split, path: &Path) -> Result<()> {
        let sides = [
            ("training", &self.train_images, &data.train),
            ("validation", &self.validation_images, &data.validation),
        ];
        for (name, known, data) in sides {
            let found = Fingerprints::of(data);
            if found.0.len() != known.0.len() {
                let (began, now) = (known.0.len(), found.0.len());
                let message = format!("the run began with {began} {name} images, there are {now} now");
                return Err(Error::file(path, message));
            }
            if let Some(index) = (0..found.0.len()).find(|index| found.0[*index] != known.0[*index]) {
                let image = &data.records[index].image;
                let now = format!("image {} is {image} now, or its objects have changed", index + 1);
                let message = format!("the run began with other {name} images: {now}");
                return Err(Error::file(path, message));
            }
        }
        Ok(())
    }
}

/// Of files of earlier releases, whose checkpoints are all at the end of an epoch.
fn one() -> usize {
    1
}

/// A number for each image of a data set, in its order; as text 16 hexadecimal digits each.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
struct Fingerprints(Vec<u64>);

impl Fingerprints {
    fn of(data: &Dataset) -> Self {
        Self(data.records.iter().map(fingerprint).collect())
    }
}

impl From<Fingerprints> for String {
    fn from(fingerprints: Fingerprints) -> Self {
        fingerprints.0.iter().map(|number| format!("{number:016x}")).collect()
    }
}

impl TryFrom<String> for Fingerprints {
    type Error = &'static str;

    fn try_from(text: String) -> std::result::Result<Self, Self::Error> {
        const FAULT: &str = "fingerprints are 16 hexadecimal digits each";
        let (numbers, rest) = text.as_bytes().as_chunks::<16>();
        let number = |digits: &[u8; 16]| {
            let digits = std::str::from_utf8(digits).ok()?;
            u64::from_str_radix(digits, 16).ok()
        };
        match numbers.iter().map(number).collect() {
            Some(numbers) if rest.is_empty() => Ok(Self(numbers)),
            _ => Err(FAULT),
        }
    }
}

/// FNV-1a of an image's name, size and objects: stable from version to version, unlike the standard library's
/// hashes.
fn fingerprint(record: &Record) -> u64 {
    let name = record.file_name();
    let (height, width) = record.size;
    let objects = record.annotations.iter().flat_map(|object| {
        let corners = object.xyxy.map(f32::to_le_bytes).into_iter().flatten();
        let label = (object.label as u64).to_le_bytes();
        corners.chain(label).chain([u8::from(object.crowd) | u8::from(object.difficult) << 1])
    });
    let size = [height as u64, width as u64].map(u64::to_le_bytes).into_iter().flatten();
    let bytes = name.bytes().chain([0]).chain(size).chain(objects);
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::model::FasterRcnnConfig;
    use crate::structures::Annotation;
    use crate::weights::save_with_metadata;

    #[test]
    fn checkpoints_of_the_first_release_are_read_but_not_resumed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("best.safetensors");
        let config = RunConfig::new(FasterRcnnConfig::tiny(3));
        let info = serde_json::json!({"epoch": 3, "step": 30, "config": config});
        let model = config.model.init(&Device::flex());
        save_with_metadata(&model, &path, &[(TRAINING_KEY.to_string(), info.to_string())]).unwrap();

        let info = RunInfo::read(&path).unwrap().unwrap();
        assert_eq!((info.epoch, info.step, &info.config), (3, 30, &config));
        assert_eq!(info.best, BestEpoch { epoch: 0, ap: None });
        let record = Record::new("1.jpg", (10, 20), vec![]);
        let data = Dataset::new(vec![record], ["hole"]);
        assert_eq!(info.trained_on(&data), 0);
        let error = info.check_complete(&path).unwrap_err().to_string();
        assert!(error.contains("best.safetensors: an earlier release wrote it"), "{error}");

        let now = RunInfo::new(config, &Split { train: data.clone(), validation: data }, 1);
        now.check_complete(&path).unwrap();
    }

    #[test]
    fn what_was_held_out_is_found_again_in_its_order() {
        let data = |names: &[&str]| {
            let record = |name: &&str| Record::new(*name, (10, 20), vec![]);
            Dataset::new(names.iter().map(record).collect(), ["hole"])
        };
        let config = RunConfig::new(FasterRcnnConfig::tiny(2));
        let split = Split { train: data(&["1.jpg"]), validation: data(&["3.jpg", "2.jpg"]) };
        let info = RunInfo::new(config, &split, 1);
        assert_eq!(info.held_out(&data(&["1.jpg", "2.jpg", "3.jpg", "4.jpg"])), Some(split.validation));
        for others in [&["1.jpg", "3.jpg"][..], &["2.jpg", "3.jpg", "more/2.jpg"], &[]] {
            assert_eq!(info.held_out(&data(others)), None, "{others:?}");
        }
    }

    #[test]
    fn fingerprints_come_back_and_tell_images_apart_but_not_their_folders() {
        let object = Annotation::new([1.0, 2.0, 3.0, 4.0], 1);
        let record = Record::new("a/1.jpg", (10, 20), vec![object]);
        let same = Record::new("b/1.jpg", (10, 20), vec![object]);
        assert_eq!(fingerprint(&record), fingerprint(&same));
        let others = [
            Record::new("a/2.jpg", (10, 20), vec![object]),
            Record::new("a/1.jpg", (20, 10), vec![object]),
            Record::new("a/1.jpg", (10, 20), vec![]),
            Record::new("a/1.jpg", (10, 20), vec![Annotation { label: 2, ..object }]),
            Record::new("a/1.jpg", (10, 20), vec![Annotation { crowd: true, ..object }]),
        ];
        assert!(others.iter().all(|other| fingerprint(other) != fingerprint(&record)));

        let prints = Fingerprints(vec![0, u64::MAX, fingerprint(&record)]);
        let text = String::from(prints.clone());
        assert_eq!((text.len(), Fingerprints::try_from(text.clone())), (48, Ok(prints)));
        for damaged in [&text[1..], &format!("{}g", &text[1..])] {
            assert!(Fingerprints::try_from(damaged.to_string()).is_err(), "{damaged}");
        }
    }
}
