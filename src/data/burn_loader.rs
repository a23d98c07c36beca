//! A [`Loader`] as burn-train asks for batches.

use std::sync::Arc;

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::tensor::Device;

use super::loader::{Batch, Batches, Loader};

impl DataLoader<Batch> for Loader {
    /// [`Loader::next_epoch`].
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Batch> + 'a> {
        Box::new(BurnBatches(self.next_epoch()))
    }

    fn num_items(&self) -> usize {
        self.images()
    }

    fn expected_num_items(&self) -> Option<usize> {
        Some(self.images())
    }

    /// Batches are host memory, so there is nothing to move.
    fn to_device(&self, _device: &Device) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(self.again())
    }

    /// Parts that do not overlap share no image in any epoch.
    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(self.slice_of(start, end))
    }
}

struct BurnBatches(Batches);

impl Iterator for BurnBatches {
    type Item = Result<Batch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|batch| batch.map_err(DatasetError::new))
    }
}

impl DataLoaderIterator<Batch> for BurnBatches {
    fn progress(&self) -> Progress {
        let (given, images) = self.0.progress();
        Progress::new(given, images, Some("images".to_string()))
    }
}
