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
//! The list says `NAME.jpg` for the file `NAME_test.jpg`. If that does not exist, `NAME.jpg` is taken, and if
//! neither exists, the same with another extension of an image. Images may be JPEG, PNG, BMP, TIFF or WebP.
//! In a list, paths with blanks stand between double quotes, or have a tab between them; in quotes, two of
//! these stand for one. Text files are UTF-8, with or without a byte order mark. Hidden files are left alone.
//!
//! Without lists, all images of the `group*` folders are read, sorted. With `test.txt` alone there is nothing
//! to train on, because the images in it are never used for training.

mod board;
mod files;
mod folders;
mod labels;
mod list;
#[cfg(test)]
mod tests;
mod write;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use self::board::Board;
use self::files::data_folder;
pub(super) use self::files::is_data_folder;
use self::list::read_lines;
pub(super) use self::write::write;
use super::classes;
use crate::data::dataset::{Dataset, Record, Side};
use crate::data::report::Report;
use crate::error::{Error, Result};
use crate::structures::Corners;

/// Names of DeepPCB's classes of defects; a label is its position here plus 1, because 0 is the background.
pub const CLASS_NAMES: [&str; 6] = ["open", "short", "mousebite", "spur", "copper", "pin-hole"];

/// The lists and what their images are for.
const LISTS: [(&str, Side); 2] = [("trainval.txt", Side::Train), ("test.txt", Side::Test)];

/// All images; `root` is `PCBData` or the folder that holds it.
///
/// # Errors
///
/// `root`, a list or `classes.txt` cannot be read, a list is empty, or there are no images.
pub(super) fn read(root: &Path, report: &mut Report) -> Result<Dataset> {
    let root = data_folder(root)?;
    let mut boards = Vec::new();
    for (list, side) in LISTS {
        let list = root.join(list);
        if list.is_file() {
            boards.extend(listed(&root, &list, Some(side))?);
        }
    }
    if boards.is_empty() {
        boards.extend(folders::walk(&root)?.into_iter().map(Ok));
    }
    let data = read_boards(&root, &boards, report)?;
    let boards: Vec<&Board> = boards.iter().filter_map(|board| board.as_ref().ok()).collect();
    listed_again(&boards).into_iter().for_each(|warning| report.warn(warning));
    folders::left_out(&root, &boards)?.into_iter().for_each(|warning| report.warn(warning));
    Ok(data)
}

/// The images that a list file names, relative to `root`.
///
/// # Errors
///
/// As [`read`].
pub(super) fn read_list(root: &Path, list: &Path, report: &mut Report) -> Result<Dataset> {
    let root = data_folder(root)?;
    let boards = listed(&root, list, None)?;
    read_boards(&root, &boards, report)
}

fn listed(root: &Path, list: &Path, side: Option<Side>) -> Result<Vec<Result<Board>>> {
    let boards = read_lines(root, list)?.into_iter();
    Ok(boards.map(|board| board.map(|board| Board { side, ..board })).collect())
}

/// Reads the boards; malformed lines are faults.
fn read_boards(root: &Path, boards: &[Result<Board>], report: &mut Report) -> Result<Dataset> {
    let class_names = class_names(root)?;
    let read = |board: &Result<Board>| {
        let mut report = Report::default();
        let record = board.as_ref().ok().and_then(|board| board.read(root, class_names.len(), &mut report));
        (record, report)
    };
    let read: Vec<(Option<Record>, Report)> = boards.par_iter().map(read).collect();
    let mut records = Vec::new();
    for (board, (record, found)) in boards.iter().zip(read) {
        if let Err(Error::Line { path, line, message }) = board {
            report.fault(Error::line(path, *line, message));
        }
        records.extend(record);
        report.append(found);
    }
    Ok(Dataset { corners: Corners::Pixels, ..Dataset::new(records, class_names) })
}

/// The names in `classes.txt`; DeepPCB's where there is no such file.
fn class_names(root: &Path) -> Result<Vec<String>> {
    Ok(classes::read(root)?.unwrap_or_else(|| CLASS_NAMES.map(str::to_string).to_vec()))
}

/// A warning for each line that names the same image as an earlier line.
fn listed_again(boards: &[&Board]) -> Vec<Error> {
    let mut earlier: HashMap<&Path, &(PathBuf, usize)> = HashMap::new();
    let mut warnings = Vec::new();
    for board in boards {
        let Some(here @ (list, line)) = &board.listed else { continue };
        if let Some((other_list, other_line)) = earlier.get(board.image.as_path()) {
            let there = other_list.display();
            let message = if other_list == list {
                format!("{} is listed in line {other_line}, too", board.image.display())
            } else {
                format!("{} is trained on: it is listed at {there}:{other_line}, too", board.image.display())
            };
            warnings.push(Error::line(list, *line, message));
        } else {
            earlier.insert(&board.image, here);
        }
    }
    warnings
}
