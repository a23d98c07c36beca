//! The DeepPCB data set: 640x640 binarised photographs of circuit boards with six classes of defect
//! (Tang et al., "Online PCB Defect Detector On A New PCB Defect Dataset", 2019), and others in its layout.
//!
//! On disk, below `PCBData`:
//!
//! ```text
//! trainval.txt  test.txt               lines of `groupX/X/NAME.jpg groupX/X_not/NAME.txt`
//! classes.txt                          names of the classes, one a line, where they are not DeepPCB's
//! groupX/X/NAME_test.jpg               the board; the lists leave `_test` out
//! groupX/X/NAME_temp.jpg               the same board without defects, `Record::reference`
//! groupX/X_not/NAME.txt                one defect a line: `x1 y1 x2 y2 class`, classes from 1
//! ```
//!
//! Images may be JPEG, PNG, BMP, TIFF or WebP. In a list, paths with blanks stand between double quotes, or
//! have a tab between them. Text files are UTF-8, with or without a byte order mark. Hidden files are left
//! alone.
//!
//! ```no_run
//! use faster_rcnn::data::deep_pcb;
//!
//! # fn main() -> faster_rcnn::Result<()> {
//! for fault in deep_pcb::check("PCBData")?.faults {
//!     println!("{fault:#}");
//! }
//! let split = deep_pcb::open("PCBData", 0)?;
//! println!("{} images to train on, classes {:?}", split.train.records.len(), split.train.class_names);
//! # Ok(())
//! # }
//! ```

mod board;
mod check;
mod classes;
mod files;
mod folders;
mod labels;
mod list;
#[cfg(test)]
mod tests;

use std::path::Path;

use rayon::prelude::*;

pub use self::check::check;
pub use self::classes::CLASS_NAMES;

use self::board::Board;
use self::classes::read_class_names;
use self::files::data_folder;
use self::list::{Lists, read_lines};
use crate::data::dataset::{Dataset, Record, Split};
use crate::error::{Error, Result};

/// Part of the images that [`open`] holds out where the data set has no `test.txt`.
const HELD_OUT: f64 = 0.1;

/// The images that a list file names, relative to `root`: `PCBData` or the folder that holds it.
///
/// The list says `NAME.jpg` for the file `NAME_test.jpg`. If that does not exist, `NAME.jpg` is taken, and if
/// neither exists, the same with another extension of an image.
///
/// # Errors
///
/// The first of: `root`, `list` or `classes.txt` cannot be read, the list is malformed or empty, an image's
/// header or a label file cannot be read, a label is malformed. See [`check`] for all of them at once.
pub fn read_list(root: impl AsRef<Path>, list: impl AsRef<Path>) -> Result<Dataset> {
    let root = data_folder(root.as_ref())?;
    read(&root, &listed(&root, list.as_ref())?)
}

/// All images of the `group*` folders below `root` (`PCBData` or the folder that holds it), sorted.
///
/// # Errors
///
/// As [`read_list`], and where there are no images at all.
pub fn read_folders(root: impl AsRef<Path>) -> Result<Dataset> {
    let root = data_folder(root.as_ref())?;
    read(&root, &folders::walk(&root)?)
}

/// The data set with its two sides: the images in `trainval.txt` for training, and those in `test.txt` held
/// out.
///
/// Without `test.txt`, a tenth of the images in `trainval.txt`, or else in the folders, is held out, chosen
/// by `seed`. With `test.txt` alone there is nothing to train on, because the images in it are never used for
/// training.
///
/// Logs a warning where files are [left out](left_out).
///
/// # Errors
///
/// As [`read_list`].
pub fn open(root: impl AsRef<Path>, seed: u64) -> Result<Split> {
    let root = data_folder(root.as_ref())?;
    let lists = Lists::of(&root);
    let (split, left_out) = match (&lists.train, &lists.validation) {
        (train, Some(validation)) => {
            let train = train.as_ref().map_or(Ok(Vec::new()), |list| listed(&root, list))?;
            let validation = listed(&root, validation)?;
            let split = Split { train: read(&root, &train)?, validation: read(&root, &validation)? };
            (split, folders::left_out(&root, &[train, validation].concat())?)
        }
        (list, None) => {
            let all = list.as_ref().map_or_else(|| folders::walk(&root), |list| listed(&root, list))?;
            (read(&root, &all)?.split(HELD_OUT, seed), folders::left_out(&root, &all)?)
        }
    };
    tracing::info!(
        root = %root.display(), train = split.train.records.len(),
        validation = split.validation.records.len(), lists = lists.iter().count(), seed, "read a data set"
    );
    if let Some(first) = left_out.first() {
        tracing::warn!(files = left_out.len(), first = %first, "files of the data set are left out");
    }
    Ok(split)
}

/// A message for each file in the data set's folders that is no part of what [`open`] reads, with the reason:
/// images that no list names, files that are no images, labels without an image. Images are named in all
/// folders down to two levels below the root, but for hidden ones.
///
/// # Errors
///
/// Where `root` or a list cannot be read, a list is malformed, or there are no images.
pub fn left_out(root: impl AsRef<Path>) -> Result<Vec<Error>> {
    let root = data_folder(root.as_ref())?;
    let mut boards = Vec::new();
    for list in Lists::of(&root).iter() {
        boards.extend(listed(&root, list)?);
    }
    if boards.is_empty() {
        boards = folders::walk(&root)?;
    }
    folders::left_out(&root, &boards)
}

/// The boards of a list without a malformed line.
fn listed(root: &Path, list: &Path) -> Result<Vec<Board>> {
    read_lines(root, list)?.into_iter().collect()
}

fn read(root: &Path, boards: &[Board]) -> Result<Dataset> {
    let class_names = read_class_names(root)?;
    // Collects a vector of results, so that the first error in the data set's order is returned, and not the
    // one that a thread happened to meet first.
    let records: Vec<Result<Record>> = boards.par_iter().map(|board| board.read(class_names.len())).collect();
    Ok(Dataset { records: records.into_iter().collect::<Result<_>>()?, class_names })
}
