//! Records: which model found what in which image, when, and what people say of it.
//!
//! One stored image with what was found in it is an [`Inspection`]. [`Records`] keeps them in a database,
//! SQLite in a file or PostgreSQL on a server, and their images in a folder beside it, each under the SHA-256
//! of its bytes.
//!
//! ```text
//! NewInspection ─ add ─ images/ab/abcdef...   (first, whole or not at all)
//!                    └─ database              (then, in one transaction)
//! ```
//!
//! So an inspection that [`Records::add`] has given back is there after any kill or power failure, and so is
//! its image.
//!
//! ```
//! use faster_rcnn::records::{Filter, Records};
//!
//! # fn main() -> faster_rcnn::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # std::env::set_current_dir(&folder).unwrap();
//! # let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
//! # runtime.block_on(async {
//! let records = Records::open("sqlite:boards.db", "boards.db.images").await?;
//! let newest = records.list(&Filter::default(), None, 50).await?;
//! assert!(newest.items.is_empty());
//! # Ok(())
//! # })
//! # }
//! ```

mod coco;
mod counts;
mod database;
mod export;
mod filter;
mod images;
mod inspection;
mod keep;
mod limit;
mod rows;
mod statement;
mod statistics;
mod store;
mod table;
#[cfg(feature = "tables")]
mod table_parquet;
mod verdicts;

pub use counts::{
    ClassCount, ClassVerdicts, DayCount, LineClassCount, Percentiles, ScoreCount, Statistics, VerdictCounts,
};
pub use export::ExportFormat;
pub use filter::{Filter, VerdictState, moment};
pub use inspection::{
    FieldValues, Fields, Found, Inspection, Judged, Judgement, Milliseconds, Missed, Model, NewImage,
    NewInspection, Page, StoredImage, Verdict,
};
pub use limit::{Keep, Removed};
pub use store::Records;
