//! What is wrong with a data set.

use std::path::Path;

use crate::error::{Error, Result};

/// Faults, and warnings, that are kept; the others are counted. A hostile file may have one in a few bytes.
const MOST: usize = 10_000;

/// The faults of a data set and the warnings about it. Every entry names a file and, if possible, the line,
/// the row or the annotation. Of more than 10,000 faults or warnings, the last entry says how many more there
/// are.
#[derive(Debug, Default)]
pub struct Report {
    /// What cannot be used. The images and objects that are at fault are not in the data set.
    pub faults: Vec<Error>,
    /// Things that can be read but are probably mistakes: images given twice, boxes thinner than a pixel,
    /// files that are left out.
    pub warnings: Vec<Error>,
    more_faults: usize,
    more_warnings: usize,
}

impl Report {
    pub(super) fn fault(&mut self, fault: Error) {
        keep(&mut self.faults, &mut self.more_faults, fault);
    }

    pub(super) fn warn(&mut self, warning: Error) {
        keep(&mut self.warnings, &mut self.more_warnings, warning);
    }

    pub(super) fn append(&mut self, other: Self) {
        other.faults.into_iter().for_each(|fault| self.fault(fault));
        other.warnings.into_iter().for_each(|warning| self.warn(warning));
        self.more_faults += other.more_faults;
        self.more_warnings += other.more_warnings;
    }

    /// The value, or the error as a fault.
    pub(super) fn take<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|fault| self.fault(fault)).ok()
    }

    /// Says in a last entry of each kind how many were not kept; `path` is the data set's.
    pub fn finish(&mut self, path: &Path) {
        let counts = [
            (&mut self.faults, &mut self.more_faults, "faults"),
            (&mut self.warnings, &mut self.more_warnings, "warnings"),
        ];
        for (kept, more, what) in counts {
            if *more > 0 {
                kept.push(Error::file(path, format!("and {more} more {what}")));
                *more = 0;
            }
        }
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

fn keep(kept: &mut Vec<Error>, more: &mut usize, entry: Error) {
    if kept.len() < MOST {
        kept.push(entry);
    } else {
        *more += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_very_many_faults_the_others_are_counted() {
        let mut report = Report::default();
        for _ in 0..3 {
            let mut part = Report::default();
            for line in 1..=MOST + 5 {
                part.fault(Error::line("a.txt", line, "wrong"));
            }
            report.append(part);
        }
        report.warn(Error::file("a.txt", "doubtful"));
        report.finish(Path::new("data"));
        assert_eq!((report.faults.len(), report.warnings.len()), (MOST + 1, 1));
        assert_eq!(report.faults[MOST].to_string(), format!("data: and {} more faults", 2 * MOST + 15));
        assert!(report.into_warnings().unwrap_err().to_string().starts_with("a.txt:1: "));
    }
}
