//! COCO's JSON (<https://cocodataset.org/#format-data>): images, annotations and categories, linked by ids.
//!
//! ```text
//! annotations/instances_train2017.json     any number; `train`, `val` or `test` in the name is the side
//! train2017/  val2017/                     images: here, in `images/` or beside the JSON
//! ```
//!
//! One JSON alone is a data set, too, and so are Roboflow's folders, each with its `_annotations.coco.json`.
//! Ids may have gaps and any order; class 1 is the category with the lowest id. Masks and key points are left
//! alone. A crowd (`iscrowd`) is neither hit nor miss in evaluation, nor is an object with `ignore`, as VOC's
//! difficult ones. Beyond COCO, an image may have a `reference` (a path from the data set's folder) and a
//! `group`.

mod files;
mod json;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub(super) use files::is_coco;
pub(super) use read::read;
pub(super) use write::write;
