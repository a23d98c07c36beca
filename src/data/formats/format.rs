//! The formats by name, and which one a folder has.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::deep_pcb;
use super::select::select;
use super::tables;
use crate::data::check::check_images;
use crate::data::dataset::Dataset;
use crate::data::report::Report;
use crate::error::{Error, Result};

/// How a data set lies on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// [DeepPCB](super::deep_pcb)'s folders and lists.
    DeepPcb,
    /// [Parquet tables](super::tables); they need the Cargo feature `tables`.
    Parquet,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::DeepPcb, Self::Parquet];

    /// What it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::DeepPcb => "deep-pcb",
            Self::Parquet => "parquet",
        }
    }

    /// The format of a data set, from what is there.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where nothing is at `path`, [`Error::File`] where no format or more than one fits.
    pub fn of(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        std::fs::metadata(path).map_err(Error::io(path))?;
        let fitting: Vec<Self> = Self::ALL.into_iter().filter(|format| format.fits(path)).collect();
        match fitting.as_slice() {
            [format] => Ok(*format),
            [] => Err(Error::file(
                path,
                "no data set is recognised here; the formats are DeepPCB's and Parquet",
            )),
            [..] => {
                let names: Vec<&str> = fitting.iter().map(|format| format.name()).collect();
                Err(Error::file(path, format!("may be of several formats, say which: {}", names.join(", "))))
            }
        }
    }

    fn fits(self, path: &Path) -> bool {
        match self {
            Self::DeepPcb => deep_pcb::is_data_folder(path),
            Self::Parquet => tables::has_tables(path),
        }
    }

    /// Reads a data set without its pixels, and says everything that is wrong with it.
    ///
    /// # Errors
    ///
    /// Where there is nothing to read: no images, or a list of images or classes that cannot be read.
    pub fn read(self, path: impl AsRef<Path>) -> Result<(Dataset, Report)> {
        let (path, mut report) = (path.as_ref(), Report::default());
        let data = match self {
            Self::DeepPcb => deep_pcb::read(path, &mut report)?,
            Self::Parquet => tables::read(path, &mut report)?,
        };
        tracing::info!(
            path = %path.display(), format = %self, images = data.records.len(),
            faults = report.faults.len(), warnings = report.warnings.len(), "read a data set"
        );
        Ok((data, report))
    }

    /// Reads the images that a list names, in its order.
    ///
    /// A line names an image by its [name](crate::data::Record::name), by the end of it, or by either without
    /// its extension. In DeepPCB's format the lines are those of its own lists.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), and where the list cannot be read. Lines that name no image, or several, are
    /// faults.
    pub fn read_list(self, path: impl AsRef<Path>, list: impl AsRef<Path>) -> Result<(Dataset, Report)> {
        let (path, list) = (path.as_ref(), list.as_ref());
        if self == Self::DeepPcb {
            let mut report = Report::default();
            return Ok((deep_pcb::read_list(path, list, &mut report)?, report));
        }
        let (data, mut report) = self.read(path)?;
        Ok((select(data, list, &mut report)?, report))
    }

    /// Reads a data set that is without faults. Warnings are logged.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); the first fault.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Dataset> {
        let path = path.as_ref();
        let (data, report) = self.read(path)?;
        let warnings = report.into_warnings()?;
        if let Some(first) = warnings.first() {
            tracing::warn!(path = %path.display(), warnings = warnings.len(), first = %first, "check the data set");
        }
        Ok(data)
    }

    /// Reads a data set, decodes every image, and says everything that is wrong, in the data set's order.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn check(self, path: impl AsRef<Path>) -> Result<Report> {
        let (data, mut report) = self.read(path)?;
        check_images(&data, &mut report)?;
        Ok(report)
    }
}

/// The name on the command line.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|format| format.name() == name);
        let names = || Self::ALL.map(Self::name).join(", ");
        known.ok_or_else(|| format!("the formats are {}", names()))
    }
}

/// Reads a data set in the format that is recognised: [`Format::of`], then [`Format::open`].
///
/// ```no_run
/// # fn main() -> faster_rcnn::Result<()> {
/// let data = faster_rcnn::data::open("PCBData")?;
/// println!("{} images, classes {:?}", data.records.len(), data.class_names);
/// let split = data.sides(0);
/// println!("{} images to train on", split.train.records.len());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// As both.
pub fn open(path: impl AsRef<Path>) -> Result<Dataset> {
    Format::of(&path)?.open(path)
}
