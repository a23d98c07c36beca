//! A data set in memory: which images there are, and what is known of them. Pixels stay on disk.

use std::collections::HashSet;

use image::RgbImage;

use super::boxes;
use super::image_source::ImageSource;
use super::reference::Aligned;
use crate::error::{Error, Result};
use crate::structures::{Annotation, Corners, ReferenceAlign};

/// Images and what is known of them: what training, prediction and evaluation take.
///
/// A reader of a [format](super::formats) makes it, or a program of your own does:
///
/// ```
/// use faster_rcnn::data::{Dataset, Record};
/// use faster_rcnn::structures::Annotation;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # faster_rcnn::image::RgbImage::new(640, 480).save(folder.path().join("board.png"))?;
/// # faster_rcnn::image::RgbImage::new(320, 200).save(folder.path().join("empty.png"))?;
/// let scratch = Annotation::new([12.0, 40.0, 96.0, 52.5], 1); // x1, y1, x2, y2 in pixels; class 1
/// let dent = Annotation::new([200.0, 210.0, 230.0, 260.0], 2);
/// let records = vec![
///     Record::from_image(folder.path().join("board.png"), vec![scratch, dent])?,
///     Record::from_image(folder.path().join("empty.png"), vec![])?, // an image without objects
/// ];
/// let data = Dataset::new(records, ["scratch", "dent"]);
/// data.validate()?;
/// assert_eq!(data.records[0].size, (480, 640)); // height, width
///
/// let split = data.split(0.5, 0);
/// assert_eq!((split.train.records.len(), split.validation.records.len()), (1, 1));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dataset {
    /// One record an image.
    pub records: Vec<Record>,
    /// What the classes 1, 2, ... are called; label `l` is `class_names[l - 1]`, because 0 is the background.
    pub class_names: Vec<String>,
    /// What the corners of the boxes are.
    pub corners: Corners,
}

/// One image of a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What the image is called: its path below the data set's folder of images, with `/` between folders.
    pub name: String,
    /// Where the image is.
    pub image: ImageSource,
    /// `(height, width)` in pixels, as [`load`](Self::load) gives it.
    pub size: (usize, usize),
    /// The objects, boxes in pixels of the image; empty for an image without any.
    pub annotations: Vec<Annotation>,
    /// A picture of the same thing without objects, such as a board without defects.
    pub reference: Option<ImageSource>,
    /// Images of one group show the same thing: they belong to the same side of a split.
    pub group: Option<String>,
    /// What the image is for, where the data set says it.
    pub side: Option<Side>,
}

/// What an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// To learn from.
    Train,
    /// To choose settings and the best epoch by.
    Validation,
    /// To say how good the result is.
    Test,
}

/// A data set to train on and one that says how good the result is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Split {
    /// Images to learn from.
    pub train: Dataset,
    /// Images held out.
    pub validation: Dataset,
}

impl Record {
    /// An image whose size is known. It is called by the name of its file, and has no reference, group or
    /// side.
    pub fn new(image: impl Into<ImageSource>, size: (usize, usize), annotations: Vec<Annotation>) -> Self {
        let image = image.into();
        // Bytes that are no UTF-8 become `\u{FFFD}`.
        let name = image.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, image, size, annotations, reference: None, group: None, side: None }
    }

    /// An image whose size is read from the file, otherwise as [`new`](Self::new).
    ///
    /// # Errors
    ///
    /// As [`image_size`](super::image_size).
    pub fn from_image(image: impl Into<ImageSource>, annotations: Vec<Annotation>) -> Result<Self> {
        let image = image.into();
        let size = image.size()?;
        Ok(Self::new(image, size, annotations))
    }

    /// With another name.
    #[must_use]
    pub fn with_name(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// With a picture of the same thing without objects.
    #[must_use]
    pub fn with_reference(self, reference: impl Into<ImageSource>) -> Self {
        Self { reference: Some(reference.into()), ..self }
    }

    /// As one of several images that show the same thing.
    #[must_use]
    pub fn with_group(self, group: impl Into<String>) -> Self {
        Self { group: Some(group.into()), ..self }
    }

    /// With what it is for.
    #[must_use]
    pub fn with_side(self, side: Side) -> Self {
        Self { side: Some(side), ..self }
    }

    /// The name without its folders.
    pub fn file_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    /// Decodes the image: what training and prediction see.
    ///
    /// # Errors
    ///
    /// As [`load_image`](super::load_image), and [`Error::File`] where the image has another size than the
    /// record says.
    pub fn load(&self) -> Result<RgbImage> {
        let image = self.image.load()?;
        self.check_size((image.height() as usize, image.width() as usize))?;
        Ok(image)
    }

    /// The image beside its reference: what a detector that takes one sees. See [`pair`](super::pair()). A data
    /// set may have references that do not fit, as DeepPCB has three blank ones: that is a warning.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); [`Error::Reference`] if there is no reference, or if it has another size.
    pub fn load_pair(&self, align: ReferenceAlign) -> Result<RgbImage> {
        let image = self.load()?;
        let reference = self.load_reference()?;
        let aligned = Aligned::new(&image, &reference, align).map_err(|error| match error {
            Error::Reference(message) => Error::Reference(format!("{}: {message}", self.image)),
            other => other,
        })?;
        if let Some(fault) = aligned.fault() {
            tracing::warn!("{}: {fault}", self.image);
        }
        Ok(aligned.whole())
    }

    /// Decodes the reference.
    ///
    /// # Errors
    ///
    /// As [`load_image`](super::load_image); [`Error::Reference`] if there is no reference.
    pub fn load_reference(&self) -> Result<RgbImage> {
        match &self.reference {
            Some(reference) => reference.load(),
            None => Err(Error::Reference(format!(
                "{}: has no reference image, with which the detector compares",
                self.image
            ))),
        }
    }

    /// Boxes belong to an image of one size.
    pub(super) fn check_size(&self, (height, width): (usize, usize)) -> Result<()> {
        if self.size == (height, width) {
            return Ok(());
        }
        let (said_height, said_width) = self.size;
        Err(self.image.fault(format!(
            "the image has {width} x {height} pixels, its annotations say {said_width} x {said_height}"
        )))
    }

    /// What is wrong with the size and the annotations, if anything is.
    fn fault(&self, classes: usize) -> Option<String> {
        let (height, width) = self.size;
        if height == 0 || width == 0 {
            return Some(format!("the size (height {height}, width {width}) has no pixels"));
        }
        self.annotations.iter().enumerate().find_map(|(index, annotation)| {
            let fault = |message: String| Some(format!("object {}: {message}", index + 1));
            if !(1..=classes).contains(&annotation.label) {
                return fault(format!(
                    "label {} is not one of the data set's classes, 1..={classes}",
                    annotation.label
                ));
            }
            if annotation.area.is_some_and(|area| !(area >= 0.0 && area.is_finite())) {
                return fault("the area must be finite and at least 0".to_string());
            }
            boxes::within(annotation.xyxy, self.size).err().and_then(fault)
        })
    }
}

