//! The DeepPCB data set: 640x640 binarised photographs of circuit boards with six classes of defect
//! (Tang et al., "Online PCB Defect Detector On A New PCB Defect Dataset", 2019).
//!
//! On disk, below `PCBData`:
//!
//! ```text
//! trainval.txt  test.txt               lines of `groupX/X/NAME.jpg groupX/X_not/NAME.txt`
//! groupX/X/NAME_test.jpg               the board; the lists leave `_test` out
//! groupX/X/NAME_temp.jpg               the same board without defects, `Record::reference`
//! groupX/X_not/NAME.txt                one defect a line: `x1 y1 x2 y2 class`, class 1..=6
//! ```

mod labels;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

pub use self::labels::CLASS_NAMES;
use self::labels::read_labels;
use crate::data::dataset::{Dataset, Record, Split};
use crate::data::images::{image_size, load_image};
use crate::error::{Error, Result};

/// Part of the images that [`open`] holds out where the data set has no two lists.
const HELD_OUT: f64 = 0.1;

/// The first digits of a name say which plate the board was cut from.
const PLATE_DIGITS: usize = 7;

/// The images that a list file names, relative to `root`: `PCBData` or the folder that holds it.
///
/// The list says `NAME.jpg` where the disk has `NAME_test.jpg`; a file that is called `NAME.jpg` is
/// taken where there is no `NAME_test.jpg`.
///
/// # Errors
///
/// The first of: `root` or `list` cannot be read, the list is malformed or empty, an image's header or
/// a label file cannot be read, a label is malformed. See [`check`] for all of them at once.
pub fn read_list(root: impl AsRef<Path>, list: impl AsRef<Path>) -> Result<Dataset> {
    let list = list.as_ref();
    let pairs = listed(&data_folder(root.as_ref())?, list)?.into_iter().collect::<Result<Vec<_>>>()?;
    if pairs.is_empty() {
        return Err(Error::file(list, "lists no images"));
    }
    read(&pairs)
}

/// All images of the `group*` folders below `root` (`PCBData` or the folder that holds it), sorted.
///
/// # Errors
///
/// As [`read_list`], and where there are no images at all.
pub fn read_folders(root: impl AsRef<Path>) -> Result<Dataset> {
    read(&walk(&data_folder(root.as_ref())?)?)
}

/// The data set with its two sides: `trainval.txt` and `test.txt` where both exist. Otherwise
/// the images of the only list, or of the folders, are split 90 / 10 by `seed`.
///
/// # Errors
///
/// As [`read_list`].
pub fn open(root: impl AsRef<Path>, seed: u64) -> Result<Split> {
    let root = data_folder(root.as_ref())?;
    match lists(&root).as_slice() {
        [train, validation] => {
            Ok(Split { train: read_list(&root, train)?, validation: read_list(&root, validation)? })
        }
        one_or_none => {
            let all = match one_or_none.first() {
                Some(list) => read_list(&root, list)?,
                None => read_folders(&root)?,
            };
            let split = all.split(HELD_OUT, seed);
            tracing::info!(
                root = %root.display(), train = split.train.records.len(),
                validation = split.validation.records.len(), seed,
                "no pair of lists: held out a part of the images for validation"
            );
            Ok(split)
        }
    }
}

/// Reads the whole data set and returns every problem it has, in the order of the lists: malformed
/// list and label lines, label files that are missing, images that are missing or do not decode.
/// What is looked at is what [`open`] would read.
///
/// # Errors
///
/// Where there is nothing to look at: `root` or a list cannot be read, or there are no images.
pub fn check(root: impl AsRef<Path>) -> Result<Vec<Error>> {
    let root = data_folder(root.as_ref())?;
    let lists = lists(&root);
    let mut pairs = Vec::new();
    for list in &lists {
        let listed = listed(&root, list)?;
        if listed.is_empty() {
            return Err(Error::file(list, "lists no images"));
        }
        pairs.extend(listed);
    }
    if lists.is_empty() {
        pairs.extend(walk(&root)?.into_iter().map(Ok));
    }
    Ok(pairs
        .into_par_iter()
        .flat_map_iter(|pair| match pair {
            Ok(pair) => pair.problems(),
            Err(malformed) => vec![malformed],
        })
        .collect())
}

