//! The reference of each image, for detectors that take one.

use std::path::{Path, PathBuf};

use anyhow::Result;
use faster_rcnn::data::load_image;
use faster_rcnn::image::RgbImage;
use faster_rcnn::internals::image_files;
use faster_rcnn::{Detection, Error, Predictor, ReferenceInput};

use crate::output;

/// Endings of image files, in the order in which they are looked for.
const ENDINGS: [&str; 7] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp"];

/// What to compare images with.
#[derive(clap::Args)]
pub struct ReferenceArguments {
    /// A picture of the same thing without objects, such as a good board, for a detector that compares with
    /// one.
    #[arg(long, value_name = "IMAGE")]
    reference: Option<PathBuf>,
    /// A folder with a reference for each image: a file of the same name, with the ending of any image
    /// format; NAME_temp for NAME_test, as DeepPCB has it.
    #[arg(long, value_name = "DIR", conflicts_with = "reference")]
    reference_dir: Option<PathBuf>,
}

/// References that are at hand.
pub enum References {
    /// The detector takes none.
    None,
    /// The same one for all images.
    One(
        #[cfg_attr(not(feature = "records"), expect(dead_code, reason = "records keep the file"))] PathBuf,
        RgbImage,
    ),
    /// Files of a folder.
    Folder(PathBuf),
}

impl ReferenceArguments {
    /// Checks that the detector takes what is given.
    pub fn open(&self, input: ReferenceInput, weights: &Path) -> Result<References> {
        match (input, &self.reference, &self.reference_dir) {
            (ReferenceInput::None, None, None) => Ok(References::None),
            (ReferenceInput::None, ..) => Err(Error::file(
                weights,
                "the detector takes no reference: leave out --reference and --reference-dir",
            )
            .into()),
            (ReferenceInput::Difference, Some(path), _) => {
                Ok(References::One(path.clone(), load_image(path)?))
            }
            (ReferenceInput::Difference, None, Some(folder)) => Ok(References::Folder(folder.clone())),
            (ReferenceInput::Difference, None, None) => Err(Error::file(
                weights,
                "the detector compares an image with a reference: give --reference or --reference-dir",
            )
            .into()),
        }
    }

    /// Whether any is given.
    pub fn are_given(&self) -> bool {
        self.reference.is_some() || self.reference_dir.is_some()
    }

    /// The files that are read, which nothing is written over.
    pub fn files(&self) -> Result<Vec<PathBuf>, Error> {
        let mut files: Vec<PathBuf> = self.reference.iter().cloned().collect();
        if let Some(folder) = &self.reference_dir {
            files.extend(image_files(folder)?);
        }
        Ok(files)
    }
}

impl References {
    /// Reads an image and looks for objects in it, beside its reference if the detector takes one.
    pub fn detect(&self, predictor: &Predictor, path: &Path) -> Result<(RgbImage, Vec<Detection>), Error> {
        let image = load_image(path)?;
        let detections = self.detect_in(predictor, path, &image)?;
        Ok((image, detections))
    }

    /// Looks for objects in an image that is read already.
    pub fn detect_in(
        &self,
        predictor: &Predictor,
        path: &Path,
        image: &RgbImage,
    ) -> Result<Vec<Detection>, Error> {
        let found = match self {
            Self::None => predictor.detect(image),
            Self::One(_, reference) => predictor.detect_against(image, reference),
            Self::Folder(folder) => predictor.detect_against(image, &load_image(find(folder, path)?)?),
        };
        found.map_err(|error| Error::file(path, format!("{error:#}")))
    }

    /// The file of an image's reference.
    #[cfg(feature = "records")]
    pub fn file(&self, image: &Path) -> Result<Option<PathBuf>, Error> {
        match self {
            Self::None => Ok(None),
            Self::One(path, _) => Ok(Some(path.clone())),
            Self::Folder(folder) => find(folder, image).map(Some),
        }
    }
}

fn find(folder: &Path, image: &Path) -> Result<PathBuf, Error> {
    let stem = image.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let template = stem.strip_suffix("_test").map(|name| format!("{name}_temp"));
    let own = image.extension().and_then(|ending| ending.to_str()).map(str::to_string);
    let endings: Vec<String> =
        own.into_iter().chain(ENDINGS.into_iter().flat_map(|e| [e.to_string(), e.to_uppercase()])).collect();
    let names = template.iter().chain([&stem]);
    let mut paths =
        names.flat_map(|name| endings.iter().map(move |ending| folder.join(format!("{name}.{ending}"))));
    // An image is no reference of itself.
    paths.find(|path| path.is_file() && !output::is_same_file(path, image)).ok_or_else(|| {
        let called = template.iter().chain([&stem]).map(String::as_str).collect::<Vec<_>>().join(" or ");
        Error::file(image, format!("no reference called {called} in {}", folder.display()))
    })
}