impl Dataset {
    /// Records and the names of the classes 1, 2, ...; corners are edges of pixels.
    pub fn new(records: Vec<Record>, class_names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let class_names = class_names.into_iter().map(Into::into).collect();
        Self { records, class_names, corners: Corners::Edges }
    }

    /// What is wrong with the names of the classes, if anything is.
    pub(super) fn class_fault(&self) -> Option<String> {
        let mut names = HashSet::new();
        self.class_names.iter().find_map(|name| {
            if name.trim().is_empty() {
                return Some("a class of the data set has an empty name".to_string());
            }
            (!names.insert(name)).then(|| format!("two classes of the data set are called `{name}`"))
        })
    }

    /// Checks that the data set can be used for training and evaluation. Does not open the images.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if two classes have the same name or a class has an empty one. [`Error::File`], with
    /// the image's path, for the first bad record: its size is 0, a label is not in `1..=class_names.len()`,
    /// or a box is not finite, is empty (`x1 >= x2` or `y1 >= y2`) or reaches more than half a pixel out of
    /// its image.
    pub fn validate(&self) -> Result<()> {
        self.class_fault().map_or(Ok(()), |fault| Err(Error::Config(fault)))?;
        let classes = self.class_names.len();
        let fault = self.records.iter().find_map(|record| Some((record, record.fault(classes)?)));
        fault.map_or(Ok(()), |(record, message)| Err(record.image.fault(message)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(index: usize) -> Record {
        Record::new(format!("{index}.png"), (20, 30), vec![Annotation::new([1.0, 2.0, 30.4, 9.0], 2)])
    }

    #[test]
    fn what_cannot_be_trained_on_is_named() {
        let good = Dataset::new(vec![record(0), record(1)], ["open", "short"]);
        good.validate().unwrap();
        Dataset::default().validate().unwrap();

        type Change = fn(&mut Annotation);
        let message = |change: Change| {
            let mut data = good.clone();
            change(&mut data.records[1].annotations[0]);
            data.validate().unwrap_err().to_string()
        };
        let cases: [(Change, &str); 7] = [
            (
                |object| object.label = 0,
                "1.png: object 1: label 0 is not one of the data set's classes, 1..=2",
            ),
            (|object| object.label = 3, "1.png: object 1: label 3 is not one"),
            (|object| object.xyxy[2] = 1.0, "1.png: object 1: box `1 2 1 9` is empty"),
            (|object| object.xyxy[3] = 20.6, "1.png: object 1: box `1 2 30.4 20.6` lies outside the image"),
            (|object| object.xyxy[0] = f32::NAN, "1.png: object 1: box `NaN 2 30.4 9` has a corner"),
            (|object| object.area = Some(f32::NAN), "1.png: object 1: the area"),
            (|object| object.area = Some(-1.0), "1.png: object 1: the area"),
        ];
        for (change, expected) in cases {
            let found = message(change);
            assert!(found.starts_with(expected), "{found}");
        }
        let mut empty = good.clone();
        empty.records[0].size = (0, 30);
        assert!(
            empty.validate().unwrap_err().to_string().starts_with("0.png: the size (height 0, width 30)")
        );
        for (names, expected) in [(["open", "open"], "two classes"), (["open", " "], "an empty name")] {
            let error = Dataset::new(vec![record(0)], names).validate().unwrap_err();
            assert!(matches!(&error, Error::Config(message) if message.contains(expected)), "{error}");
        }
    }
}