fn read(pairs: &[Pair]) -> Result<Dataset> {
    // Through a vector of results, so that the first error in the data set's order is returned and
    // not the one that a thread happened to meet first.
    let records: Vec<Result<Record>> = pairs.par_iter().map(Pair::read).collect();
    let class_names = CLASS_NAMES.map(str::to_string).to_vec();
    Ok(Dataset { records: records.into_iter().collect::<Result<_>>()?, class_names })
}

/// An image file and its label file; neither needs to exist.
struct Pair {
    image: PathBuf,
    labels: PathBuf,
}

impl Pair {
    fn read(&self) -> Result<Record> {
        let size = image_size(&self.image)?;
        let annotations = read_labels(&self.labels, Some(size))?.into_iter().collect::<Result<_>>()?;
        let record = Record::new(&self.image, size, annotations);
        let name = record.name();
        let template = name.strip_suffix("_test.jpg").map(|name| format!("{name}_temp.jpg"));
        let reference = template.map(|name| self.image.with_file_name(name)).filter(|path| path.is_file());
        let plate = name.get(..PLATE_DIGITS).filter(|plate| plate.bytes().all(|byte| byte.is_ascii_digit()));
        Ok(Record { reference, group: plate.map(str::to_string), ..record })
    }

    fn problems(&self) -> Vec<Error> {
        let (size, image_problem) = match load_image(&self.image) {
            Ok(image) => (Some((image.height() as usize, image.width() as usize)), None),
            Err(error) => (None, Some(error)),
        };
        let label_problems = match read_labels(&self.labels, size) {
            Ok(lines) => lines.into_iter().filter_map(Result::err).collect(),
            Err(error) => vec![error],
        };
        image_problem.into_iter().chain(label_problems).collect()
    }
}

/// `PCBData` itself, from its own path or from that of the folder that holds it.
fn data_folder(root: &Path) -> Result<PathBuf> {
    fs::read_dir(root).map_err(Error::io(root))?;
    let inner = root.join("PCBData");
    Ok(if inner.is_dir() { inner } else { root.to_path_buf() })
}

/// Those of the training list and the validation list that exist, in this order.
fn lists(root: &Path) -> Vec<PathBuf> {
    ["trainval.txt", "test.txt"].iter().map(|name| root.join(name)).filter(|list| list.is_file()).collect()
}

/// One result for each line of a list that is not blank.
fn listed(root: &Path, list: &Path) -> Result<Vec<Result<Pair>>> {
    let text = fs::read_to_string(list).map_err(Error::io(list))?;
    let pair = |(number, line): (usize, &str)| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields.as_slice() {
            [] => None,
            [image, labels] => {
                Some(Ok(Pair { image: find_image(&root.join(image)), labels: root.join(labels) }))
            }
            _ => Some(Err(Error::line(
                list,
                number + 1,
                format!("expected an image and a label file, found `{}`", line.trim()),
            ))),
        }
    };
    Ok(text.lines().enumerate().filter_map(pair).collect())
}

/// The file that a list means by `NAME.jpg`: `NAME_test.jpg`, or `NAME.jpg` where only that exists.
fn find_image(listed: &Path) -> PathBuf {
    let stem = listed.file_stem().unwrap_or_default().to_string_lossy();
    let test = listed.with_file_name(format!("{stem}_test.jpg"));
    if !test.exists() && listed.exists() { listed.to_path_buf() } else { test }
}

/// The images of all `group*/X` folders with their label files in `group*/X_not`, sorted.
fn walk(root: &Path) -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for group in sub_folders(root)?.iter().filter(|folder| file_name(folder).starts_with("group")) {
        for folder in sub_folders(group)?.iter().filter(|folder| !file_name(folder).ends_with("_not")) {
            let label_folder = folder.with_file_name(format!("{}_not", file_name(folder)));
            let boards: BTreeSet<String> =
                entries(folder)?.iter().filter_map(|path| board_name(path)).collect();
            pairs.extend(boards.iter().map(|board| Pair {
                image: find_image(&folder.join(format!("{board}.jpg"))),
                labels: label_folder.join(format!("{board}.txt")),
            }));
        }
    }
    if pairs.is_empty() {
        return Err(Error::file(
            root,
            "holds no images: expected `group*/X/NAME_test.jpg` as in DeepPCB's PCBData",
        ));
    }
    Ok(pairs)
}

