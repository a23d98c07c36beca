//! What is wrong with a data set.

use crate::error::{Error, Result};

/// The faults of a data set and the warnings about it. Every entry names a file and, if possible, the line,
/// the row or the annotation.
#[derive(Debug, Default)]
pub struct Report {
    /// What cannot be used. The images and objects that are at fault are not in the data set.
    pub faults: Vec<Error>,
    /// Things that can be read but are probably mistakes: images given twice, boxes thinner than a pixel,
    /// files that are left out.
    pub warnings: Vec<Error>,
}

impl Report {
    pub(super) fn append(&mut self, mut other: Self) {
        self.faults.append(&mut other.faults);
        self.warnings.append(&mut other.warnings);
    }

    /// The value, or the error as a fault.
    pub(super) fn take<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|fault| self.faults.push(fault)).ok()
    }

    /// The warnings, where there are no faults.
    ///
    /// # Errors
    ///
    /// The first fault.
    pub fn into_warnings(self) -> Result<Vec<Error>> {
        self.faults.into_iter().next().map_or(Ok(self.warnings), Err)
    }
}
