//! Writes a table with a row for each image.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray,
    StructArray,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde_json::{Value, json};

use super::classes::HUGGING_FACE;
use super::columns::{
    AREA, BOX, BYTES, CATEGORY, CROWD, DIFFICULT, GROUP, HEIGHT, IMAGE, IMAGE_ID, NAME, OBJECTS, PATH,
    REFERENCE, SPLIT, WIDTH,
};
use super::corners;
use super::table_writer::TableWriter;
use crate::data::dataset::{Dataset, Record, Side};
use crate::data::formats::files::has_extension;
use crate::data::formats::writer::Placed;
use crate::data::image_source::ImageSource;
use crate::error::Result;
use crate::structures::Annotation;

/// The most bytes of a row group before compression.
const ROW_GROUP: usize = 64 << 20;

/// What a row and an object take beside images and texts, generously.
const ROW: usize = 1024;
const OBJECT: usize = 128;

/// A page of images ends after so many bytes: with most images, each has a page of its own.
const PAGE: usize = 64 << 10;

/// Image files that a codec makes smaller.
const UNPACKED: [&str; 3] = ["bmp", "tif", "tiff"];

/// Which columns the tables of a data set have: all of them the same.
pub(super) struct Columns {
    schema: SchemaRef,
    properties: WriterProperties,
    has_references: bool,
    has_groups: bool,
    has_sides: bool,
}

impl Columns {
    pub fn of(data: &Dataset) -> Self {
        let has = |is_there: fn(&Record) -> bool| data.records.iter().any(is_there);
        let has_references = has(|record| record.reference.is_some());
        let has_groups = has(|record| record.group.is_some());
        let has_sides = has(|record| record.side.is_some());

        let plain = |name: &str, kind| Field::new(name, kind, true);
        let image = |name| plain(name, DataType::Struct(image_fields()));
        let mut fields = vec![image(IMAGE)];
        fields.extend([IMAGE_ID, WIDTH, HEIGHT].map(|name| plain(name, DataType::Int64)));
        fields.push(plain(OBJECTS, DataType::Struct(object_fields())));
        fields.extend(has_references.then(|| image(REFERENCE)));
        let texts = [(NAME, true), (GROUP, has_groups), (SPLIT, has_sides)];
        let texts = texts.into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name);
        fields.extend(texts.map(|name| plain(name, DataType::Utf8)));

        let features = features(&fields, &data.class_names);
        let information = json!({"info": {"features": features}}).to_string();
        let mut beside = vec![KeyValue::new(HUGGING_FACE.to_string(), information)];
        beside.extend(corners::entry(data.corners));
        let zstd = Compression::ZSTD(Default::default());
        let of_images =
            if has(|record| UNPACKED.iter().any(|end| has_extension(Path::new(&record.name), end))) {
                zstd
            } else {
                Compression::UNCOMPRESSED
            };
        let mut properties = WriterProperties::builder()
            .set_compression(zstd)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_key_value_metadata(Some(beside));
        for root in [IMAGE, REFERENCE] {
            let column = ColumnPath::new(vec![root.to_string(), BYTES.to_string()]);
            properties = properties
                .set_column_compression(column.clone(), of_images)
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_data_page_size_limit(column, PAGE);
        }
        let schema = Arc::new(Schema::new(fields));
        Self { schema, properties: properties.build(), has_references, has_groups, has_sides }
    }

    /// A record as a row.
    fn row(
        &self,
        index: usize,
        record: &Record,
        image: &ImageCell,
        reference: Option<&ImageCell>,
    ) -> Result<RecordBatch, arrow_schema::ArrowError> {
        let integer = |value: usize| -> ArrayRef { Arc::new(Int64Array::from(vec![value as i64])) };
        let text = |value: Option<&str>| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
        let (height, width) = record.size;
        let mut columns = vec![image_column(Some(image))];
        columns.extend([index, width, height].map(integer));
        columns.push(objects_column(&record.annotations));
        if self.has_references {
            columns.push(image_column(reference));
        }
        columns.push(text(Some(&record.name)));
        if self.has_groups {
            columns.push(text(record.group.as_deref()));
        }
        if self.has_sides {
            columns.push(text(record.side.map(side_name)));
        }
        RecordBatch::try_new(self.schema.clone(), columns)
    }
}

/// What a row holds of an image.
struct ImageCell {
    bytes: Option<Vec<u8>>,
    path: String,
}

impl ImageCell {
    /// The bytes, or where the file is.
    fn of(source: &ImageSource, placed: Option<&str>, name: &str) -> Result<Self> {
        Ok(match placed {
            Some(path) => Self { bytes: None, path: path.to_string() },
            None => Self { bytes: Some(source.read()?), path: name.to_string() },
        })
    }

    fn size(&self) -> usize {
        self.path.len() + self.bytes.as_ref().map_or(0, Vec::len)
    }
}

