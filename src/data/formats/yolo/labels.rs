//! Label files: an object a line.

use std::path::Path;

use crate::data::objects::objects_of_lines;
use crate::data::report::Report;
use crate::error::{Error, Result};
use crate::structures::{Annotation, Xyxy};
use crate::text::read_text;

/// The objects of a label file, for an image of `size` `(height, width)`; none where there is no such file.
pub(super) fn read_labels(
    path: &Path,
    size: (usize, usize),
    classes: usize,
    report: &mut Report,
) -> Result<Vec<Annotation>> {
    let text = match read_text(path) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Vec::new());
        }
        text => text?,
    };
    Ok(objects_of_lines(path, &text, size, |line| parse_line(line, size, classes), report))
}

/// The line of an object in an image of `size` `(height, width)`, without its end.
pub fn label_line(xyxy: Xyxy, label: usize, (height, width): (usize, usize)) -> String {
    let ([x1, y1, x2, y2], height, width) = (xyxy.map(f64::from), height as f64, width as f64);
    let (x, y) = ((x1 + x2) / 2.0 / width, (y1 + y2) / 2.0 / height);
    format!("{} {x} {y} {} {}", label - 1, (x2 - x1) / width, (y2 - y1) / height)
}

/// Parses `class x y width height` or `class x1 y1 x2 y2 x3 y3 ...`; the error is a message.
fn parse_line(line: &str, (height, width): (usize, usize), classes: usize) -> Result<Annotation, String> {
    let mut fields = line.split_whitespace();
    let class = fields.next().unwrap_or_default();
    // Some programs write classes as 3.0.
    let number = class.parse::<f64>().ok().filter(|number| number.fract() == 0.0 && *number >= 0.0);
    let class = number
        .filter(|number| *number < classes as f64)
        .map(|number| number as usize)
        .ok_or_else(|| format!("class `{class}` is not one of 0..{classes}"))?;
    let numbers = fields.map(|field| {
        let number = field.parse::<f64>().ok().filter(|number| number.is_finite());
        number.ok_or_else(|| format!("`{field}` is not a coordinate"))
    });
    let numbers: Vec<f64> = numbers.collect::<Result<_, _>>()?;
    let [x1, y1, x2, y2] = match numbers.as_slice() {
        &[x, y, width, height] => [x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0],
        polygon if polygon.len() >= 6 && polygon.len() % 2 == 0 => {
            let least =
                |first: usize| polygon[first..].iter().step_by(2).copied().fold(f64::INFINITY, f64::min);
            let most =
                |first: usize| polygon[first..].iter().step_by(2).copied().fold(f64::NEG_INFINITY, f64::max);
            [least(0), least(1), most(0), most(1)]
        }
        other => {
            return Err(format!(
                "expected `class x y width height`, found {} fields: `{}`",
                other.len() + 1,
                line.trim()
            ));
        }
    };
    let (height, width) = (height as f64, width as f64);
    Ok(Annotation::new(
        [x1 * width, y1 * height, x2 * width, y2 * height].map(|corner| corner as f32),
        class + 1,
    ))
}
