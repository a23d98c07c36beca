//! Everything that is wrong with a data set in DeepPCB's layout, at once.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::board::Board;
use super::classes::read_class_names;
use super::files::data_folder;
use super::folders::{left_out, walk};
use super::labels::{LabelLine, read_labels};
use super::list::{Lists, read_lines};
use crate::data::boxes::is_thin;
use crate::data::check::{Fingerprint, Report, equal_files};
use crate::data::images::decode;
use crate::error::{Error, Result};

/// Reads all that [`open`](super::open) would read, decodes every image and reports everything that is wrong,
/// in the order of the lists.
///
/// Faults are malformed lines of lists and labels, label files that are missing, images that are missing or
/// do not decode. Warnings are for things that can be read but are probably mistakes: a board that is listed
/// twice, in one list or in both; equal image files; equal label lines; boxes thinner than a pixel; files
/// that are left out.
///
/// # Errors
///
/// If there is nothing to check: `root`, a list or `classes.txt` cannot be read, or there are no images.
pub fn check(root: impl AsRef<Path>) -> Result<Report> {
    let root = data_folder(root.as_ref())?;
    let classes = read_class_names(&root)?.len();
    let mut lines = Vec::new();
    for list in Lists::of(&root).iter() {
        lines.extend(read_lines(&root, list)?);
    }
    if lines.is_empty() {
        lines.extend(walk(&root)?.into_iter().map(Ok));
    }

    let findings = lines.par_iter().map(|line| line.as_ref().ok().map(|board| examine(board, classes)));
    let findings: Vec<Option<Findings>> = findings.collect();
    let (mut report, mut boards, mut files) = (Report::default(), Vec::new(), Vec::new());
    for (line, findings) in lines.into_iter().zip(findings) {
        match (line, findings) {
            (Ok(board), Some(findings)) => {
                report.faults.extend(findings.report.faults);
                report.warnings.extend(findings.report.warnings);
                files.extend(findings.image.map(|image| (board.image.clone(), image)));
                boards.push(board);
            }
            (Err(malformed), _) => report.faults.push(malformed),
            (Ok(_), None) => unreachable!("every board was examined"),
        }
    }
    report.warnings.extend(listed_again(&boards));
    report.warnings.extend(equal_files(&files)?);
    report.warnings.extend(left_out(&root, &boards)?);
    Ok(report)
}

/// The faults and warnings of one board.
struct Findings {
    report: Report,
    /// Of the image file, where it can be read.
    image: Option<Fingerprint>,
}

fn examine(board: &Board, classes: usize) -> Findings {
    let mut findings = Findings { report: Report::default(), image: None };
    let size = fs::read(&board.image).map_err(Error::io(&board.image)).and_then(|bytes| {
        findings.image = Some(Fingerprint::of(&bytes));
        let image = decode(&board.image, &bytes)?;
        Ok((image.height() as usize, image.width() as usize))
    });
    let labels = read_labels(&board.labels, size.as_ref().ok().copied(), classes);
    findings.report.faults.extend(size.err());
    match labels {
        Ok(lines) => examine_labels(&board.labels, lines, &mut findings.report),
        Err(error) => findings.report.faults.push(error),
    }
    findings
}

fn examine_labels(path: &Path, lines: Vec<LabelLine>, report: &mut Report) {
    let mut earlier = Vec::new();
    for (number, label) in lines {
        let annotation = match label {
            Ok(annotation) => annotation,
            Err(malformed) => {
                report.faults.push(malformed);
                continue;
            }
        };
        if is_thin(annotation.xyxy) {
            let [x1, y1, x2, y2] = annotation.xyxy;
            let message = format!("box `{x1} {y1} {x2} {y2}` is thinner than a pixel");
            report.warnings.push(Error::line(path, number, message));
        }
        if let Some((other, _)) = earlier.iter().find(|(_, other)| *other == annotation) {
            report.warnings.push(Error::line(path, number, format!("the same object as in line {other}")));
        }
        earlier.push((number, annotation));
    }
}

/// A warning for each line that names the same image as an earlier line.
fn listed_again(boards: &[Board]) -> Vec<Error> {
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
