//! What DeepPCB's classes are called, and those of a data set of other classes in its layout.

use std::collections::HashMap;
use std::path::Path;

use crate::error::{Error, Result};
use crate::text::read_text;

/// Names of DeepPCB's classes of defects; a label is its position here plus 1, because 0 is the background.
pub const CLASS_NAMES: [&str; 6] = ["open", "short", "mousebite", "spur", "copper", "pin-hole"];

/// This file is beside the lists if the classes are not DeepPCB's.
const CLASSES_FILE: &str = "classes.txt";

/// The names in `classes.txt`, one a line, that of class 1 first; DeepPCB's where there is no such file.
pub(super) fn read_class_names(root: &Path) -> Result<Vec<String>> {
    let path = root.join(CLASSES_FILE);
    if !path.exists() {
        return Ok(CLASS_NAMES.map(str::to_string).to_vec());
    }
    let text = read_text(&path)?;
    let mut lines = HashMap::new();
    let mut names = Vec::new();
    for (index, name) in text.lines().enumerate().map(|(index, line)| (index, line.trim())) {
        if name.is_empty() {
            continue;
        }
        if let Some(earlier) = lines.insert(name, index + 1) {
            let message = format!("the class `{name}` is named in line {earlier}, too");
            return Err(Error::line(path, index + 1, message));
        }
        names.push(name.to_string());
    }
    if names.is_empty() {
        return Err(Error::file(path, "names no classes"));
    }
    Ok(names)
}
