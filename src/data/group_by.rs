//! Groups of images by their names.

use regex::Regex;

use super::dataset::Dataset;
use crate::error::{Error, Result};

impl Dataset {
    /// Puts the images into groups by their [names](crate::data::Record::name): the group of an image is what
    /// the first parenthesis of the regular expression `pattern` matches, or without one the whole match. An
    /// image whose name does not match is a group of its own. Returns how many such images there are.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] where `pattern` is not a regular expression (of the crate `regex`).
    pub fn group_by(&mut self, pattern: &str) -> Result<usize> {
        let regex = Regex::new(pattern).map_err(|error| Error::Config(error.to_string()))?;
        for record in &mut self.records {
            let found = regex.captures(&record.name).and_then(|found| found.get(1).or(found.get(0)));
            record.group = found.map(|found| found.as_str().to_string());
        }
        Ok(self.records.iter().filter(|record| record.group.is_none()).count())
    }
}
