//! Values of a table, whichever type it has for them.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, ListArray, RecordBatch, StructArray};
use arrow_schema::DataType;

/// An integer; none where it is null or another type.
pub(super) fn integer(array: &dyn Array, row: usize) -> Option<i64> {
    if array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::Int8 => Some(array.as_primitive::<Int8Type>().value(row).into()),
        DataType::Int16 => Some(array.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int32 => Some(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Some(array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt8 => Some(array.as_primitive::<UInt8Type>().value(row).into()),
        DataType::UInt16 => Some(array.as_primitive::<UInt16Type>().value(row).into()),
        DataType::UInt32 => Some(array.as_primitive::<UInt32Type>().value(row).into()),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).try_into().ok(),
        _ => None,
    }
}

/// A number; none where it is null or another type.
pub(super) fn number(array: &dyn Array, row: usize) -> Option<f64> {
    if array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::Float32 => Some(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => Some(array.as_primitive::<Float64Type>().value(row)),
        // SQL's numbers with a point.
        DataType::Decimal128(_, scale) => {
            let value = array.as_primitive::<Decimal128Type>().value(row);
            Some(value as f64 / 10_f64.powi((*scale).into()))
        }
        _ => integer(array, row).map(|value| value as f64),
    }
}

/// Yes or no, or a number that is 0 for no; none where it is null or another type.
pub(super) fn flag(array: &dyn Array, row: usize) -> Option<bool> {
    match array.data_type() {
        DataType::Boolean => array.is_valid(row).then(|| array.as_boolean().value(row)),
        _ => integer(array, row).map(|value| value != 0),
    }
}

/// A text; none where it is null or another type.
pub(super) fn text(array: &dyn Array, row: usize) -> Option<&str> {
    if array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::Utf8View => Some(array.as_string_view().value(row)),
        // Some programs do not say that bytes are text.
        DataType::BinaryView => std::str::from_utf8(array.as_binary_view().value(row)).ok(),
        _ => None,
    }
}

/// A column by any of its names.
pub(super) fn column<'a>(batch: &'a RecordBatch, names: &[&str]) -> Option<&'a ArrayRef> {
    names.iter().find_map(|name| batch.column_by_name(name))
}

/// A field by any of its names.
fn field<'a>(fields: &'a StructArray, names: &[&str]) -> Option<&'a ArrayRef> {
    names.iter().find_map(|name| fields.column_by_name(name))
}

/// A field of each object of each row: a list of values a row, or a list of structures a row.
pub(super) struct ObjectField<'a> {
    lists: &'a ListArray,
    values: &'a dyn Array,
}

impl<'a> ObjectField<'a> {
    /// The field of `objects` that has any of the names.
    pub fn find(objects: &'a dyn Array, names: &[&str]) -> Option<Self> {
        if let Some(fields) = objects.as_struct_opt() {
            let lists: &ListArray = field(fields, names)?.as_list_opt()?;
            return Some(Self { lists, values: lists.values().as_ref() });
        }
        let lists: &ListArray = objects.as_list_opt()?;
        let values = field(lists.values().as_struct_opt()?, names)?.as_ref();
        Some(Self { lists, values })
    }

    /// Whether a row has no list.
    pub fn is_null(&self, row: usize) -> bool {
        self.lists.is_null(row)
    }

    /// How many objects a row has.
    pub fn count(&self, row: usize) -> usize {
        if self.is_null(row) { 0 } else { self.lists.value_length(row) as usize }
    }

    /// The values of all rows, and the position of a row's object there.
    pub fn at(&self, row: usize, object: usize) -> (&'a dyn Array, usize) {
        (self.values, self.lists.value_offsets()[row] as usize + object)
    }
}

/// The four numbers of a list.
pub(super) fn four(array: &dyn Array, position: usize) -> Option<[f64; 4]> {
    let list: &ListArray = array.as_list_opt()?;
    if list.is_null(position) || list.value_length(position) != 4 {
        return None;
    }
    let (first, values) = (list.value_offsets()[position] as usize, list.values());
    let mut numbers = [0.0; 4];
    for (index, found) in numbers.iter_mut().enumerate() {
        *found = number(values, first + index)?;
    }
    Some(numbers)
}
