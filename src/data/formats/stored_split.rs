//! A split in files: which images are for what, so that training and evaluation agree.
//!
//! `train.txt`, `val.txt` and `test.txt` in a folder of their own have an image's
//! [name](crate::data::Record::name) a line. A name that begins with a double quote, or has blanks at its
//! ends or a line break, is written as a string of JSON.

use std::collections::HashSet;
use std::path::Path;

use super::names::name_line;
use super::select::{Earlier, Index};
use crate::data::dataset::{Dataset, Side};
use crate::data::report::Report;
use crate::error::{Error, Result};
use crate::files::{write_folder_atomically, write_new};

const LISTS: [(&str, Side); 3] =
    [("train.txt", Side::Train), ("val.txt", Side::Validation), ("test.txt", Side::Test)];

impl Dataset {
    /// Writes which images are for what into the folder `folder`, a new one or an empty one: `train.txt`,
    /// `val.txt` and `test.txt`, each where there are such images. The folder has all lists or is not there.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where `folder` holds something already, or two images have the same name.
    /// [`Error::Io`] where it cannot be written.
    pub fn write_sides(&self, folder: impl AsRef<Path>) -> Result<()> {
        let mut names = HashSet::new();
        if let Some(twice) = self.records.iter().find(|record| !names.insert(record.name.as_str())) {
            let name = &twice.name;
            return Err(twice
                .image
                .fault(format!("two images are called `{name}`: a list cannot tell them apart")));
        }
        write_folder_atomically(folder.as_ref(), |folder| {
            for (file, side) in LISTS {
                let records = self.records.iter().filter(|record| record.side == Some(side));
                let list: String = records.map(|record| name_line(&record.name)).collect();
                if !list.is_empty() {
                    write_new(&folder.join(file), list.as_bytes())?;
                }
            }
            Ok(())
        })
    }

    /// The images that the lists in `folder` name, in the order of this data set, each with the
    /// [side](crate::data::Record::side) of its list. [`write_sides`](Self::write_sides) writes such lists,
    /// or you do. A line names an image by its name, by the end of it, or by either without its extension.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where `folder` or a list cannot be read, [`Error::File`] where there is no list, and
    /// [`Error::Line`] for the first line that names no image, several images, or one that is named before.
    pub fn with_sides(mut self, folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        std::fs::read_dir(folder).map_err(Error::io(folder))?;
        let lists = LISTS.map(|(file, side)| (folder.join(file), side));
        let index = Index::new(&self);
        let (mut earlier, mut report) = (Earlier::new(), Report::default());
        let mut sides = vec![None; self.records.len()];
        for (list, side) in lists.iter().filter(|(list, _)| list.exists()) {
            for image in index.listed(list, &mut earlier, &mut report)? {
                sides[image] = Some(*side);
            }
        }
        report.into_warnings()?;
        if sides.iter().all(Option::is_none) {
            let names = LISTS.map(|(file, _)| file).join(", ");
            return Err(Error::file(folder, format!("no split is here: none of {names} names an image")));
        }
        for (record, side) in self.records.iter_mut().zip(sides) {
            record.side = side;
        }
        self.records.retain(|record| record.side.is_some());
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::dataset::Record;

    fn data(names: &[&str]) -> Dataset {
        let record = |name: &&str| Record::new("image.png", (20, 30), vec![]).with_name(*name);
        Dataset::new(names.iter().map(record).collect(), ["open"])
    }

    /// Names that other names end with, that a line cannot have as they are, and of every script.
    #[test]
    fn what_is_written_is_read_back_whatever_names_are() {
        let names = [
            "a.png",
            "b/a.png",
            "a",
            " blank .png ",
            "\"quoted\".png",
            "two\nlines.png",
            "プリント/基板.png",
            "\"",
        ];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/split");
        for seed in 0..5 {
            let divided = data(&names).divide(0.3, 0.3, seed);
            divided.write_sides(&path).unwrap();
            assert_eq!(data(&names).with_sides(&path).unwrap(), divided);
            let error = divided.write_sides(&path).unwrap_err().to_string();
            assert!(error.contains("the folder is not empty"), "{error}");
            // Images that came later are on no side.
            let more = data(&[&names[..], &["later.png"]].concat());
            assert_eq!(more.with_sides(&path).unwrap(), divided);
            fs::remove_dir_all(&path).unwrap();
        }
        data(&names).divide(0.2, 0.0, 0).write_sides(&path).unwrap();
        let mut files: Vec<_> =
            fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        files.sort();
        assert_eq!(files, ["train.txt", "val.txt"]);
        let error = data(&["a.png", "a.png"]).write_sides(folder.path().join("twice")).unwrap_err();
        assert!(error.to_string().contains("two images are called `a.png`"), "{error}");
    }

    #[test]
    fn images_that_are_gone_or_listed_twice_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let read = || data(&["a.png", "b/c.png", "d/c.png"]).with_sides(path);
        let message = || read().unwrap_err().to_string();
        assert!(
            message().contains("no split is here: none of train.txt, val.txt, test.txt"),
            "{}",
            message()
        );
        let train = path.join("train.txt");
        for (list, other, expected) in [
            ("a.png\n\ngone.png\n", "", "train.txt:3: the data set has no image `gone.png`".to_string()),
            ("a.png\nb/c.png\na\n", "", "train.txt:3: `a` is listed in line 1, too".to_string()),
            (
                "a.png\nb/c\n",
                "a.png\n",
                format!("val.txt:1: `a.png` is listed at {}:1, too", train.display()),
            ),
            ("c.png\n", "", "train.txt:1: the data set has 2 images `c.png`".to_string()),
        ] {
            fs::write(&train, list).unwrap();
            fs::write(path.join("val.txt"), other).unwrap();
            assert!(message().ends_with(&expected), "{}", message());
        }
        fs::write(&train, "b/c\n").unwrap();
        fs::write(path.join("val.txt"), "a.png\n").unwrap();
        let sides: Vec<_> =
            read().unwrap().records.into_iter().map(|record| (record.name, record.side)).collect();
        assert_eq!(
            sides,
            [("a.png".to_string(), Some(Side::Validation)), ("b/c.png".to_string(), Some(Side::Train))]
        );
        assert!(
            data(&["a.png"]).with_sides(path.join("nowhere")).unwrap_err().to_string().contains("nowhere")
        );
    }
}
