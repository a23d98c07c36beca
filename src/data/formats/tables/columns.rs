//! Which columns of a table mean what.

use parquet::basic::{ConvertedType, Type};
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};

/// Names of columns and fields. Where there are several, any will do; the first is written.
pub(super) const IMAGE: &str = "image";
pub(super) const REFERENCE: &str = "reference";
pub(super) const BYTES: &str = "bytes";
pub(super) const PATH: &str = "path";
pub(super) const IMAGE_ID: &str = "image_id";
pub(super) const WIDTH: &str = "width";
pub(super) const HEIGHT: &str = "height";
pub(super) const OBJECTS: &str = "objects";
pub(super) const BOX: [&str; 2] = ["bbox", "bboxes"];
pub(super) const CORNERS: [&str; 1] = ["xyxy"];
pub(super) const CATEGORY: [&str; 5] = ["category", "categories", "category_id", "label", "labels"];
pub(super) const AREA: [&str; 1] = ["area"];
pub(super) const CROWD: [&str; 2] = ["iscrowd", "is_crowd"];
pub(super) const DIFFICULT: [&str; 1] = ["difficult"];
pub(super) const NAME: &str = "name";
pub(super) const GROUP: &str = "group";
pub(super) const SPLIT: &str = "split";
pub(super) const FILE_NAME: [&str; 2] = ["filename", "file_name"];
pub(super) const EDGES: [&str; 4] = ["xmin", "ymin", "xmax", "ymax"];
pub(super) const CLASS: [&str; 2] = ["class", "label"];

/// The parts of a column's path that only say that it is a list.
const LISTS: [&str; 6] = ["list", "element", "bag", "item", "array", "array_element"];

/// What a row of a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An image with its objects.
    Images,
    /// An object, with the name of its image.
    Boxes,
}

impl Kind {
    pub fn of(schema: &SchemaDescriptor) -> Option<Self> {
        let has = |name: &str| schema.root_schema().get_fields().iter().any(|field| field.name() == name);
        let has_any = |names: &[&str]| names.iter().any(|name| has(name));
        if has(IMAGE) && has(OBJECTS) {
            Some(Self::Images)
        } else if has_any(&FILE_NAME) && has_any(&CLASS) && EDGES.iter().all(|edge| has(edge)) {
            Some(Self::Boxes)
        } else {
            None
        }
    }
}

/// The columns that hold one image a row.
#[derive(Debug, Default)]
pub(super) struct ImageLeaves {
    /// The bytes of image files.
    pub bytes: Option<usize>,
    /// The paths of image files.
    pub path: Option<usize>,
}

impl ImageLeaves {
    /// The column `root`: a structure of bytes and a path, or either alone.
    pub fn find(schema: &SchemaDescriptor, root: &str) -> Self {
        let mut found = Self::default();
        for (leaf, column) in schema.columns().iter().enumerate() {
            if column.max_rep_level() > 0 || column.physical_type() != Type::BYTE_ARRAY {
                continue;
            }
            let parts: Vec<&str> = column.path().parts().iter().map(String::as_str).collect();
            match parts.as_slice() {
                [first, BYTES] if *first == root => found.bytes = Some(leaf),
                [first, PATH] if *first == root => found.path = Some(leaf),
                [first] if *first == root && is_text(column) => found.path = Some(leaf),
                [first] if *first == root => found.bytes = Some(leaf),
                _ => {}
            }
        }
        found
    }
}

fn is_text(column: &ColumnDescriptor) -> bool {
    column.converted_type() == ConvertedType::UTF8
}

/// The columns without parts that have one of the names.
pub(super) fn plain_leaves(schema: &SchemaDescriptor, names: &[&str]) -> Vec<usize> {
    let is_wanted = |column: &ColumnDescriptor| match column.path().parts() {
        [name] => names.contains(&name.as_str()) && column.max_rep_level() == 0,
        _ => false,
    };
    leaves(schema, is_wanted)
}

/// The columns of the objects whose field has one of the names: a list of values or of structures.
pub(super) fn object_leaves(schema: &SchemaDescriptor, names: &[&str]) -> Vec<usize> {
    let is_wanted = |column: &ColumnDescriptor| {
        let mut parts = column.path().parts().iter().map(String::as_str);
        let is_of_objects = parts.next() == Some(OBJECTS);
        is_of_objects && parts.find(|part| !LISTS.contains(part)).is_some_and(|part| names.contains(&part))
    };
    leaves(schema, is_wanted)
}

fn leaves(schema: &SchemaDescriptor, is_wanted: impl Fn(&ColumnDescriptor) -> bool) -> Vec<usize> {
    let columns = schema.columns().iter().enumerate();
    columns.filter(|(_, column)| is_wanted(column)).map(|(leaf, _)| leaf).collect()
}
