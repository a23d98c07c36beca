//! Batches for training and validation, decoded and varied on background threads, so that the model never
//! waits for an image.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use image::RgbImage;
use rand::seq::{IteratorRandom, SliceRandom};
use rand::{Rng, RngExt};

use super::augment::{AugmentConfig, augment};
use super::copy_paste::paste;
use super::dataset::Record;
use super::random::{Purpose, RandomKey};
use super::reference::pair_with_itself;
use crate::error::{Error, Result};
use crate::structures::{Annotation, Corners, Image, ReferenceAlign, ReferenceInput};

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
    /// A seed an image for the random choices of a step; differs from image to image and, where images are
    /// shuffled, from epoch to epoch.
    pub seeds: Vec<u64>,
    /// Fraction of the global batch that this shard holds: 1 if there is only one loader.
    pub share: f32,
}

/// Shuffling and variation of a training set.
#[derive(Debug, Clone)]
struct Variation {
    seed: u64,
    augment: AugmentConfig,
}

/// What an image becomes on its way into a batch.
#[derive(Debug, Clone, Default)]
struct Preparation {
    /// Of shuffled images.
    variation: Option<Variation>,
    input: ReferenceInput,
    align: ReferenceAlign,
    corners: Corners,
    /// Part of the shuffled images that are replaced by their references.
    clean_fraction: f64,
    /// Most objects that are pasted into a shuffled image.
    copy_paste: usize,
}

