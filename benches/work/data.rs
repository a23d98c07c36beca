//! The way from files to what a model is given.

use std::array;
use std::fs;
use std::path::{Path, PathBuf};

use faster_rcnn::Result;
use faster_rcnn::data::{Format, Loader, Record};

/// Epochs of a loader.
pub struct Loading(Loader);

impl Loading {
    /// Of the files of a folder, in the order of their names, or of the tables in it.
    pub fn new(folder: &Path, workers: usize, batch: usize) -> Result<Self> {
        if matches!(Format::of(folder), Ok(Format::Parquet)) {
            return Ok(Self(Loader::in_order(&Format::Parquet.open(folder)?.records, batch, workers)));
        }
        let entries = fs::read_dir(folder).expect("a folder of images");
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        let records = paths.into_iter().map(|path| Record::from_image(path, Vec::new()));
        Ok(Self(Loader::in_order(&records.collect::<Result<Vec<_>>>()?, batch, workers)))
    }

    /// The number of images and the sum of their values. All are read, as floating point numbers.
    pub fn round(&self) -> Vec<f64> {
        let (mut images, mut total) = (0, 0.0);
        for batch in self.0.next_epoch() {
            for image in batch.expect("the files are images").images {
                images += 1;
                total += image.data().chunks(1 << 12).map(sum).sum::<f64>();
            }
        }
        vec![f64::from(images), total]
    }
}

fn sum(values: &[f32]) -> f64 {
    let (lanes, rest) = values.as_chunks::<16>();
    let sums = lanes.iter().fold([0.0; 16], |sums, lane| array::from_fn(|i| sums[i] + lane[i]));
    f64::from(sums.iter().chain(rest).sum::<f32>())
}
