//! Batches for training and validation, decoded and varied on background threads, so that the model
//! never waits on a JPEG.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::tensor::Device;
use rand::Rng;
use rand::seq::SliceRandom;

use super::augment::stream;
use super::{AugmentConfig, Record, augment};
use crate::structures::{Annotation, Image};
use crate::{Error, Result};

/// Batches a thread keeps ready.
const PREFETCH: usize = 2;

/// Some images and what is known of them.
#[derive(Debug, Clone)]
pub struct Batch {
    /// File names.
    pub names: Vec<String>,
    /// The images, each of its own size.
    pub images: Vec<Image>,
    /// The objects of each image, in its pixels.
    pub annotations: Vec<Vec<Annotation>>,
    /// For the random choices of a step on this batch; differs from batch to batch and epoch to epoch.
    pub seed: u64,
}

/// Shuffling and variation of a training set.
#[derive(Debug, Clone)]
struct Variation {
    seed: u64,
    augment: AugmentConfig,
}

/// Gives the images of a data set in batches, once an epoch; the last batch may be smaller.
///
/// What epoch `e` gives depends on the seed and `e` only, not on the number of threads.
#[derive(Debug)]
pub struct Loader {
    records: Arc<[Record]>,
    /// The part of the epoch's order that this loader gives.
    part: Range<usize>,
    batch_size: usize,
    threads: usize,
    variation: Option<Variation>,
    /// The epoch that the next iterator gives.
    epoch: AtomicUsize,
}

impl Loader {
    /// Gives the images in their order, as they are.
    ///
    /// # Panics
    ///
    /// If `batch_size` or `threads` is 0.
    pub fn in_order(records: &[Record], batch_size: usize, threads: usize) -> Self {
        assert!(batch_size > 0 && threads > 0, "a loader needs a batch size and a thread");
        Self {
            records: records.into(),
            part: 0..records.len(),
            batch_size,
            threads,
            variation: None,
            epoch: AtomicUsize::new(1),
        }
    }

    /// Shuffles and varies the images, differently in each epoch; the first one given is `epoch`.
    #[must_use]
    pub fn shuffled(mut self, augment: &AugmentConfig, seed: u64, epoch: usize) -> Self {
        self.variation = Some(Variation { seed, augment: augment.clone() });
        self.epoch = AtomicUsize::new(epoch);
        self
    }

    /// Batches an epoch.
    pub fn batches(&self) -> usize {
        self.part.len().div_ceil(self.batch_size)
    }

    fn with_part(&self, part: Range<usize>) -> Self {
        Self {
            records: self.records.clone(),
            part,
            batch_size: self.batch_size,
            threads: self.threads,
            variation: self.variation.clone(),
            epoch: AtomicUsize::new(self.epoch.load(Ordering::Relaxed)),
        }
    }

    /// Indices of the records, batch by batch.
    fn order(&self, epoch: usize) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..self.records.len()).collect();
        if let Some(variation) = &self.variation {
            order.shuffle(&mut stream(variation.seed, epoch as u64, u64::MAX));
        }
        order[self.part.clone()].chunks(self.batch_size).map(<[usize]>::to_vec).collect()
    }
}

impl Loader {
    /// Starts the threads of the next epoch.
    pub(crate) fn next_epoch(&self) -> Batches {
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed);
        let batches: Arc<[Vec<usize>]> = self.order(epoch).into();
        let receivers = (0..self.threads.min(batches.len()))
            .map(|first| {
                let (sender, receiver) = sync_channel(PREFETCH);
                let (batches, records) = (batches.clone(), self.records.clone());
                let (variation, step) = (self.variation.clone(), self.threads);
                thread::spawn(move || {
                    for indices in batches.iter().skip(first).step_by(step) {
                        let batch = load(&records, indices, variation.as_ref(), epoch);
                        // The iterator is gone where nobody receives: the epoch was given up.
                        if sender.send(batch).is_err() {
                            return;
                        }
                    }
                });
                receiver
            })
            .collect();
        Batches { receivers, next: 0, batches: batches.len(), given: 0, images: self.part.len() }
    }
}

impl DataLoader<Batch> for Loader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Batch> + 'a> {
        Box::new(self.next_epoch())
    }

    fn num_items(&self) -> usize {
        self.part.len()
    }

    fn expected_num_items(&self) -> Option<usize> {
        Some(self.part.len())
    }

    /// Batches are host memory, so there is nothing to move.
    fn to_device(&self, _device: &Device) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(self.with_part(self.part.clone()))
    }

    /// A part of each epoch's order: parts that do not overlap share no image in any epoch.
    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(self.with_part(self.part.start + start..self.part.start + end))
    }
}

/// One epoch: thread `t` of `T` makes the batches `t`, `t + T`, ...
pub(crate) struct Batches {
    receivers: Vec<Receiver<Result<Batch>>>,
    next: usize,
    batches: usize,
    /// Images given so far.
    given: usize,
    images: usize,
}

