//! A board of the data set: from its two files to a record.

use std::path::{Path, PathBuf};

use super::files::{find_template, strip_suffix};
use super::labels::read_labels;
use crate::data::dataset::{Record, Side};
use crate::data::formats::files::name_below;
use crate::data::images::image_size;
use crate::data::report::Report;

/// The first digits of a name say which plate the board was cut from.
const PLATE_DIGITS: usize = 7;

/// An image file and its label file; neither needs to exist.
#[derive(Debug, Clone)]
pub(super) struct Board {
    pub image: PathBuf,
    pub labels: PathBuf,
    /// The list that names it, and the line, counted from 1.
    pub listed: Option<(PathBuf, usize)>,
    pub side: Option<Side>,
}

impl Board {
    /// Reads the labels and the image's size; `classes` is the number of classes. None for an image or a
    /// label file that cannot be read.
    pub fn read(&self, root: &Path, classes: usize, report: &mut Report) -> Option<Record> {
        let size = report.take(image_size(&self.image));
        // Without a size, boxes may reach as far as they like to the right and down.
        let bounds = size.unwrap_or((usize::MAX, usize::MAX));
        let annotations = read_labels(&self.labels, bounds, classes, report);
        let record = Record::new(self.image.as_path(), size?, report.take(annotations)?);
        Some(Record {
            name: name_below(root, &self.image),
            reference: find_template(&self.image).map(Into::into),
            group: self.plate(),
            side: self.side,
            ..record
        })
    }

    fn plate(&self) -> Option<String> {
        let stem = self.image.file_stem()?;
        let name = strip_suffix(stem, "_test").unwrap_or(stem).to_str()?;
        let plate = name.get(..PLATE_DIGITS)?;
        plate.bytes().all(|byte| byte.is_ascii_digit()).then(|| plate.to_string())
    }
}
