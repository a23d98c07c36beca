//! A board of the data set: from its two files to a record.

use std::path::PathBuf;

use super::files::{find_template, strip_suffix};
use super::labels::read_labels;
use crate::data::dataset::Record;
use crate::data::images::image_size;
use crate::error::Result;

/// The first digits of a name say which plate the board was cut from.
const PLATE_DIGITS: usize = 7;

/// An image file and its label file; neither needs to exist.
#[derive(Debug, Clone)]
pub(super) struct Board {
    pub image: PathBuf,
    pub labels: PathBuf,
    /// The list that names it, and the line, counted from 1.
    pub listed: Option<(PathBuf, usize)>,
}

impl Board {
    /// Reads the labels and the image's size; `classes` is the number of classes.
    pub fn read(&self, classes: usize) -> Result<Record> {
        let size = image_size(&self.image)?;
        let labels = read_labels(&self.labels, Some(size), classes)?;
        let annotations = labels.into_iter().map(|(_, label)| label).collect::<Result<_>>()?;
        let record = Record::new(&self.image, size, annotations);
        Ok(Record { reference: find_template(&self.image), group: self.plate(), ..record })
    }

    fn plate(&self) -> Option<String> {
        let stem = self.image.file_stem()?;
        let name = strip_suffix(stem, "_test").unwrap_or(stem).to_str()?;
        let plate = name.get(..PLATE_DIGITS)?;
        plate.bytes().all(|byte| byte.is_ascii_digit()).then(|| plate.to_string())
    }
}
