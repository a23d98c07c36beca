//! Inspections as tables and data sets.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::str::FromStr;

use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::coco::CocoWriter;
use super::filter::{Filter, VerdictState};
use super::inspection::Inspection;
use super::store::Records;
use super::table::write_csv;
#[cfg(feature = "tables")]
use super::table_parquet::write_parquet;
use crate::error::{Error, Result};
use crate::files::{write_atomically, write_folder_atomically, write_new};

/// Inspections that are read from the database at once.
const PAGE: u32 = 200;

/// The forms in which inspections leave the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// A table in a file, a row a detection or missed object; an inspection without any has a row, too.
    Csv,
    /// The same table as Parquet. Needs the feature `tables`.
    Parquet,
    /// A folder with a COCO data set: `annotations.json`, `images/` and `references/`. Of inspections with a
    /// verdict: their annotations are the detections that are real and what was missed. Detections of which
    /// nobody said anything have `ignore`, false calls are left out.
    Coco,
    /// The same data set as a ZIP file.
    CocoZip,
}

impl FromStr for ExportFormat {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "csv" => Ok(Self::Csv),
            "parquet" => Ok(Self::Parquet),
            "coco" => Ok(Self::Coco),
            "coco-zip" => Ok(Self::CocoZip),
            _ => Err("expected csv, parquet, coco or coco-zip"),
        }
    }
}

impl Records {
    /// Writes inspections, newest first, to a file, or for [`ExportFormat::Coco`] to a new or empty folder.
    /// It is written whole or not at all. Gives the number of inspections.
    ///
    /// # Errors
    ///
    /// [`Error::Database`], and [`Error::Io`] and [`Error::File`] where `output` cannot be written;
    /// [`Error::Config`] for Parquet without the feature `tables`.
    pub async fn export(&self, filter: &Filter, format: ExportFormat, output: &Path) -> Result<u64> {
        let (records, filter, output) = (self.clone(), filter.clone(), output.to_path_buf());
        let handle = Handle::current();
        let write = move || match format {
            ExportFormat::Csv | ExportFormat::Parquet => {
                records.export_table(&handle, filter, format, &output)
            }
            ExportFormat::Coco => {
                let mut count = 0;
                let write = |folder: &Path| {
                    count = records.export_coco(&handle, filter, &mut |name, bytes| {
                        let path = folder.join(name);
                        let above = path.parent().unwrap_or(folder);
                        std::fs::create_dir_all(above).map_err(Error::io(above))?;
                        write_new(&path, bytes)
                    })?;
                    Ok(())
                };
                write_folder_atomically(&output, write).map(|()| count)
            }
            ExportFormat::CocoZip => {
                let mut count = 0;
                let write = |path: &Path| {
                    let failed = |error| Error::file_because(&output, "cannot be written", error);
                    let file = File::create(path).map_err(Error::io(&output))?;
                    let mut zip = ZipWriter::new(file);
                    // Images are compressed already.
                    let stored = SimpleFileOptions::default()
                        .compression_method(CompressionMethod::Stored)
                        .large_file(true);
                    count = records.export_coco(&handle, filter, &mut |name, bytes| {
                        zip.start_file(name, stored).map_err(failed)?;
                        zip.write_all(bytes).map_err(Error::io(&output))
                    })?;
                    zip.finish().map_err(failed).map(|_| ())
                };
                write_atomically(&output, write).map(|()| count)
            }
        };
        spawn_blocking(write).await.expect("writing does not panic")
    }

    fn export_table(
        &self,
        handle: &Handle,
        filter: Filter,
        format: ExportFormat,
        output: &Path,
    ) -> Result<u64> {
        let mut count = 0;
        let inspections = self.pages(handle, filter).inspect(|page| {
            count += page.as_ref().map_or(0, |page| page.len() as u64);
        });
        write_atomically(output, |path| match format {
            #[cfg(feature = "tables")]
            ExportFormat::Parquet => write_parquet(path, inspections),
            #[cfg(not(feature = "tables"))]
            ExportFormat::Parquet => Err(Error::Config(
                "Parquet needs the Cargo feature `tables`, which this program was built without".to_string(),
            )),
            _ => write_csv(path, inspections),
        })?;
        Ok(count)
    }

    /// Gives the files of a COCO data set to `put`, by their paths in it.
    fn export_coco(
        &self,
        handle: &Handle,
        filter: Filter,
        put: &mut dyn FnMut(&str, &[u8]) -> Result<()>,
    ) -> Result<u64> {
        let filter = Filter { verdict: Some(VerdictState::Given), ..filter };
        let mut writer = CocoWriter::new(handle.block_on(self.model_classes())?);
        for page in self.pages(handle, filter) {
            for inspection in page? {
                let image = handle.block_on(self.image(&inspection.image.sha256))?;
                let reference = match &inspection.reference {
                    None => None,
                    Some(reference) => handle.block_on(self.image(&reference.sha256))?,
                };
                // They may have been removed since the inspection was listed.
                let Some(image) = image else { continue };
                if inspection.reference.is_some() && reference.is_none() {
                    continue;
                }
                writer.add(&inspection, &image, reference.as_deref(), put)?;
            }
        }
        writer.finish(put)
    }

    fn pages(&self, handle: &Handle, filter: Filter) -> impl Iterator<Item = Result<Vec<Inspection>>> {
        let (mut before, mut is_over) = (None, false);
        std::iter::from_fn(move || {
            if is_over {
                return None;
            }
            let page = handle.block_on(self.list(&filter, before, PAGE));
            before = page.as_ref().ok().and_then(|page| page.next);
            is_over = before.is_none();
            Some(page.map(|page| page.items))
        })
    }
}
