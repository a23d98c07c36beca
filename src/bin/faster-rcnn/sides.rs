//! `--split` and `--group-by`, of the commands that need to know which images are held out.

use std::path::PathBuf;

use anyhow::Result;
use faster_rcnn::data::Dataset;

/// What says which images are for what, where it is not the data set's own lists.
#[derive(clap::Args)]
pub struct SideArguments {
    /// Folder with train.txt, val.txt and test.txt, which `faster-rcnn split` writes: the images to train on,
    /// to validate on and to test with [default: as the data set says, or else a tenth is held out].
    #[arg(long, value_name = "DIR")]
    split: Option<PathBuf>,
    /// Regular expression. Images whose names have the same match of its first parenthesis (or, without one,
    /// of the whole) are one group, and are never divided between training and validation [default: the
    /// groups that the data set has; of DeepPCB, the first seven digits of a name].
    #[arg(long, value_name = "REGEX")]
    group_by: Option<String>,
}

impl SideArguments {
    /// Whether something is given.
    pub fn are_given(&self) -> bool {
        self.split.is_some() || self.group_by.is_some()
    }

    /// The data set with its groups and, with `--split`, with the sides of the lists.
    pub fn apply(&self, mut data: Dataset) -> Result<Dataset> {
        let count = data.records.len();
        if let Some(pattern) = &self.group_by {
            group(&mut data, pattern)?;
        }
        let Some(folder) = &self.split else { return Ok(data) };
        let data = data.with_sides(folder)?;
        if let unnamed @ 1.. = count - data.records.len() {
            let folder = folder.display();
            eprintln!("warning: {folder}: names no side for {unnamed} of {count} images, which are left out");
        }
        Ok(data)
    }

    /// The same, for a command that holds images out where nothing says which. Says what keeps groups from
    /// being kept together.
    pub fn apply_to_divide(&self, data: Dataset) -> Result<Dataset> {
        let data = self.apply(data)?;
        let has_sides = data.records.iter().any(|record| record.side.is_some());
        if has_sides && self.group_by.is_some() && self.split.is_none() {
            eprintln!(
                "warning: the data set says itself what its images are for, so --group-by divides nothing"
            );
        }
        if !has_sides {
            warn_of_one_group(&data);
        }
        Ok(data)
    }
}

/// Groups the images by their names, and says how many of them do not match.
pub fn group(data: &mut Dataset, pattern: &str) -> Result<()> {
    let unmatched = data.group_by(pattern)?;
    if unmatched > 0 {
        let (count, own) = (data.records.len(), "each of them is a group of its own");
        eprintln!("warning: --group-by {pattern}: {unmatched} of {count} names do not match; {own}");
    }
    Ok(())
}

/// A data set that is one group must still be divided: a wrong guess of what belongs together, such as by
/// DeepPCB's names, must keep nobody from training.
pub fn warn_of_one_group(data: &Dataset) {
    if data.is_one_group() {
        let group = data.records[0].group.as_deref().unwrap_or_default();
        eprintln!(
            "warning: all images are of one group, `{group}`, so they are divided by image; --group-by says \
             what belongs together"
        );
    }
}
