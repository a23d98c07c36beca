//! `data.yaml`: classes and where the images are.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::text::read_text;

/// More bytes than any description has.
const LARGEST: u64 = 16 << 20;

/// The file, as far as it is read.
#[derive(Deserialize)]
struct Yaml {
    path: Option<String>,
    train: Option<Places>,
    val: Option<Places>,
    test: Option<Places>,
    names: Option<Names>,
    nc: Option<usize>,
}

/// A folder or a list of images, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Places {
    One(String),
    Several(Vec<String>),
}

impl Places {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(place) => vec![place],
            Self::Several(places) => places,
        }
    }
}

/// A list, or a map from 0, 1, ...
#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    List(Vec<String>),
    Map(BTreeMap<usize, String>),
}

/// A description that makes sense.
pub(super) struct Description {
    /// Where the other paths begin.
    pub path: Option<String>,
    /// Of train, val and test.
    pub places: [Vec<String>; 3],
    pub names: Vec<String>,
}

/// Parses a description.
pub(super) fn parse(path: &Path) -> Result<Description> {
    if std::fs::metadata(path).map_err(Error::io(path))?.len() > LARGEST {
        return Err(Error::file(path, format!("is larger than {} MiB", LARGEST >> 20)));
    }
    let text = read_text(path)?;
    let yaml: Yaml = serde_saphyr::from_str(&text).map_err(|error| {
        let line = error.location().map_or(1, |location| location.line() as usize);
        Error::line(path, line, error.without_snippet())
    })?;
    let names = match yaml.names {
        None => return Err(Error::file(path, "has no `names` of classes")),
        Some(Names::List(names)) => names,
        Some(Names::Map(names)) => {
            if let Some((expected, (class, _))) =
                names.iter().enumerate().find(|(index, (class, _))| index != *class)
            {
                return Err(Error::file(
                    path,
                    format!("`names` has the class {class} where {expected} was expected"),
                ));
            }
            names.into_values().collect()
        }
    };
    if let Some(count) = yaml.nc.filter(|count| *count != names.len()) {
        return Err(Error::file(path, format!("`nc` is {count}, but there are {} `names`", names.len())));
    }
    let places = [yaml.train, yaml.val, yaml.test].map(|places| places.map_or(Vec::new(), Places::into_vec));
    if places.iter().all(Vec::is_empty) {
        return Err(Error::file(path, "has no `train`, `val` or `test`"));
    }
    Ok(Description { path: yaml.path, places, names })
}
