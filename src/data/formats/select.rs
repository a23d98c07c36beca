//! Some images of a data set, by a list of names.

use std::collections::HashMap;
use std::mem::take;
use std::path::Path;

use super::names::read_name;
use crate::data::dataset::Dataset;
use crate::data::report::Report;
use crate::error::{Error, Result};
use crate::text::read_text;

/// The images that the lines of a list name, in its order.
pub(super) fn select(mut data: Dataset, list: &Path, report: &mut Report) -> Result<Dataset> {
    let wanted = Index::new(&data).listed(list, &mut Earlier::new(), report)?;
    if wanted.is_empty() && report.faults.is_empty() {
        return Err(Error::file(list, "lists no images"));
    }
    let mut records: Vec<_> = take(&mut data.records).into_iter().map(Some).collect();
    let records = wanted.into_iter().filter_map(|index| records[index].take()).collect();
    Ok(Dataset { records, ..data })
}

/// The list and the line, counted from 1, that have named an image.
pub(super) type Earlier<'a> = HashMap<usize, (&'a Path, usize)>;

/// Images by their names, by the ends of these, and by both without extension.
pub(super) struct Index<'a> {
    whole: HashMap<&'a str, Vec<usize>>,
    parts: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Index<'a> {
    pub fn new(data: &'a Dataset) -> Self {
        let (mut whole, mut parts) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
        for (position, record) in data.records.iter().enumerate() {
            whole.entry(record.name.as_str()).or_default().push(position);
            let ends = record.name.match_indices('/').map(|(slash, _)| &record.name[slash + 1..]);
            for end in [record.name.as_str()].into_iter().chain(ends) {
                let stem = Path::new(end).with_extension("");
                parts.entry(end).or_default().push(position);
                if let Some(stem) = stem.to_str().filter(|stem| *stem != end) {
                    parts.entry(&end[..stem.len()]).or_default().push(position);
                }
            }
        }
        Self { whole, parts }
    }

    /// The positions of the images that the lines of a list name, in its order. Lines that name no image,
    /// several, or one that has been named earlier, are faults.
    pub fn listed<'b>(
        &self,
        list: &'b Path,
        earlier: &mut Earlier<'b>,
        report: &mut Report,
    ) -> Result<Vec<usize>> {
        let text = read_text(list)?;
        let mut wanted = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let Some(name) = read_name(line) else { continue };
            let fault = match self.find(&name) {
                [record] => match earlier.insert(*record, (list, index + 1)) {
                    None => {
                        wanted.push(*record);
                        continue;
                    }
                    Some((other, line)) if other == list => format!("`{name}` is listed in line {line}, too"),
                    Some((other, line)) => format!("`{name}` is listed at {}:{line}, too", other.display()),
                },
                [] => format!("the data set has no image `{name}`"),
                several => format!("the data set has {} images `{name}`", several.len()),
            };
            report.fault(Error::line(list, index + 1, fault));
        }
        Ok(wanted)
    }

    /// The images that a name may mean. A whole name is never taken for the end of another one.
    fn find(&self, name: &str) -> &[usize] {
        self.whole.get(name).or_else(|| self.parts.get(name)).map_or(&[], Vec::as_slice)
    }
}
