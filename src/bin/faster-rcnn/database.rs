//! Where records are. All commands that read or write them share this.

use std::future::Future;
use std::path::PathBuf;

use anyhow::Result;
use faster_rcnn::Error;
use faster_rcnn::records::Records;
use tokio::runtime::{Builder, Runtime};

/// A database, for commands that work without one, too.
#[derive(clap::Args)]
pub struct DatabaseArgument {
    /// Database for the records: sqlite:FILE, or postgres://USER:PASSWORD@HOST/DATABASE.
    #[arg(long, value_name = "URL", env = "FASTER_RCNN_DATABASE", hide_env_values = true)]
    pub database: Option<String>,
}

/// A folder of images.
#[derive(clap::Args)]
pub struct ImagesArguments {
    /// Folder of the images [default: beside SQLite's file, called FILE.images; a PostgreSQL has none].
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
}

/// Records that are there: a database and a folder of images.
#[derive(clap::Args)]
pub struct RecordsArguments {
    /// Database of the records: sqlite:FILE, or postgres://USER:PASSWORD@HOST/DATABASE.
    #[arg(long, value_name = "URL", env = "FASTER_RCNN_DATABASE", hide_env_values = true)]
    database: String,
    #[command(flatten)]
    images: ImagesArguments,
}

impl RecordsArguments {
    /// Opens them.
    pub fn open(&self) -> Result<OpenRecords> {
        self.images.open(&self.database)
    }
}

/// Records, and what runs their tasks.
pub struct OpenRecords {
    runtime: Runtime,
    records: Records,
}

impl ImagesArguments {
    /// Opens the records of a database.
    pub fn open(&self, database: &str) -> Result<OpenRecords> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let images = self.images.clone().or_else(|| Records::images_beside(database)).ok_or_else(|| {
            Error::Config("say by --images where the images of this database are".to_string())
        })?;
        let records = runtime.block_on(Records::open(database, images))?;
        Ok(OpenRecords { runtime, records })
    }
}

impl OpenRecords {
    /// Waits for what is done with the records.
    pub fn run<T, F: Future<Output = T>>(&self, work: impl FnOnce(Records) -> F) -> T {
        self.runtime.block_on(work(self.records.clone()))
    }
}
