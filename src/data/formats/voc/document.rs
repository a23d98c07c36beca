//! The text of an annotation file.

use std::fmt::Write;

use quick_xml::escape::escape;

use crate::structures::Annotation;

/// The annotation file of an image of `(height, width)`: its objects, each with the name of its class and,
/// where it is a detection, its score. `extra` has elements of the image beyond VOC's.
pub fn document<'a>(
    image: &str,
    (height, width): (usize, usize),
    extra: &[(&str, Option<&str>)],
    objects: impl Iterator<Item = (&'a Annotation, &'a str, Option<f32>)>,
) -> String {
    let (folder, file) = image.rsplit_once('/').unwrap_or(("JPEGImages", image));
    let mut xml = String::from("<annotation>\n");
    let elements = [("folder", Some(folder)), ("filename", Some(file))];
    for (name, value) in elements.iter().chain(extra) {
        if let Some(value) = value {
            writeln!(xml, "  <{name}>{}</{name}>", text(value)).expect("a string takes all");
        }
    }
    let size = format!("<width>{width}</width><height>{height}</height><depth>3</depth>");
    writeln!(xml, "  <size>{size}</size>").expect("a string takes all");
    for (object, name, score) in objects {
        let [x1, y1, x2, y2] = object.xyxy.map(f64::from);
        // The first pixel is 1 and begins at 0.
        let corners = [("xmin", x1 + 1.0), ("ymin", y1 + 1.0), ("xmax", x2), ("ymax", y2)];
        let corners = corners.map(|(name, value)| format!("<{name}>{value}</{name}>")).concat();
        let score = score.map_or(String::new(), |score| format!("    <score>{score}</score>\n"));
        write!(
            xml,
            "  <object>\n    <name>{}</name>\n    <difficult>{}</difficult>\n{score}    \
             <bndbox>{corners}</bndbox>\n  </object>\n",
            text(name),
            u8::from(object.difficult),
        )
        .expect("a string takes all");
    }
    xml + "</annotation>\n"
}

/// Text of an element. Blanks at its ends, which readers leave out, are written as numbers.
fn text(value: &str) -> String {
    let inner = value.trim();
    let start = value.len() - value.trim_start().len();
    let numbers =
        |blanks: &str| blanks.chars().map(|blank| format!("&#{};", u32::from(blank))).collect::<String>();
    if inner.is_empty() {
        return numbers(value);
    }
    let end = start + inner.len();
    numbers(&value[..start]) + &escape(inner).replace('\r', "&#13;") + &numbers(&value[end..])
}
