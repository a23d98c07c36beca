//! The formats by name, and which one a folder has.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::select::select;
use super::writer::{Transfer, Writer};
use super::{coco, deep_pcb, tables};
#[cfg(feature = "data")]
use super::{voc, yolo};
use crate::data::check::check_images;
use crate::data::dataset::Dataset;
use crate::data::report::Report;
use crate::error::{Error, Result};
use crate::files::write_folder_atomically;

/// How a data set lies on disk.
///
/// VOC and YOLO need the Cargo feature `data`, Parquet needs `tables`. Without it, they are recognised, but
/// reading and writing them is an [`Error::Config`] that names the feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// COCO's JSON, with a folder of images.
    Coco,
    /// Pascal VOC's XML files.
    Voc,
    /// YOLO's text files, with a `data.yaml`.
    Yolo,
    /// [DeepPCB](super::deep_pcb)'s folders and lists.
    DeepPcb,
    /// [Parquet tables](super::tables), with or without the images' bytes.
    Parquet,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Coco, Self::Voc, Self::Yolo, Self::DeepPcb, Self::Parquet];

    /// What it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Coco => "coco",
            Self::Voc => "voc",
            Self::Yolo => "yolo",
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
                "no data set is recognised here: expected COCO's `annotations/*.json`, VOC's \
                 `Annotations/*.xml`, YOLO's `data.yaml`, DeepPCB's `trainval.txt` or `group*` folders, or \
                 `*.parquet`",
            )),
            [..] => {
                let names: Vec<&str> = fitting.iter().map(|format| format.name()).collect();
                Err(Error::file(path, format!("may be of several formats, say which: {}", names.join(", "))))
            }
        }
    }

    fn fits(self, path: &Path) -> bool {
        match self {
            Self::Coco => coco::is_coco(path),
            #[cfg(feature = "data")]
            Self::Voc => voc::is_voc(path),
            #[cfg(feature = "data")]
            Self::Yolo => yolo::is_yolo(path),
            Self::DeepPcb => deep_pcb::is_data_folder(path),
            Self::Parquet => tables::has_tables(path),
            #[cfg(not(feature = "data"))]
            Self::Voc | Self::Yolo => false,
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
            Self::Coco => coco::read(path, &mut report)?,
            #[cfg(feature = "data")]
            Self::Voc => voc::read(path, &mut report)?,
            #[cfg(feature = "data")]
            Self::Yolo => yolo::read(path, &mut report)?,
            Self::DeepPcb => deep_pcb::read(path, &mut report)?,
            #[cfg(feature = "tables")]
            Self::Parquet => tables::read(path, &mut report)?,
            #[cfg(not(all(feature = "data", feature = "tables")))]
            _ => return Err(self.not_built()),
        };
        data.class_fault().map_or(Ok(()), |fault| Err(Error::file(path, fault)))?;
        report.finish(path);
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
            let data = deep_pcb::read_list(path, list, &mut report)?;
            report.finish(path);
            return Ok((data, report));
        }
        let (data, mut report) = self.read(path)?;
        let data = select(data, list, &mut report)?;
        report.finish(path);
        Ok((data, report))
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
            let (path, count) = (path.display(), warnings.len());
            tracing::warn!(%path, warnings = count, first = %first, "check the data set");
        }
        Ok(data)
    }

    /// Reads a data set, decodes every image, and says everything that is wrong: first what reading finds, in
    /// the data set's order, then what the pixels show.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn check(self, path: impl AsRef<Path>) -> Result<Report> {
        let (data, mut report) = self.read(&path)?;
        check_images(&data, &mut report, || ())?;
        report.finish(path.as_ref());
        Ok(report)
    }

    /// Writes a data set into a new folder, or an empty one, which is replaced. Until all is written, it lies
    /// in a hidden folder beside it.
    ///
    /// Images keep their names, but for those that would be the same without their extension, and their
    /// bytes. Boxes keep their place to less than a thousandth of a pixel. Returns a warning for what the
    /// format has no place for: crowds and difficult objects in YOLO's and DeepPCB's, crowds in VOC's.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for [`Transfer::Embed`] in another format than Parquet, and as
    /// [`Dataset::validate`]. [`Error::File`] where `folder` holds something already, or a name cannot be
    /// written. [`Error::Io`] where an image cannot be read or the folder cannot be written.
    pub fn write(self, data: &Dataset, folder: impl AsRef<Path>, images: Transfer) -> Result<Vec<Error>> {
        self.write_with(data, folder, images, &|| ())
    }

    /// [`write`](Self::write), with a call of `on_image` after each image, which may come from any thread.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn write_with(
        self,
        data: &Dataset,
        folder: impl AsRef<Path>,
        images: Transfer,
        on_image: &(dyn Fn() + Sync),
    ) -> Result<Vec<Error>> {
        data.validate()?;
        if images == Transfer::Embed && self != Self::Parquet {
            return Err(Error::Config(format!("{self} keeps images in files: copy them or link to them")));
        }
        let mut warnings = Vec::new();
        write_folder_atomically(folder.as_ref(), |folder| {
            let mut writer = Writer::new(folder, images, on_image);
            match self {
                Self::Coco => coco::write(data, &mut writer)?,
                #[cfg(feature = "data")]
                Self::Voc => voc::write(data, &mut writer)?,
                #[cfg(feature = "data")]
                Self::Yolo => yolo::write(data, &mut writer)?,
                Self::DeepPcb => deep_pcb::write(data, &mut writer)?,
                #[cfg(feature = "tables")]
                Self::Parquet => tables::write(data, &mut writer)?,
                #[cfg(not(all(feature = "data", feature = "tables")))]
                _ => return Err(self.not_built()),
            }
            warnings = writer.warnings;
            Ok(())
        })?;
        Ok(warnings)
    }

    #[cfg(not(all(feature = "data", feature = "tables")))]
    fn not_built(self) -> Error {
        let feature = if self == Self::Parquet { "tables" } else { "data" };
        Error::Config(format!(
            "{self} needs the Cargo feature `{feature}`, which this program was built without"
        ))
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
