//! Parquet tables, after the convention of Hugging Face's `datasets` for detection. pandas, DuckDB and many
//! other programs read and write them, too. They need the Cargo feature `tables`.
//!
//! A row is an image with its objects:
//!
//! ```text
//! image      struct<bytes: binary, path: string>   an image file, or its path beside the table
//! width, height                                    in pixels; read from the image where they are missing
//! objects    struct<                               a list each, or a list of structures
//!   bbox      list<list<double>>                   x, y, width, height in pixels, as in COCO
//!   xyxy      list<list<double>>                   instead of bbox: the corners x1, y1, x2, y2
//!   category  list<int64 or string>                a number from 0, or a name
//!   area, iscrowd, difficult>                      if any
//! reference  struct<bytes, path>                   the same thing without objects, if any
//! name, group, split                               strings, if any; split is train, validation or test
//! image_id                                         the name, where there is neither a name nor a path
//! ```
//!
//! Only `image` and `objects`, with `bbox` and `category`, must be there. Numbers may have any type. The
//! names of numbered classes are those that `datasets` keeps in the file (`ClassLabel`), or those in
//! `classes.txt`; number 0 is class 1 here. Without either, and for classes by name, the classes are the
//! different ones that occur, sorted. Where no column says what an image is for, the name of the file does:
//! `data/train-00000-of-00002.parquet`.
//!
//! Boxes of another convention than COCO's are recognised by the name `xyxy` only. Under the name `bbox`,
//! corners mostly give boxes that lie outside of their images, which are faults.
//!
//! Or a row is an object, with the name of an image file beside the table: `filename`, `xmin`, `ymin`,
//! `xmax`, `ymax`, `class`. In a folder that has tables of both kinds, those with a row for each object are
//! left alone.
//!
//! Tables are read in batches, and images only when they are asked for. A table may come from a stranger:
//! reading its objects takes at most 256 MiB and 64 times its size, and reading an image at most 1 GiB. No
//! path leads out of the table's folder. Pages may be compressed by Snappy or zstd.

#[cfg(feature = "tables")]
mod batches;
#[cfg(feature = "tables")]
mod boxes;
#[cfg(feature = "tables")]
mod budget;
#[cfg(feature = "tables")]
mod classes;
#[cfg(feature = "tables")]
mod columns;
#[cfg(feature = "tables")]
mod corners;
mod folder;
#[cfg(feature = "tables")]
mod images;
#[cfg(feature = "tables")]
mod original;
#[cfg(feature = "tables")]
mod read;
#[cfg(feature = "tables")]
mod sides;
#[cfg(feature = "tables")]
mod table_writer;
#[cfg(all(test, feature = "tables"))]
mod tests;
#[cfg(feature = "tables")]
mod values;
#[cfg(feature = "tables")]
mod write;
#[cfg(feature = "tables")]
mod write_boxes;
#[cfg(feature = "tables")]
mod write_images;

pub(super) use self::folder::has_tables;
#[cfg(feature = "tables")]
pub use self::original::write_tables;
#[cfg(feature = "tables")]
pub(super) use self::read::read;
#[cfg(feature = "tables")]
pub(super) use self::write::write;
