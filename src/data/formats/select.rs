//! Some images of a data set, by a list of names.

use std::collections::HashMap;
use std::path::Path;

use super::names::read_name;
use crate::data::dataset::Dataset;
use crate::data::report::Report;
use crate::error::{Error, Result};
use crate::text::read_text;

/// The images that the lines of a list name, in its order.
pub(super) fn select(data: Dataset, list: &Path, report: &mut Report) -> Result<Dataset> {
    let text = read_text(list)?;
    let by_name = Index::new(&data);
    let (mut wanted, mut earlier) = (Vec::new(), HashMap::new());
    for (index, line) in text.lines().enumerate() {
        let Some(name) = read_name(line) else { continue };
        let fault = match by_name.find(&name) {
            [record] => match earlier.insert(*record, index + 1) {
                None => {
                    wanted.push(*record);
                    continue;
                }
                Some(line) => format!("`{name}` is listed in line {line}, too"),
            },
            [] => format!("the data set has no image `{name}`"),
            several => format!("the data set has {} images `{name}`", several.len()),
        };
        report.fault(Error::line(list, index + 1, fault));
    }
    if wanted.is_empty() && report.faults.is_empty() {
        return Err(Error::file(list, "lists no images"));
    }
    let mut records: Vec<_> = data.records.into_iter().map(Some).collect();
    let records = wanted.into_iter().filter_map(|index| records[index].take()).collect();
    Ok(Dataset { records, class_names: data.class_names })
}

/// Images by their names, by the ends of these, and by both without extension.
struct Index<'a>(HashMap<&'a str, Vec<usize>>);

impl<'a> Index<'a> {
    fn new(data: &'a Dataset) -> Self {
        let mut index: HashMap<&str, Vec<usize>> = HashMap::new();
        for (position, record) in data.records.iter().enumerate() {
            let ends = record.name.match_indices('/').map(|(slash, _)| &record.name[slash + 1..]);
            for end in [record.name.as_str()].into_iter().chain(ends) {
                let stem = Path::new(end).with_extension("");
                index.entry(end).or_default().push(position);
                if let Some(stem) = stem.to_str().filter(|stem| *stem != end) {
                    index.entry(&end[..stem.len()]).or_default().push(position);
                }
            }
        }
        Self(index)
    }

    /// The images that a name may mean.
    fn find(&self, name: &str) -> &[usize] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}
