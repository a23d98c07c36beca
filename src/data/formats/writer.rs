//! What the writers of all formats share: where images go, and what they are called there.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rayon::prelude::*;

use super::files::{is_image, path_below};
use crate::data::dataset::{Dataset, Record, Side};
use crate::data::image_source::ImageSource;
use crate::error::{Error, Result};
use crate::files::write_new;
use crate::structures::Annotation;

/// How images come into a data set that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// Their files are copied.
    Copy,
    /// Symbolic links point to their files. An image in a table is written as a file.
    Link,
    /// Their bytes are put into the table. Only Parquet can.
    Embed,
}

impl FromStr for Transfer {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "copy" => Ok(Self::Copy),
            "link" => Ok(Self::Link),
            "embed" => Ok(Self::Embed),
            _ => Err("expected copy, link or embed"),
        }
    }
}

/// Writes into a folder that nobody else sees yet.
pub(super) struct Writer<'a> {
    folder: &'a Path,
    transfer: Transfer,
    /// Called after each image.
    pub on_image: &'a (dyn Fn() + Sync),
    /// What the format has no place for.
    pub warnings: Vec<Error>,
}

/// Where an image went.
pub(super) struct Placed {
    /// Its name below the folder of images.
    pub name: String,
    /// Its path below the data set's folder.
    #[cfg_attr(
        not(any(feature = "data", feature = "tables")),
        expect(dead_code, reason = "YOLO's labels follow it")
    )]
    pub path: String,
    /// The path of its reference below the data set's folder.
    pub reference: Option<String>,
}

impl<'a> Writer<'a> {
    pub fn new(folder: &'a Path, transfer: Transfer, on_image: &'a (dyn Fn() + Sync)) -> Self {
        Self { folder, transfer, on_image, warnings: Vec::new() }
    }

    #[cfg(feature = "tables")]
    pub fn transfer(&self) -> Transfer {
        self.transfer
    }

    /// A path in the data set.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.join(relative)
    }

    /// Writes a new file, and the folders above it.
    pub fn write(&self, relative: &str, content: &[u8]) -> Result<()> {
        let path = self.path(relative);
        if let Some(above) = path.parent() {
            fs::create_dir_all(above).map_err(Error::io(above))?;
        }
        write_new(&path, content)
    }

    /// Writes all images below `images`; with `by_side` in a folder for each side. `reference_of` says where
    /// the reference of an image goes, from the path of the image in the data set.
    pub fn place(
        &mut self,
        data: &Dataset,
        images: &str,
        by_side: bool,
        reference_of: impl Fn(&str) -> String + Sync,
    ) -> Result<Vec<Placed>> {
        let names = self.names(data, by_side)?;
        let write = |(record, name): (&Record, String)| {
            let side = if by_side { format!("{}/", side_folder(record.side)) } else { String::new() };
            let path = format!("{images}/{side}{name}");
            self.write_image(&record.image, &path)?;
            let reference = record.reference.as_ref().map(|reference| {
                let reference_path = reference_of(&path);
                self.write_image(reference, &reference_path).map(|()| reference_path)
            });
            let reference = reference.transpose()?;
            (self.on_image)();
            Ok(Placed { reference, name, path })
        };
        let placed: Vec<Result<Placed>> = data.records.par_iter().zip(names).map(write).collect();
        placed.into_iter().collect()
    }

    /// A name for each image, all different; with `by_side` those of a side. An image gets another name where
    /// an earlier one has the same, or the same but for the extension, because label files leave that out.
    pub fn names(&mut self, data: &Dataset, by_side: bool) -> Result<Vec<String>> {
        let mut taken = HashSet::new();
        let mut names = Vec::with_capacity(data.records.len());
        for record in &data.records {
            path_below(self.folder, &record.name).map_err(|message| record.image.fault(message))?;
            let (stem, extension) = parts(record)?;
            // On some file systems, names that differ in case only are the same name.
            let mut free = |stem: &str| taken.insert((record.side.filter(|_| by_side), stem.to_lowercase()));
            let numbered = (2..).map(|number| format!("{stem}_{number}"));
            let found = std::iter::once(stem.clone()).chain(numbered).find(|stem| free(stem));
            let name = format!("{}.{extension}", found.expect("there is always another number"));
            if name != record.name {
                self.warnings
                    .push(record.image.fault(format!("is called `{name}` in the data set that is written")));
            }
            names.push(name);
        }
        Ok(names)
    }

    /// Warns of objects that the format has no place for, and that are left out.
    pub fn warn(&mut self, data: &Dataset, format: &str, what: &str, is_left_out: fn(&Annotation) -> bool) {
        let objects = data.records.iter().flat_map(|record| &record.annotations);
        let count = objects.filter(|object| is_left_out(object)).count();
        if count > 0 {
            let message = format!("{count} {what} are left out: {format} has no place for them");
            self.warnings.push(Error::file(self.folder, message));
        }
    }

    pub fn write_image(&self, source: &ImageSource, relative: &str) -> Result<()> {
        let target = self.path(relative);
        if let Some(above) = target.parent() {
            fs::create_dir_all(above).map_err(Error::io(above))?;
        }
        match (self.transfer, source) {
            (Transfer::Link, ImageSource::File(path)) => {
                let real = fs::canonicalize(path).map_err(Error::io(path))?;
                link(&real, &target).map_err(Error::io(target))
            }
            _ => write_new(&target, &source.read()?),
        }
    }
}

/// The name of an image in two parts. Where it has no extension of an image, that of its content is taken.
fn parts(record: &Record) -> Result<(String, String)> {
    let name = &record.name;
    match name.rsplit_once('.') {
        Some((stem, extension)) if is_image(Path::new(name)) => Ok((stem.to_string(), extension.to_string())),
        _ => {
            let bytes = record.image.read()?;
            let format = image::guess_format(&bytes).map_err(Error::image(record.image.path()))?;
            Ok((name.clone(), format.extensions_str().first().copied().unwrap_or("png").to_string()))
        }
    }
}

#[cfg(unix)]
fn link(from: &Path, to: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(from, to)
}

#[cfg(windows)]
fn link(from: &Path, to: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_file(from, to)
}

/// The folder of a side, for formats that have one for each. CVAT calls images that are for nothing in
/// particular `default`.
pub(super) fn side_folder(side: Option<Side>) -> &'static str {
    match side {
        Some(Side::Train) => "train",
        Some(Side::Validation) => "val",
        Some(Side::Test) => "test",
        None => "default",
    }
}

/// The path of a reference: that of its image, with `references` in place of the first folder.
pub(super) fn in_references(image: &str) -> String {
    let (_, rest) = image.split_once('/').unwrap_or(("", image));
    format!("references/{rest}")
}

/// The name of an image without its extension.
pub(super) fn without_extension(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}
