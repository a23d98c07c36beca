//! What is looked for in the images of every data set.

use std::collections::{HashMap, HashSet};

use image::RgbImage;
use rayon::prelude::*;

use super::dataset::{Dataset, Record, Side};
use super::images::decode;
use super::report::Report;
use super::similar::{PictureHash, neighbours};
use crate::error::{Error, Result};

/// Groups on both sides that are named one by one.
const NAMED_GROUPS: usize = 10;

/// Decodes all images of a data set, and calls `on_image` after each.
///
/// Faults are images that do not decode or have another size than the data set says. Warnings are
///
/// - images with the same content, and those that are almost the same picture (by a perceptual hash):
///   an image that is held out is named with one that is trained on, and any other with an earlier one;
/// - groups that are trained on and held out: each with an image of both sides, or all of them in one warning
///   where there are more than ten.
///
/// # Errors
///
/// [`Error::Io`] where an image that was read once cannot be read again.
pub fn check_images(data: &Dataset, report: &mut Report, on_image: impl Fn() + Sync) -> Result<()> {
    let examine = |record: &Record| {
        let examined = examine(record);
        on_image();
        examined
    };
    let findings: Vec<Result<Examined>> = data.records.par_iter().map(examine).collect();
    let (mut images, mut places) = (Vec::new(), HashSet::new());
    for (record, examined) in data.records.iter().zip(findings) {
        let Some(Examined { fingerprint, hash }) = report.take(examined) else { continue };
        // An image that is listed again is the reader's business.
        if places.insert(record.image.place()) {
            images.push(Picture { record, fingerprint, hash });
        }
    }
    repeated(&images)?.into_iter().for_each(|warning| report.warn(warning));
    mixed_groups(data).into_iter().for_each(|warning| report.warn(warning));
    Ok(())
}

/// What is known of an image that decodes.
struct Examined {
    fingerprint: Fingerprint,
    hash: Option<PictureHash>,
}

struct Picture<'a> {
    record: &'a Record,
    fingerprint: Fingerprint,
    /// None for a picture of one colour.
    hash: Option<PictureHash>,
}

impl Picture<'_> {
    fn is_held_out(&self) -> bool {
        matches!(self.record.side, Some(Side::Validation | Side::Test))
    }
}