/// Gives the images of a data set in batches, once an epoch; the last batch may be smaller.
///
/// A loader counts its epochs: each call of [`next_epoch`](Self::next_epoch) starts the next one. What epoch
/// `e` gives depends on the seed and `e` only, not on the number of threads. Several loaders can share an
/// epoch, a [shard](Self::shard) each.
///
/// ```
/// use faster_rcnn::data::{AugmentConfig, Loader, Record};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = tempfile::tempdir()?.keep().join("board.png");
/// # faster_rcnn::image::RgbImage::new(64, 48).save(&path)?;
/// let records = vec![Record::from_image(path, vec![])?; 5];
/// let loader = Loader::in_order(&records, 2, 4).shuffled(&AugmentConfig::default(), 7, 1);
/// for epoch in 1..=3 {
///     for batch in loader.next_epoch() {
///         println!("epoch {epoch}: {} images", batch?.images.len()); // 2, 2, 1
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Loader {
    records: Arc<[Record]>,
    /// Positions in the epoch's order that this loader gives.
    part: Range<usize>,
    batch_size: usize,
    /// Index of this loader, and the number of loaders that share an epoch.
    shard: (usize, usize),
    threads: usize,
    preparation: Preparation,
    /// The epoch that [`next_epoch`](Self::next_epoch) starts.
    epoch: AtomicUsize,
    /// The first batches of that epoch that are left out.
    done: AtomicUsize,
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
            shard: (0, 1),
            threads,
            preparation: Preparation::default(),
            epoch: AtomicUsize::new(1),
            done: AtomicUsize::new(0),
        }
    }

    /// Shuffles and varies the images, differently in each epoch. The first epoch given is `epoch`.
    #[must_use]
    pub fn shuffled(mut self, augment: &AugmentConfig, seed: u64, epoch: usize) -> Self {
        self.preparation.variation = Some(Variation { seed, augment: augment.clone() });
        self.epoch = AtomicUsize::new(epoch);
        self
    }

    /// Replaces this part of the shuffled images, at random, by their references: pictures without objects.
    /// Images without a reference stay, and so do those of a loader in order.
    ///
    /// # Panics
    ///
    /// Unless `fraction` is in `0..=1`.
    #[must_use]
    pub fn with_clean(mut self, fraction: f64) -> Self {
        assert!((0.0..=1.0).contains(&fraction), "no part of the images is {fraction}");
        self.preparation.clean_fraction = fraction;
        self
    }

    /// Pastes up to `most` objects of another image of the same [group](Record::group) into each shuffled
    /// image, where they fit in. Images without a group take objects of any other image without one.
    #[must_use]
    pub fn with_copy_paste(mut self, most: usize) -> Self {
        self.preparation.copy_paste = most;
        self
    }

    /// Gives the images as a detector with these settings takes them: beside their references, or alone.
    #[must_use]
    pub fn with_reference(mut self, input: ReferenceInput, align: ReferenceAlign) -> Self {
        (self.preparation.input, self.preparation.align) = (input, align);
        self
    }

    /// Says what the corners of the boxes are. Images in order are given as they are.
    #[must_use]
    pub fn with_corners(mut self, corners: Corners) -> Self {
        self.preparation.corners = corners;
        self
    }

    /// The loader `index` of `count` that share each epoch. Together they give the batches of one loader with
    /// `count` times the batch size: each gives its part of every batch. The last batch is shared as evenly
    /// as possible; a part of it may be empty.
    ///
    /// # Panics
    ///
    /// Unless `index < count`.
    #[must_use]
    pub fn shard(&self, index: usize, count: usize) -> Self {
        assert!(index < count, "there is no shard {index} of {count}");
        Self { shard: (index, count), ..self.again() }
    }

    /// Leaves out the first `done` batches of the next epoch, which goes on where another loader stopped. The
    /// epochs after it are whole.
    #[must_use]
    pub fn after(mut self, done: usize) -> Self {
        self.done = AtomicUsize::new(done);
        self
    }

    /// Batches an epoch.
    pub fn batches(&self) -> usize {
        self.part.len().div_ceil(self.batch_size * self.shard.1)
    }

    /// Images an epoch.
    pub fn images(&self) -> usize {
        self.part.len()
    }

    /// The loader of some positions in each epoch's order: parts that do not overlap share no image in any
    /// epoch.
    #[cfg(any(feature = "train", test))]
    pub(super) fn slice_of(&self, start: usize, end: usize) -> Self {
        self.with_part(self.part.start + start..self.part.start + end)
    }

    /// The same loader again, at the same epoch.
    pub(super) fn again(&self) -> Self {
        self.with_part(self.part.clone())
    }

    fn with_part(&self, part: Range<usize>) -> Self {
        Self {
            records: self.records.clone(),
            part,
            batch_size: self.batch_size,
            shard: self.shard,
            threads: self.threads,
            preparation: self.preparation.clone(),
            epoch: AtomicUsize::new(self.epoch.load(Ordering::Relaxed)),
            done: AtomicUsize::new(self.done.load(Ordering::Relaxed)),
        }
    }

    /// Indices of the records, batch by batch, each with its share.
    fn order(&self, epoch: usize) -> Vec<(Vec<usize>, f32)> {
        let mut order: Vec<usize> = (0..self.records.len()).collect();
        if let Some(variation) = &self.preparation.variation {
            // No image has this index.
            let key = RandomKey { seed: variation.seed, epoch: epoch as u64, image: u64::MAX };
            order.shuffle(&mut key.generator());
        }
        let (index, count) = self.shard;
        let part_of = |whole: &[usize]| {
            let part = &whole[whole.len() * index / count..whole.len() * (index + 1) / count];
            (part.to_vec(), part.len() as f32 / whole.len() as f32)
        };
        order[self.part.clone()].chunks(self.batch_size * count).map(part_of).collect()
    }

    /// Starts the threads of the next epoch. The epoch counter advances through `&self`, because burn-train
    /// shares the loader.
    pub fn next_epoch(&self) -> Batches {
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed);
        let mut batches = self.order(epoch);
        let count = |batches: &[(Vec<usize>, f32)]| batches.iter().map(|(indices, _)| indices.len()).sum();
        let images = count(&batches);
        let done = self.done.swap(0, Ordering::Relaxed).min(batches.len());
        let given = count(&batches[..done]);
        batches.drain(..done);
        let batches: Arc<[(Vec<usize>, f32)]> = batches.into();
        let receivers = (0..self.threads.min(batches.len()))
            .map(|first| {
                let (sender, receiver) = sync_channel(PREFETCH);
                let (batches, records) = (batches.clone(), self.records.clone());
                let (preparation, step) = (self.preparation.clone(), self.threads);
                thread::spawn(move || {
                    for (indices, share) in batches.iter().skip(first).step_by(step) {
                        let batch = preparation.load(&records, indices, *share, epoch);
                        // Nobody receives: the iterator was dropped before the end of the epoch.
                        if sender.send(batch).is_err() {
                            return;
                        }
                    }
                });
                receiver
            })
            .collect();
        Batches { receivers, next: 0, batches: batches.len(), given, images }
    }
}

