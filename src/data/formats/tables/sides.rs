//! The tables of a folder in the order of what their images are for, which names say.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::folder::{DEEPEST, walk};
use crate::data::dataset::Side;
use crate::error::Result;

/// The tables at `root`, a file or a folder: those to train on first, then those to validate on, those of the
/// test, and those that are for nothing in particular. Hidden files and folders are left alone.
pub(super) fn tables(root: &Path) -> Result<Vec<PathBuf>> {
    if root.is_file() {
        return Ok(vec![root.to_path_buf()]);
    }
    let mut tables = Vec::new();
    walk(root, DEEPEST, &mut |table| {
        tables.push(table);
        true
    })?;
    let rank = |side| match side {
        Some(Side::Train) => 0,
        Some(Side::Validation) => 1,
        Some(Side::Test) => 2,
        None => 3,
    };
    tables.sort_by_cached_key(|table| (rank(side_of(root, table)), table.clone()));
    Ok(tables)
}

/// What the images of a table are for, by its name and then by those of its folders, as in
/// `data/train-00000-of-00002.parquet` and `test/0000.parquet`.
pub(super) fn side_of(root: &Path, table: &Path) -> Option<Side> {
    let name = table.file_stem().into_iter();
    let above = table.parent()?.strip_prefix(root).unwrap_or(Path::new("")).iter().rev();
    name.chain(above)
        .filter_map(OsStr::to_str)
        .find_map(|part| part.split(|letter: char| !letter.is_ascii_alphabetic()).find_map(side))
}

/// What the name of a side means.
pub(super) fn side(name: &str) -> Option<Side> {
    match name.to_ascii_lowercase().as_str() {
        "train" | "training" | "trainval" => Some(Side::Train),
        "validation" | "valid" | "val" | "dev" => Some(Side::Validation),
        "test" | "testing" => Some(Side::Test),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_a_table_is_for() {
        for (table, expected) in [
            ("data/train-00000-of-00002.parquet", Some(Side::Train)),
            ("val.parquet", Some(Side::Validation)),
            ("default/test/0000.parquet", Some(Side::Test)),
            ("train/test.parquet", Some(Side::Test)),
            ("training_data.parquet", Some(Side::Train)),
            ("constraint.parquet", None),
            ("data.parquet", None),
        ] {
            assert_eq!(side_of(Path::new("train"), &Path::new("train").join(table)), expected, "{table}");
        }
    }
}
