//! DeepPCB's label files: one defect a line, `x1 y1 x2 y2 class`.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result};
use crate::structures::Annotation;

/// Names of the defect classes; a label is its position here plus 1, because 0 is the background.
pub const CLASS_NAMES: [&str; 6] = ["open", "short", "mousebite", "spur", "copper", "pin-hole"];

/// One result for each line of a label file that is not blank. Without `size`, `(height, width)`, boxes
/// may reach as far as they like to the right and down.
///
/// The outer error is a file that cannot be read, the inner ones are [`Error::Line`].
pub(super) fn read_labels(path: &Path, size: Option<(usize, usize)>) -> Result<Vec<Result<Annotation>>> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    Ok(text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(number, line)| {
            parse_label(line, size).map_err(|message| Error::line(path, number + 1, message))
        })
        .collect())
}

/// Parses `x1 y1 x2 y2 class`; the error is the message for [`Error::Line`].
fn parse_label(line: &str, size: Option<(usize, usize)>) -> Result<Annotation, String> {
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
        Ok(label) if (1..=CLASS_NAMES.len()).contains(&label) => label,
        _ => return Err(format!("class `{class}` is not one of 1..={}", CLASS_NAMES.len())),
    };
    if xyxy[2] <= xyxy[0] || xyxy[3] <= xyxy[1] {
        return Err(format!("box `{x1} {y1} {x2} {y2}` is empty: x1 < x2 and y1 < y2 must hold"));
    }
    let (height, width) = size.map_or((f32::MAX, f32::MAX), |(height, width)| (height as f32, width as f32));
    if xyxy[0] < 0.0 || xyxy[1] < 0.0 || xyxy[2] > width || xyxy[3] > height {
        let of_size =
            size.map_or(String::new(), |(height, width)| format!(" (height {height}, width {width})"));
        return Err(format!("box `{x1} {y1} {x2} {y2}` lies outside the image{of_size}"));
    }
    Ok(Annotation::new(xyxy, label))
}