/// The batches of an epoch, in order. An image that cannot be read makes its batch an error; the others still
/// come.
///
/// If it is dropped before its end, the threads end after their current batches.
#[derive(Debug)]
pub struct Batches {
    /// Of thread `t` of `T`, which makes the batches `t`, `t + T`, ...
    receivers: Vec<Receiver<Result<Batch>>>,
    next: usize,
    batches: usize,
    /// Images given so far, or left out.
    given: usize,
    images: usize,
}

impl Batches {
    /// Images given so far, those that were left out included, and all of the epoch.
    pub fn progress(&self) -> (usize, usize) {
        (self.given, self.images)
    }
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    /// Waits for the next batch.
    fn next(&mut self) -> Option<Result<Batch>> {
        if self.next == self.batches {
            return None;
        }
        let receiver = &self.receivers[self.next % self.receivers.len()];
        let stopped = || Err(Error::training("a loader thread stopped"));
        let batch = receiver.recv().unwrap_or_else(|_| stopped());
        self.next += 1;
        if let Ok(batch) = &batch {
            self.given += batch.images.len();
        }
        Some(batch)
    }
}

impl Preparation {
    fn load(&self, records: &[Record], indices: &[usize], share: f32, epoch: usize) -> Result<Batch> {
        let (names, images, annotations) = (Vec::new(), Vec::new(), Vec::new());
        let mut batch = Batch { names, images, annotations, seeds: Vec::new(), share };
        let (seed, epoch) = match &self.variation {
            Some(variation) => (variation.seed, epoch as u64),
            // The same in each epoch, so that losses of images in order can be compared, and do not depend on
            // where a run was resumed.
            None => (0, 1),
        };
        for &index in indices {
            let key = RandomKey { seed, epoch, image: index as u64 };
            let (pixels, annotations) = match &self.variation {
                Some(variation) => {
                    let (pixels, mut annotations) = self.composed(records, index, key)?;
                    annotations.iter_mut().for_each(|one| one.xyxy = self.corners.edges_of(one.xyxy));
                    let (pixels, mut annotations) =
                        augment(pixels, &annotations, &variation.augment, self.input, key);
                    annotations.iter_mut().for_each(|one| one.xyxy = self.corners.of_edges(one.xyxy));
                    (pixels, annotations)
                }
                None => (self.pixels(&records[index])?, records[index].annotations.clone()),
            };
            batch.names.push(records[index].name.clone());
            batch.images.push(Image::from(pixels));
            batch.annotations.push(annotations);
            batch.seeds.push(key.apart(Purpose::Step).generator().next_u64());
        }
        Ok(batch)
    }

    /// An image, or in its place its reference, or it with pasted objects; and its objects.
    fn composed(
        &self,
        records: &[Record],
        index: usize,
        key: RandomKey,
    ) -> Result<(RgbImage, Vec<Annotation>)> {
        let record = &records[index];
        let mut chance = key.apart(Purpose::Clean).generator();
        if record.reference.is_some() && chance.random_bool(self.clean_fraction) {
            let reference = record.load_reference()?;
            let pixels = match self.input {
                ReferenceInput::None => reference,
                ReferenceInput::Difference => pair_with_itself(&reference),
            };
            return Ok((pixels, Vec::new()));
        }
        let (mut pixels, mut annotations) = (self.pixels(record)?, record.annotations.clone());
        if self.copy_paste > 0 {
            let mut chance = key.apart(Purpose::Paste).generator();
            let is_donor = |(other, donor): &(usize, &Record)| {
                *other != index && donor.group == record.group && !donor.annotations.is_empty()
            };
            if let Some((_, donor)) = records.iter().enumerate().filter(is_donor).choose(&mut chance) {
                let objects = (&self.pixels(donor)?, donor.annotations.as_slice());
                paste(&mut pixels, &mut annotations, objects, self.copy_paste, &mut chance);
            }
        }
        Ok((pixels, annotations))
    }

    /// As the detector takes it.
    fn pixels(&self, record: &Record) -> Result<RgbImage> {
        match self.input {
            ReferenceInput::None => record.load(),
            ReferenceInput::Difference => record.load_pair(self.align),
        }
    }
}

#[cfg(test)]
mod tests;
