//! DeepPCB's label files: one defect a line, `x1 y1 x2 y2 class`.

use std::path::Path;

use crate::data::objects::objects_of_lines;
use crate::data::report::Report;
use crate::error::Result;
use crate::structures::Annotation;
use crate::text::read_text;

/// The objects of a label file, for an image of `size` `(height, width)`; `classes` is the number of classes.
pub(super) fn read_labels(
    path: &Path,
    size: (usize, usize),
    classes: usize,
    report: &mut Report,
) -> Result<Vec<Annotation>> {
    let text = read_text(path)?;
    Ok(objects_of_lines(path, &text, size, |line| parse_label(line, classes), report))
}

/// Parses `x1 y1 x2 y2 class`; the error is the message for [`Error::Line`](crate::error::Error::Line).
fn parse_label(line: &str, classes: usize) -> Result<Annotation, String> {
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
    Ok(Annotation::new(xyxy, label))
}
