//! DeepPCB's label files: one defect a line, `x1 y1 x2 y2 class`.

use std::path::Path;

use crate::data::boxes;
use crate::error::{Error, Result};
use crate::structures::Annotation;
use crate::text::read_text;

/// A line of a label file, counted from 1, and what it says.
pub(super) type LabelLine = (usize, Result<Annotation>);

/// The lines of a label file that are not blank, for an image of `size` `(height, width)` and this many
/// classes. Without a size, boxes may reach as far as they like to the right and down.
///
/// The outer error is a file that cannot be read, the inner ones are [`Error::Line`].
pub(super) fn read_labels(
    path: &Path,
    size: Option<(usize, usize)>,
    classes: usize,
) -> Result<Vec<LabelLine>> {
    let text = read_text(path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parsed = lines.map(|(index, line)| {
        let label = parse_label(line, size, classes);
        (index + 1, label.map_err(|message| Error::line(path, index + 1, message)))
    });
    Ok(parsed.collect())
}

/// Parses `x1 y1 x2 y2 class`; the error is the message for [`Error::Line`].
fn parse_label(line: &str, size: Option<(usize, usize)>, classes: usize) -> Result<Annotation, String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let &[x1, y1, x2, y2, class] = fields.as_slice() else {
        return Err(format!(
            "expected `x1 y1 x2 y2 class`, found {} fields: `{}`",
            fields.len(),
            line.trim()
        ));
    };
    let number = |field: &str| match field.parse::<f32>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(format!("`{field}` is not a coordinate")),
    };
    let xyxy = [number(x1)?, number(y1)?, number(x2)?, number(y2)?];
    let label = match class.parse::<usize>() {
        Ok(label) if (1..=classes).contains(&label) => label,
        _ => return Err(format!("class `{class}` is not one of 1..={classes}")),
    };
    let xyxy = boxes::within(xyxy, size.unwrap_or((usize::MAX, usize::MAX)))?;
    Ok(Annotation::new(xyxy, label))
}
