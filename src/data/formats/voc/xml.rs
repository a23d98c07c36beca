//! What an annotation file says.

use std::path::Path;

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, Event};

use crate::error::{Error, Result};
use crate::text::read_text;

/// More elements within elements than any annotation has.
const DEEPEST: usize = 32;

/// An annotation file.
#[derive(Default)]
pub(super) struct Document {
    pub file_name: Option<String>,
    /// `(height, width)` in pixels.
    pub size: Option<(usize, usize)>,
    pub reference: Option<String>,
    pub group: Option<String>,
    pub objects: Vec<Object>,
}

/// An object; everything is text.
#[derive(Default)]
pub(super) struct Object {
    /// Where it begins, counted from 1.
    pub line: usize,
    pub name: Option<String>,
    pub difficult: Option<String>,
    /// `xmin`, `ymin`, `xmax` and `ymax`.
    pub corners: [Option<String>; 4],
}

/// Parses an annotation file.
pub(super) fn parse(path: &Path) -> Result<Document> {
    let text = read_text(path)?;
    let mut parser =
        Parser { path, text: &text, line: 1, counted: 0, elements: Vec::new(), value: String::new(), end: 0 };
    parser.document()
}

struct Parser<'a> {
    path: &'a Path,
    text: &'a str,
    /// Of the first `counted` bytes, the lines.
    line: usize,
    counted: usize,
    /// The elements that are open, outermost first.
    elements: Vec<String>,
    /// The text of the innermost one so far, without blanks at its beginning.
    value: String,
    /// Where blanks at its end begin.
    end: usize,
}

impl Parser<'_> {
    fn document(&mut self) -> Result<Document> {
        let mut reader = Reader::from_str(self.text);
        let (mut document, mut width, mut height) = (Document::default(), None, None);
        loop {
            let event = reader.read_event();
            self.count_lines(reader.buffer_position() as usize);
            match event.map_err(|error| self.fault(error))? {
                Event::Start(start) => {
                    if self.elements.len() == DEEPEST {
                        return Err(self.fault("elements are nested too deeply"));
                    }
                    self.elements.push(start.name().as_ref().to_string());
                    self.clear();
                    if self.path_is(&["annotation", "object"]) {
                        document.objects.push(Object { line: self.line, ..Object::default() });
                    }
                }
                Event::Text(text) => self.push_text(&text.xml10_content()),
                Event::CData(text) => self.push_text(&text.xml10_content()),
                Event::GeneralRef(entity) => self.push_entity(&entity)?,
                Event::End(_) => {
                    let value = self.value[..self.end].to_string();
                    let elements: Vec<&str> = self.elements.iter().map(String::as_str).collect();
                    match elements.as_slice() {
                        ["annotation", "size", "width"] => width = Some(self.pixels(&value)?),
                        ["annotation", "size", "height"] => height = Some(self.pixels(&value)?),
                        elements => keep(&mut document, elements, value),
                    }
                    self.elements.pop();
                    self.clear();
                }
                Event::Eof => break,
                _ => {}
            }
        }
        if !self.elements.is_empty() {
            return Err(self.fault(format!("the file is cut off: `{}` has no end", self.elements.join("/"))));
        }
        document.size = height.zip(width).filter(|(height, width)| *height > 0 && *width > 0);
        Ok(document)
    }

    fn path_is(&self, path: &[&str]) -> bool {
        self.elements.iter().map(String::as_str).eq(path.iter().copied())
    }

    fn clear(&mut self) {
        self.value.clear();
        self.end = 0;
    }

    fn push_text(&mut self, text: &str) {
        let text = if self.value.is_empty() { text.trim_start() } else { text };
        self.value.push_str(text);
        if !text.trim_end().is_empty() {
            self.end = self.value.len() - (text.len() - text.trim_end().len());
        }
    }

    /// A character by its number, or one of XML's five; nothing else is expanded.
    fn push_entity(&mut self, entity: &BytesRef<'_>) -> Result<()> {
        if let Some(character) = entity.resolve_char_ref().map_err(|error| self.fault(error))? {
            self.value.push(character);
            self.end = self.value.len();
            return Ok(());
        }
        let name = entity.xml10_content();
        let Some(text) = resolve_predefined_entity(&name) else {
            return Err(self.fault(format!("the entity `{name}` is not expanded")));
        };
        self.value.push_str(text);
        self.end = self.value.len();
        Ok(())
    }

    fn pixels(&self, value: &str) -> Result<usize> {
        value.parse().map_err(|_| self.fault(format!("`{value}` is not a number of pixels")))
    }

    fn count_lines(&mut self, end: usize) {
        let passed = &self.text.as_bytes()[self.counted..end.clamp(self.counted, self.text.len())];
        self.line += passed.iter().filter(|byte| **byte == b'\n').count();
        self.counted += passed.len();
    }

    fn fault(&self, message: impl ToString) -> Error {
        Error::line(self.path, self.line, message.to_string())
    }
}

/// Keeps the value of an element that ends.
fn keep(document: &mut Document, elements: &[&str], value: String) {
    let object = document.objects.last_mut();
    let slot = match (elements, object) {
        (["annotation", "filename"], _) => &mut document.file_name,
        (["annotation", "reference"], _) => &mut document.reference,
        (["annotation", "group"], _) => &mut document.group,
        (["annotation", "object", "name"], Some(object)) => &mut object.name,
        (["annotation", "object", "difficult"], Some(object)) => &mut object.difficult,
        (["annotation", "object", "bndbox", corner], Some(object)) => {
            let corners = ["xmin", "ymin", "xmax", "ymax"];
            let Some(index) = corners.iter().position(|name| name == corner) else { return };
            &mut object.corners[index]
        }
        _ => return,
    };
    *slot = Some(value).filter(|value| !value.is_empty());
}