impl Batches {
    /// Waits for the next batch; none when the epoch is over.
    pub(crate) fn next_batch(&mut self) -> Option<Result<Batch>> {
        if self.next == self.batches {
            return None;
        }
        let receiver = &self.receivers[self.next % self.receivers.len()];
        let stopped = || Err(Error::Training("a loader thread stopped".to_string()));
        let batch = receiver.recv().unwrap_or_else(|_| stopped());
        self.next += 1;
        if let Ok(batch) = &batch {
            self.given += batch.images.len();
        }
        Some(batch)
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().map(|batch| batch.map_err(DatasetError::new))
    }
}

impl DataLoaderIterator<Batch> for Batches {
    fn progress(&self) -> Progress {
        Progress::new(self.given, self.images, Some("images".to_string()))
    }
}

fn load(records: &[Record], indices: &[usize], variation: Option<&Variation>, epoch: usize) -> Result<Batch> {
    let mut batch = Batch { names: Vec::new(), images: Vec::new(), annotations: Vec::new(), seed: 0 };
    for &index in indices {
        let record = &records[index];
        let pixels = record.load()?;
        let (pixels, annotations) = match variation {
            Some(Variation { seed, augment: config }) => {
                augment(pixels, &record.annotations, config, *seed, epoch as u64, index as u64)
            }
            None => (pixels, record.annotations.clone()),
        };
        batch.names.push(record.name.clone());
        batch.images.push(Image::from(&pixels));
        batch.annotations.push(annotations);
    }
    if let (Some(variation), Some(&first)) = (variation, indices.first()) {
        // Half of the indices are never used by an image, so the sequences do not meet.
        batch.seed = stream(variation.seed, epoch as u64, first as u64 | 1 << 63).next_u64();
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DeepPcb, SyntheticConfig, write_synthetic};

    fn records(folder: &tempfile::TempDir) -> Vec<Record> {
        write_synthetic(folder.path(), 7, &SyntheticConfig { size: 128, seed: 1 }).unwrap();
        DeepPcb::from_folders(folder.path()).unwrap().records
    }

    fn names(loader: &dyn DataLoader<Batch>) -> Vec<Vec<String>> {
        loader.iter().map(|batch| batch.unwrap().names).collect()
    }

    #[test]
    fn an_epoch_gives_each_image_once_whatever_the_threads() {
        let folder = tempfile::tempdir().unwrap();
        let records = records(&folder);
        let epoch = |threads, epoch| {
            let loader = Loader::in_order(&records, 3, threads);
            let loader = loader.shuffled(&AugmentConfig::default(), 5, epoch);
            assert_eq!(loader.batches(), 3);
            loader.iter().map(|batch| batch.unwrap()).collect::<Vec<_>>()
        };
        let (one, three) = (epoch(1, 4), epoch(3, 4));
        let sizes: Vec<usize> = one.iter().map(|batch| batch.images.len()).collect();
        assert_eq!(sizes, [3, 3, 1]);
        for (one, three) in one.iter().zip(&three) {
            assert_eq!((&one.names, &one.annotations), (&three.names, &three.annotations));
            assert_eq!((one.seed, &one.images), (three.seed, &three.images));
        }
        let mut given: Vec<String> = one.iter().flat_map(|batch| batch.names.clone()).collect();
        let shuffled = given.clone();
        given.sort();
        assert_eq!(given, records.iter().map(|record| record.name.clone()).collect::<Vec<_>>());
        assert_ne!(shuffled, given);
        let other = epoch(1, 5);
        assert_ne!(other[0].seed, one[0].seed);
        assert_ne!(other.iter().flat_map(|batch| batch.names.clone()).collect::<Vec<_>>(), shuffled);
    }

    #[test]
    fn iterating_again_gives_the_next_epoch_and_slices_do_not_overlap() {
        let folder = tempfile::tempdir().unwrap();
        let records = records(&folder);
        let at = |epoch| Loader::in_order(&records, 2, 1).shuffled(&AugmentConfig::none(), 5, epoch);
        let loader = at(1);
        assert_eq!((names(&loader), names(&loader)), (names(&at(1)), names(&at(2))));

        let whole: Vec<String> = names(&at(1)).concat();
        let loader = at(1);
        let parts = [loader.slice(0, 4), loader.slice(4, 7)].map(|part| names(part.as_ref()).concat());
        assert_eq!(parts.concat(), whole);
    }

    #[test]
    fn a_broken_image_is_an_error_that_names_it_and_giving_up_ends_the_threads() {
        let folder = tempfile::tempdir().unwrap();
        let records = records(&folder);
        std::fs::write(&records[2].image, b"no image").unwrap();
        let loader = Loader::in_order(&records, 2, 2);
        let batches: Vec<_> = loader.iter().collect();
        let error = batches[1].as_ref().unwrap_err().to_string();
        assert!(error.contains(&records[2].name), "{error}");
        assert!(batches[0].is_ok() && batches[2].is_ok());
        let mut given_up = loader.iter();
        assert!(given_up.next().is_some());
    }
}
