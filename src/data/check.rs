//! What is looked for in the images of every data set.

use std::collections::HashMap;

use rayon::prelude::*;

use super::dataset::{Dataset, Record};
use super::image_source::ImageSource;
use super::images::decode;
use super::report::Report;
use crate::error::{Error, Result};

/// Decodes all images. Faults are images that do not decode or have another size than the data set says,
/// warnings are equal image files.
pub(super) fn check_images(data: &Dataset, report: &mut Report) -> Result<()> {
    let findings: Vec<Result<Fingerprint>> = data.records.par_iter().map(examine).collect();
    let mut images = Vec::new();
    for (record, fingerprint) in data.records.iter().zip(findings) {
        images.extend(report.take(fingerprint).map(|fingerprint| (&record.image, fingerprint)));
    }
    equal_images(&images)?.into_iter().for_each(|warning| report.warn(warning));
    Ok(())
}

fn examine(record: &Record) -> Result<Fingerprint> {
    let bytes = record.image.read()?;
    let image = decode(&record.image.place(), &bytes)?;
    record.check_size((image.height() as usize, image.width() as usize))?;
    if let Some(reference) = &record.reference {
        reference.load()?;
    }
    Ok(Fingerprint::of(&bytes))
}

/// Equal for files with equal content, and almost never for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Fingerprint {
    bytes: usize,
    checksum: u32,
}

impl Fingerprint {
    fn of(content: &[u8]) -> Self {
        Self { bytes: content.len(), checksum: crc32fast::hash(content) }
    }
}

/// A warning for each image with the same content as an earlier one.
fn equal_images(images: &[(&ImageSource, Fingerprint)]) -> Result<Vec<Error>> {
    let mut earlier: HashMap<Fingerprint, Vec<&ImageSource>> = HashMap::new();
    let mut warnings = Vec::new();
    for (image, fingerprint) in images {
        let candidates = earlier.entry(*fingerprint).or_default();
        if candidates.contains(image) {
            continue;
        }
        let mut equal = None;
        for candidate in candidates.iter() {
            if image.read()? == candidate.read()? {
                equal = Some(*candidate);
                break;
            }
        }
        match equal {
            Some(other) => {
                warnings.push(image.fault(format!("the file has the same content as {other}")));
            }
            None => candidates.push(image),
        }
    }
    Ok(warnings)
}