/// `NAME` of `NAME_test.jpg` or `NAME.jpg`; none for a template (`NAME_temp.jpg`) or another file.
fn board_name(path: &Path) -> Option<String> {
    let name = file_name(path);
    let stem = name.strip_suffix(".jpg").filter(|stem| !stem.ends_with("_temp"))?;
    Some(stem.strip_suffix("_test").unwrap_or(stem).to_string())
}

fn sub_folders(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let listing = fs::read_dir(folder).map_err(Error::io(folder))?;
    let mut paths = listing
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(Error::io(folder))?;
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{SyntheticConfig, write_synthetic};

    const SIZE: usize = 128;

    /// Boards at `<temporary folder>/PCBData`.
    fn boards(images: usize) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("PCBData");
        write_synthetic(&root, images, &SyntheticConfig { size: SIZE, seed: 1 }).unwrap();
        (folder, root)
    }

    fn label_file(root: &Path, index: usize) -> PathBuf {
        root.join(format!("group00000/00000_not/0000000{index}.txt"))
    }

    fn image_file(root: &Path, index: usize) -> PathBuf {
        root.join(format!("group00000/00000/0000000{index}_test.jpg"))
    }

    fn names(data: &Dataset) -> Vec<String> {
        data.records.iter().map(Record::name).collect()
    }

    fn messages(root: &Path) -> Vec<String> {
        check(root).unwrap().iter().map(|fault| format!("{fault:#}")).collect()
    }

    #[test]
    fn the_root_may_be_the_folder_that_holds_pcb_data() {
        let (parent, root) = boards(4);
        let Split { train, validation } = open(parent.path(), 0).unwrap();
        assert_eq!(names(&train), ["00000000_test.jpg", "00000001_test.jpg", "00000002_test.jpg"]);
        assert_eq!(names(&validation), ["00000003_test.jpg"]);
        assert_eq!(names(&open(&root, 0).unwrap().train), names(&train));
        assert!(messages(parent.path()).is_empty());
    }

    #[test]
    fn without_both_lists_a_tenth_is_held_out_by_seed() {
        let (_folder, root) = boards(30);
        fs::remove_file(root.join("test.txt")).unwrap();
        let Split { train, validation } = open(&root, 7).unwrap();
        assert_eq!((train.records.len(), validation.records.len()), (24, 3), "the only list has 27");

        fs::remove_file(root.join("trainval.txt")).unwrap();
        let Split { train, validation } = open(&root, 7).unwrap();
        assert_eq!((train.records.len(), validation.records.len()), (27, 3));
        assert!(names(&validation).iter().all(|name| !names(&train).contains(name)));
        assert!(names(&train).is_sorted() && names(&validation).is_sorted());
        assert_eq!(names(&open(&root, 7).unwrap().validation), names(&validation));
        assert_ne!(names(&open(&root, 8).unwrap().validation), names(&validation));
    }

    #[test]
    fn a_split_leaves_no_part_empty() {
        let (_folder, root) = boards(3);
        let all = read_folders(&root).unwrap();
        for (fraction, expected) in [(0.0, 0), (0.01, 1), (0.5, 2), (0.99, 2), (1.0, 3)] {
            let Split { train, validation } = all.clone().split(fraction, 0);
            assert_eq!((train.records.len(), validation.records.len()), (3 - expected, expected));
        }
    }

    #[test]
    fn templates_are_not_images_and_names_without_test_are() {
        let (_folder, root) = boards(3);
        fs::rename(image_file(&root, 1), root.join("group00000/00000/00000001.jpg")).unwrap();
        let all = read_folders(&root).unwrap();
        assert_eq!(names(&all), ["00000000_test.jpg", "00000001.jpg", "00000002_test.jpg"]);
        assert_eq!(names(&open(&root, 0).unwrap().train), ["00000000_test.jpg", "00000001.jpg"]);
        assert!(messages(&root).is_empty());
    }

    #[test]
    fn a_board_may_have_no_defects() {
        let (_folder, root) = boards(2);
        fs::write(label_file(&root, 0), "").unwrap();
        fs::write(label_file(&root, 1), "\n  \r\n").unwrap();
        let all = read_folders(&root).unwrap();
        assert!(all.records.iter().all(|record| record.annotations.is_empty()));
        assert!(messages(&root).is_empty());
    }

    #[test]
    fn a_malformed_label_is_named_by_file_line_and_value() {
        let (_folder, root) = boards(2);
        let labels = label_file(&root, 0);
        let cases = [
            ("1 2 30 40", "found 4 fields: `1 2 30 40`"),
            ("1 2 30 40 5 6", "found 6 fields"),
            ("1,2,30,40,5", "found 1 fields: `1,2,30,40,5`"),
            ("1 2 x30 40 5", "`x30` is not a coordinate"),
            ("1 2 NaN 40 5", "`NaN` is not a coordinate"),
            ("1 2 30 40 0", "class `0` is not one of 1..=6"),
            ("1 2 30 40 7", "class `7`"),
            ("1 2 30 40 open", "class `open`"),
            ("30 2 30 40 5", "box `30 2 30 40` is empty"),
            ("1 40 30 2 5", "box `1 40 30 2` is empty"),
            ("-1 2 30 40 5", "box `-1 2 30 40` lies outside the image (height 128, width 128)"),
            ("1 2 30 129 5", "box `1 2 30 129` lies outside"),
        ];
        for (line, message) in cases {
            fs::write(&labels, format!("0 0 128 128 1\n\n{line}\n5 5 9 9 6\n")).unwrap();
            let expected_start = format!("{}:3: ", labels.display());
            for found in [messages(&root).join("; "), open(&root, 0).unwrap_err().to_string()] {
                assert!(found.starts_with(&expected_start) && found.contains(message), "{line}: {found}");
            }
        }
    }

    #[test]
    fn check_finds_everything_at_once_and_in_order() {
        let (_folder, root) = boards(8);
        fs::write(label_file(&root, 0), "1 2 3\n5 5 9 9 6\n5 5 9 9 8\n").unwrap();
        fs::remove_file(label_file(&root, 1)).unwrap();
        fs::remove_file(image_file(&root, 2)).unwrap();
        let whole = fs::read(image_file(&root, 3)).unwrap();
        fs::write(image_file(&root, 3), &whole[..whole.len() / 2]).unwrap();
        fs::write(image_file(&root, 4), "not an image").unwrap();
        fs::write(label_file(&root, 4), "5 5 9 9 9\n").unwrap();
        let list = root.join("trainval.txt");
        let listed = fs::read_to_string(&list).unwrap();
        fs::write(&list, format!("{listed}only-one-field.jpg\n")).unwrap();

        let found = messages(&root);
        let expected = [
            (label_file(&root, 0), ":1: "),
            (label_file(&root, 0), ":3: "),
            (label_file(&root, 1), ": "),
            (image_file(&root, 2), ": "),
            (image_file(&root, 3), ": the file is cut off"),
            (image_file(&root, 4), ": "),
            (label_file(&root, 4), ":1: "),
            (list, ":8: expected an image and a label file, found `only-one-field.jpg`"),
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, (path, rest)) in found.iter().zip(expected) {
            assert!(found.contains(&format!("{}{rest}", path.display())), "{found}");
        }
    }

    #[test]
    fn a_root_without_images_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("nowhere");
        for error in [open(&missing, 0).unwrap_err(), check(&missing).unwrap_err()] {
            assert!(error.to_string().contains("nowhere"), "{error}");
        }
        for error in [open(folder.path(), 0).unwrap_err(), check(folder.path()).unwrap_err()] {
            assert!(error.to_string().contains("holds no images"), "{error}");
        }
        fs::write(folder.path().join("trainval.txt"), "\n").unwrap();
        for error in [open(folder.path(), 0).unwrap_err(), check(folder.path()).unwrap_err()] {
            assert!(error.to_string().contains("lists no images"), "{error}");
        }
    }
}
