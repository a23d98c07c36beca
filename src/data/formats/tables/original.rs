//! The four tables that this project's first version trained from.

use std::path::Path;

use super::write_boxes::write_boxes;
use super::write_images::{Columns, write_images};
use crate::data::dataset::{Dataset, Record, Side, Split};
use crate::error::Result;
use crate::files::write_folder_atomically;

/// All objects.
const LABELS: &str = "LABELS_TRAIN";

/// All images.
const ALL: &str = "train_images_labels";

/// The images to train on.
pub(super) const TRAINING_DATA: &str = "training_data";

/// The images held out.
pub(super) const TEST_DATA: &str = "test_data";

/// Writes four Parquet tables into a new folder:
///
/// - `LABELS_TRAIN`: a row for each object, with `filename`, `xmin`, `ymin`, `xmax`, `ymax`, `class`;
/// - `train_images_labels`: a row for each image, with its bytes and all of its objects;
/// - `training_data` and `test_data`: the same rows, those to train on and those held out.
///
/// The [reader of tables](crate::data::Format::Parquet) takes the last two; the others are for people and
/// databases. The records that it gives have the same names, objects and order.
///
/// # Errors
///
/// Where the folder is there and not empty, or cannot be written, and what reading the images gives.
pub fn write_tables(split: Split, folder: impl AsRef<Path>) -> Result<()> {
    let Split { train, validation } = split;
    let with_side = |data: Vec<Record>, side| data.into_iter().map(move |record| record.with_side(side));
    let training = with_side(train.records, Side::Train);
    let records: Vec<Record> = training.chain(with_side(validation.records, Side::Test)).collect();
    let data = Dataset { records, class_names: train.class_names, corners: train.corners };
    let indices = |side: Option<Side>| {
        let is_of = |index: &usize| side.is_none() || data.records[*index].side == side;
        (0..data.records.len()).filter(is_of).collect::<Vec<usize>>()
    };
    write_folder_atomically(folder.as_ref(), |folder| {
        let path = |name: &str| folder.join(format!("{name}.parquet"));
        let columns = Columns::of(&data);
        write_boxes(&path(LABELS), &data, &indices(None))?;
        for (name, side) in [(ALL, None), (TRAINING_DATA, Some(Side::Train)), (TEST_DATA, Some(Side::Test))] {
            write_images(&path(name), &data, &indices(side), None, &columns, &|| ())?;
        }
        Ok(())
    })
}
