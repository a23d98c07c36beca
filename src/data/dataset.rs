//! A data set in memory: which images there are, and what is known of them. Pixels stay on disk.

use std::path::PathBuf;

use image::RgbImage;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::images::load_image;
use crate::error::Result;
use crate::structures::Annotation;

/// Images and what is known of them: what training, prediction and evaluation take.
///
/// A reader of a [format](super::formats) makes it, or a program of your own does.
#[derive(Debug, Clone, Default)]
pub struct Dataset {
    /// One record an image.
    pub records: Vec<Record>,
    /// What the classes 1, 2, ... are called; label `l` is `class_names[l - 1]`, because 0 is the background.
    pub class_names: Vec<String>,
}

/// One image of a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The image file.
    pub image: PathBuf,
    /// `(height, width)` in pixels, as [`load`](Self::load) gives it.
    pub size: (usize, usize),
    /// The objects, boxes in pixels of the image; empty for an image without any.
    pub annotations: Vec<Annotation>,
    /// A picture of the same thing without objects, such as a board without defects.
    pub reference: Option<PathBuf>,
    /// Images of one group show the same thing: they belong to the same side of a split.
    pub group: Option<String>,
}

/// A data set to train on and one that says how good the result is.
#[derive(Debug, Clone, Default)]
pub struct Split {
    /// Images to learn from.
    pub train: Dataset,
    /// Images held out.
    pub validation: Dataset,
}

impl Record {
    /// An image without reference and group.
    pub fn new(image: impl Into<PathBuf>, size: (usize, usize), annotations: Vec<Annotation>) -> Self {
        Self { image: image.into(), size, annotations, reference: None, group: None }
    }

    /// The name of the image file without its folders; bytes that are no UTF-8 are shown as `\u{FFFD}`.
    pub fn name(&self) -> String {
        self.image.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Decodes the image; a grey one becomes three equal channels.
    ///
    /// # Errors
    ///
    /// As [`load_image`].
    pub fn load(&self) -> Result<RgbImage> {
        load_image(&self.image)
    }
}

impl Dataset {
    /// Holds out a part of the images, chosen by `seed`; both sides keep the present order. Neither side is empty where
    /// there are two images or more and the fraction is neither 0 nor 1.
    ///
    /// # Panics
    ///
    /// Where `validation_fraction` is outside `0..=1`.
    pub fn split(self, validation_fraction: f64, seed: u64) -> Split {
        assert!(
            (0.0..=1.0).contains(&validation_fraction),
            "validation_fraction must be in 0..=1, is {validation_fraction}"
        );
        let count = self.records.len();
        let mut held_out = (count as f64 * validation_fraction).round() as usize;
        if count >= 2 && validation_fraction > 0.0 && validation_fraction < 1.0 {
            held_out = held_out.clamp(1, count - 1);
        }

        let mut is_held_out: Vec<bool> = (0..count).map(|index| index < held_out).collect();
        is_held_out.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let (mut train, mut validation) = (Vec::new(), Vec::new());
        for (record, held_out) in self.records.into_iter().zip(is_held_out) {
            if held_out { &mut validation } else { &mut train }.push(record);
        }
        Split {
            train: Self { records: train, class_names: self.class_names.clone() },
            validation: Self { records: validation, class_names: self.class_names },
        }
    }
}