/// Writes some records. The images are those that were `placed`, or go into the table.
pub(super) fn write_images(
    path: &Path,
    data: &Dataset,
    records: &[usize],
    placed: Option<&[Placed]>,
    columns: &Columns,
    on_image: &(dyn Fn() + Sync),
) -> Result<()> {
    let mut table = TableWriter::new(path, columns.schema.clone(), columns.properties.clone())?;
    let mut size = 0;
    for index in records {
        let record = &data.records[*index];
        let placed = placed.map(|placed| &placed[*index]);
        let image = ImageCell::of(&record.image, placed.map(|placed| placed.path.as_str()), &record.name)?;
        let reference = record.reference.as_ref().map(|reference| {
            let place = placed.and_then(|placed| placed.reference.as_deref());
            ImageCell::of(reference, place, &record.name)
        });
        let reference = reference.transpose()?;
        let texts = record.name.len() + record.group.as_ref().map_or(0, String::len);
        let images = image.size() + reference.as_ref().map_or(0, ImageCell::size);
        let row = images + texts + ROW + OBJECT * record.annotations.len();
        if size > 0 && size + row > ROW_GROUP {
            table.flush()?;
            size = 0;
        }
        size += row;
        table.write(columns.row(*index, record, &image, reference.as_ref()))?;
        on_image();
    }
    table.finish()
}

fn side_name(side: Side) -> &'static str {
    match side {
        Side::Train => "train",
        Side::Validation => "validation",
        Side::Test => "test",
    }
}

fn image_fields() -> Fields {
    [Field::new(BYTES, DataType::Binary, true), Field::new(PATH, DataType::Utf8, true)].into_iter().collect()
}

/// The fields of objects, without being lists, and what `datasets` calls their types. They are sorted by
/// name, as in the JSON for `datasets`, which compares the order, too.
fn object_types() -> [(&'static str, DataType, &'static str); 5] {
    [
        (AREA[0], DataType::Float64, "float64"),
        (BOX[0], DataType::List(element(DataType::Float64)), "float64"),
        (CATEGORY[0], DataType::Int64, "int64"),
        (DIFFICULT[0], DataType::Boolean, "bool"),
        (CROWD[0], DataType::Boolean, "bool"),
    ]
}

fn object_fields() -> Fields {
    let field = |(name, kind, _)| Field::new(name, DataType::List(element(kind)), true);
    object_types().into_iter().map(field).collect()
}

fn element(kind: DataType) -> FieldRef {
    Arc::new(Field::new("element", kind, true))
}

fn image_column(cell: Option<&ImageCell>) -> ArrayRef {
    let bytes = BinaryArray::from_opt_vec(vec![cell.and_then(|cell| cell.bytes.as_deref())]);
    let paths = StringArray::from(vec![cell.map(|cell| cell.path.as_str())]);
    let nulls = vec![cell.is_some()].into();
    Arc::new(StructArray::new(image_fields(), vec![Arc::new(bytes), Arc::new(paths)], Some(nulls)))
}

fn objects_column(objects: &[Annotation]) -> ArrayRef {
    let list = |values: ArrayRef, lengths: &[usize]| -> ArrayRef {
        let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
        Arc::new(ListArray::new(element(values.data_type().clone()), offsets, values, None))
    };
    let numbers = objects.iter().flat_map(|object| {
        let [x1, y1, x2, y2] = object.xyxy.map(f64::from);
        [x1, y1, x2 - x1, y2 - y1]
    });
    let boxes = list(Arc::new(Float64Array::from_iter_values(numbers)), &vec![4; objects.len()]);
    let categories = Int64Array::from_iter_values(objects.iter().map(|object| object.label as i64 - 1));
    let areas: Float64Array = objects.iter().map(|object| object.area.map(f64::from)).collect();
    let flags = |is: fn(&Annotation) -> bool| objects.iter().map(is).collect::<Vec<bool>>();
    let crowds = BooleanArray::from(flags(|object| object.crowd));
    let difficult = BooleanArray::from(flags(|object| object.difficult));
    let fields: [ArrayRef; 5] =
        [Arc::new(areas), boxes, Arc::new(categories), Arc::new(difficult), Arc::new(crowds)];
    let lists = fields.map(|values| list(values, &[objects.len()]));
    Arc::new(StructArray::new(object_fields(), lists.into(), None))
}

/// What `datasets` is told of the columns.
fn features(fields: &[Field], class_names: &[String]) -> Value {
    let value = |kind: &str| json!({"dtype": kind, "_type": "Value"});
    let list = |feature: Value| json!({"feature": feature, "length": -1, "_type": "Sequence"});
    let mut objects = serde_json::Map::new();
    for (name, kind, called) in object_types() {
        let feature = match kind {
            DataType::List(_) => list(value(called)),
            _ if name == CATEGORY[0] => json!({"names": class_names, "_type": "ClassLabel"}),
            _ => value(called),
        };
        objects.insert(name.to_string(), list(feature));
    }
    let mut features = serde_json::Map::new();
    for field in fields {
        let feature = match field.name().as_str() {
            IMAGE | REFERENCE => json!({"_type": "Image"}),
            OBJECTS => Value::Object(objects.clone()),
            _ if *field.data_type() == DataType::Int64 => value("int64"),
            _ => value("string"),
        };
        features.insert(field.name().clone(), feature);
    }
    Value::Object(features)
}
