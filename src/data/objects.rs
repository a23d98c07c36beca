//! From what a file says of an image's objects to annotations.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::path::Path;

use super::boxes;
use super::report::Report;
use crate::error::Error;
use crate::structures::Annotation;

/// Where a file speaks of an object.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// A line, counted from 1.
    Line(usize),
    /// The `id` of an annotation.
    Annotation(i64),
    /// A row of a table, and an object of its list, both counted from 1.
    #[cfg_attr(not(feature = "tables"), expect(dead_code, reason = "tables have rows"))]
    Row(usize, usize),
}

impl Place {
    pub fn error(self, path: &Path, message: impl fmt::Display) -> Error {
        match self {
            Self::Line(line) => Error::line(path, line, message),
            _ => Error::file(path, format!("{self}: {message}")),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Annotation(id) => write!(f, "annotation {id}"),
            Self::Row(row, object) => write!(f, "row {row}, object {object}"),
        }
    }
}

/// [`objects`] of a text file with an object a line; blank lines are none. `parse` is for one line.
pub(super) fn objects_of_lines(
    path: &Path,
    text: &str,
    size: (usize, usize),
    parse: impl Fn(&str) -> Result<Annotation, String>,
    report: &mut Report,
) -> Vec<Annotation> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    objects(path, size, lines.map(|(index, line)| (Place::Line(index + 1), parse(line))), report)
}

/// The objects that the file `path` names for an image of `(height, width)`, but for those that are at fault.
/// The error of an object is a message.
///
/// Boxes that reach over the border by half a pixel are clipped; those that reach further or are empty are
/// faults. Boxes thinner than a pixel and objects that are named twice are warnings.
pub(super) fn objects(
    path: &Path,
    size: (usize, usize),
    parsed: impl IntoIterator<Item = (Place, Result<Annotation, String>)>,
    report: &mut Report,
) -> Vec<Annotation> {
    let (mut objects, mut earlier) = (Vec::new(), HashMap::new());
    for (place, annotation) in parsed {
        let within = annotation.and_then(|annotation| {
            let xyxy = boxes::within(annotation.xyxy, size)?;
            Ok(Annotation { xyxy, ..annotation })
        });
        let annotation = match within {
            Ok(annotation) => annotation,
            Err(message) => {
                report.fault(place.error(path, message));
                continue;
            }
        };
        if boxes::is_thin(annotation.xyxy) {
            let [x1, y1, x2, y2] = annotation.xyxy;
            let message = format!("box `{x1} {y1} {x2} {y2}` is thinner than a pixel");
            report.warn(place.error(path, message));
        }
        match earlier.entry((annotation.xyxy.map(f32::to_bits), annotation.label)) {
            Entry::Occupied(other) => {
                let message = format!("the same object as in {}", other.get());
                report.warn(place.error(path, message));
            }
            Entry::Vacant(free) => {
                free.insert(place);
            }
        }
        objects.push(annotation);
    }
    objects
}
