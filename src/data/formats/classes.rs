//! `classes.txt`: the names of the classes, for formats that have no other place for them.

use std::collections::HashMap;
use std::path::Path;

use super::names::read_name;
use crate::error::{Error, Result};
use crate::text::read_text;

const FILE: &str = "classes.txt";

/// The names in `classes.txt`, one a line, that of class 1 first; none where there is no such file.
pub(super) fn read(root: &Path) -> Result<Option<Vec<String>>> {
    let path = root.join(FILE);
    if !path.exists() {
        return Ok(None);
    }
    let text = read_text(&path)?;
    let mut lines = HashMap::new();
    let mut names = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some(name) = read_name(line) else { continue };
        if let Some(earlier) = lines.insert(name.clone(), index + 1) {
            let message = format!("the class `{name}` is named in line {earlier}, too");
            return Err(Error::line(path, index + 1, message));
        }
        names.push(name);
    }
    if names.is_empty() {
        return Err(Error::file(path, "names no classes"));
    }
    Ok(Some(names))
}