fn examine(record: &Record) -> Result<Examined> {
    let bytes = record.image.read()?;
    let image: RgbImage = decode(&record.image.place(), &bytes)?;
    record.check_size((image.height() as usize, image.width() as usize))?;
    if let Some(reference) = &record.reference {
        reference.load()?;
    }
    Ok(Examined { fingerprint: Fingerprint::of(&bytes), hash: PictureHash::of(&image) })
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

/// A warning for each image that is there again, by its content or almost.
fn repeated(images: &[Picture]) -> Result<Vec<Error>> {
    let equal = equal_images(images)?;
    let hashed: Vec<usize> = (0..images.len()).filter(|index| images[*index].hash.is_some()).collect();
    let hashes: Vec<(PictureHash, bool)> = hashed
        .iter()
        .filter_map(|index| Some((images[*index].hash?, images[*index].is_held_out())))
        .collect();
    let mut near = vec![[None; 2]; images.len()];
    for (index, found) in hashed.iter().zip(neighbours(&hashes)) {
        near[*index] = found.map(|other| other.map(|other| hashed[other]));
    }
    let warning = |index: usize| {
        let [own, other] = [equal[index], near[index]].map(|[own, other]| {
            // A pair on both sides is told of the image that is held out.
            [own, other.filter(|_| images[index].is_held_out())]
        });
        let (what, other) = [(own[1], true), (other[1], false), (own[0], true), (other[0], false)]
            .into_iter()
            .find_map(|(found, is_equal)| {
                let what =
                    if is_equal { "the file has the same content as" } else { "almost the same picture as" };
                found.map(|found| (what, found))
            })?;
        let (this, other) = (&images[index], &images[other]);
        let leak = match (other.is_held_out(), this.record.side) {
            (false, Some(Side::Validation)) => ": it is trained on and validated on",
            (false, Some(Side::Test)) => ": it is trained on and tested on",
            _ => "",
        };
        Some(this.record.image.fault(format!("{what} {}{leak}", other.record.image)))
    };
    Ok((0..images.len()).filter_map(warning).collect())
}

/// For each image one with the same content: an earlier one of its kind (trained on, or held out), and one of
/// the other kind.
fn equal_images(images: &[Picture]) -> Result<Vec<[Option<usize>; 2]>> {
    // Contents with this fingerprint, each by its first image of both kinds.
    let mut contents: HashMap<Fingerprint, Vec<[Option<usize>; 2]>> = HashMap::new();
    let mut places = Vec::new();
    for (index, image) in images.iter().enumerate() {
        let known = contents.entry(image.fingerprint).or_default();
        let mut place = known.len();
        for (position, firsts) in known.iter().enumerate() {
            let first = firsts.iter().flatten().next();
            if let Some(first) = first
                && image.record.image.read()? == images[*first].record.image.read()?
            {
                place = position;
                break;
            }
        }
        if place == known.len() {
            known.push([None; 2]);
        }
        known[place][usize::from(image.is_held_out())].get_or_insert(index);
        places.push(place);
    }
    let found = |(index, place): (usize, &usize)| {
        let firsts = contents[&images[index].fingerprint][*place];
        let kind = usize::from(images[index].is_held_out());
        [firsts[kind].filter(|first| *first < index), firsts[1 - kind]]
    };
    Ok(places.iter().enumerate().map(found).collect())
}

/// Warnings about groups that are trained on and held out.
fn mixed_groups(data: &Dataset) -> Vec<Error> {
    let mixed = groups_on_both_sides(&data.records);
    let name = |record: &Record| record.group.clone().unwrap_or_default();
    let use_of = |record: &Record| if record.side == Some(Side::Test) { "tested on" } else { "validated on" };
    if mixed.len() <= NAMED_GROUPS {
        let warning = |(trained, held_out): &(&Record, &Record)| {
            let (other, group) = (&trained.image, name(trained));
            let held_out_for = use_of(held_out);
            held_out
                .image
                .fault(format!("is {held_out_for}, and {other} of the same group `{group}` is trained on"))
        };
        return mixed.iter().map(warning).collect();
    }
    let (trained, held_out) = mixed[0];
    let names: HashSet<String> = mixed.iter().map(|(record, _)| name(record)).collect();
    let all: HashSet<&String> = data.records.iter().filter_map(|record| record.group.as_ref()).collect();
    let held_out_images = |record: &&Record| matches!(record.side, Some(Side::Validation | Side::Test));
    let of_all: Vec<&Record> = data.records.iter().filter(held_out_images).collect();
    let of_mixed =
        of_all.iter().filter(|record| record.group.as_ref().is_some_and(|name| names.contains(name)));
    vec![held_out.image.fault(format!(
        "is {}, and {} of the same group `{}` is trained on; so it is with {} of the {} groups, and with {} \
         of the {} images that are held out",
        use_of(held_out),
        trained.image,
        name(trained),
        mixed.len(),
        all.len(),
        of_mixed.count(),
        of_all.len(),
    ))]
}

/// The groups that have images to train on and others that are held out.
fn groups_on_both_sides(records: &[Record]) -> Vec<(&Record, &Record)> {
    let mut trained = HashMap::new();
    // Images that are for nothing in particular are trained on.
    for record in records.iter().filter(|record| matches!(record.side, None | Some(Side::Train))) {
        if let Some(group) = &record.group {
            trained.entry(group).or_insert(record);
        }
    }
    let mut seen = HashSet::new();
    let held_out = records.iter().filter(|record| matches!(record.side, Some(Side::Validation | Side::Test)));
    held_out
        .filter_map(|record| Some((*trained.get(record.group.as_ref()?)?, record)))
        // An image that is listed on both sides is another fault.
        .filter(|(trained, record)| trained.image != record.image)
        .filter(|(_, record)| seen.insert(&record.group))
        .collect()
}
