//! Pascal VOC's layout (<http://host.robots.ox.ac.uk/pascal/VOC/>): an XML file an image.
//!
//! ```text
//! Annotations/NAME.xml          size, and each object's name, box and whether it is difficult
//! JPEGImages/NAME.jpg           the images; also in `images/`, as HRIPCB has it, or in the data set's folder
//! ImageSets/Main/train.txt      names without extension, a line each; val.txt and test.txt, too
//! classes.txt                   beyond VOC: the names of the classes in their order
//! references/NAME.jpg           beyond VOC: `reference` in the XML names one
//! ```
//!
//! Corners count pixels from 1, and both belong to the box: a box over a whole image of 640 x 480 pixels goes
//! from 1 1 to 640 480. They may have fractions. Annotations and images may be in folders of the same names,
//! such as HRIPCB's `Annotations/Short/01.xml` and `images/Short/01.jpg`. Difficult objects are neither hit
//! nor miss in evaluation. Without `classes.txt` the classes are those of the objects, sorted.
//!
//! Entities that a document defines itself are not expanded.

mod document;
mod read;
#[cfg(test)]
mod tests;
mod write;
mod xml;

pub use document::document;
pub(super) use read::{is_voc, read};
pub(super) use write::write;
