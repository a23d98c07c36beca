//! The data set that a command reads.

use std::path::{Path, PathBuf};

use anyhow::Result;
use faster_rcnn::Error;
use faster_rcnn::data::{Dataset, Format, Report};

/// Warnings that are shown.
const SHOWN: usize = 10;

/// Where a data set is.
#[derive(clap::Args)]
pub struct DataArguments {
    /// The data set: a folder, or the file that describes it.
    #[arg(long, value_name = "PATH")]
    pub data: PathBuf,
    /// The format of the data set [default: what is recognised].
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
}

impl DataArguments {
    /// Reads the data set, and names on standard error what is doubtful in it.
    pub fn open(&self) -> Result<Dataset> {
        let (data, report) = self.format()?.read(&self.data)?;
        self.accept(data, report)
    }

    /// The images that a list names, in its order.
    pub fn open_list(&self, list: &Path) -> Result<Dataset> {
        let (data, report) = self.format()?.read_list(&self.data, list)?;
        self.accept(data, report)
    }

    /// What can be read of the data set, and everything that is wrong with it, but for the pixels.
    pub fn read(&self) -> Result<(Dataset, Report)> {
        Ok(self.format()?.read(&self.data)?)
    }

    fn format(&self) -> Result<Format, Error> {
        self.format.map_or_else(|| Format::of(&self.data), Ok)
    }

    fn accept(&self, data: Dataset, report: Report) -> Result<Dataset> {
        let warnings = report.into_warnings()?;
        for warning in warnings.iter().take(SHOWN) {
            eprintln!("warning: {warning:#}");
        }
        if let more @ 1.. = warnings.len().saturating_sub(SHOWN) {
            let data = self.data.display();
            eprintln!("warning: and {more} more, which `faster-rcnn check --data {data}` names");
        }
        Ok(data)
    }
}
