//! `faster-rcnn predict`

use std::collections::HashSet;
use std::fs;
use std::io::Cursor;
use std::iter;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use faster_rcnn::data::load_image;
use faster_rcnn::draw::draw_detections;
use faster_rcnn::{Error, Predictor};
use image::ImageFormat;

use crate::detector::DetectorArguments;
use crate::output;
use crate::predictions::Prediction;

const EXAMPLES: &str = "\
The JSON has an entry for each image. Boxes are in pixels of the original image, the highest score comes
first. `name` is null where the weights have no class names:

  [{\"image\": \"board.jpg\", \"width\": 640, \"height\": 640, \"detections\": [
      {\"box\": [x1, y1, x2, y2], \"label\": 1, \"name\": \"open\", \"score\": 0.97}, ...]}, ...]

Images are JPEG, PNG, BMP, TIFF or WebP. If one cannot be read, the others are still written, and the exit
status is 1.

Examples:

  faster-rcnn predict --weights best.safetensors board.jpg
  faster-rcnn predict --weights best.safetensors --json found.json --draw pictures boards/*.jpg
  faster-rcnn predict --weights best.safetensors --score-threshold 0.5 --detections-per-image 500 board.jpg
  faster-rcnn predict --weights model.pth --image-size 640,640 \\
      --set model.anchors.sizes=[8,16,32,64,128] board.jpg";

/// Find objects in images: boxes, classes and scores as JSON, and drawn as pictures.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// A detector's weights: this program's, or torchvision's of a detector.
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    #[command(flatten)]
    detector: DetectorArguments,
    /// Write the JSON to a file [default: standard output].
    #[arg(long, value_name = "OUT")]
    json: Option<PathBuf>,
    /// Draw what was found into a folder, as NAME.png for each image. With a --score-threshold of about 0.5
    /// the pictures stay readable. Pictures that would have the same name, or that of an input image, are
    /// called NAME_2.png and so on.
    #[arg(long, value_name = "DIR")]
    draw: Option<PathBuf>,
    /// The images.
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
}

pub fn run(arguments: Arguments) -> Result<()> {
    let inputs = || iter::once(&arguments.weights).chain(&arguments.images);
    if let Some(json) = &arguments.json {
        output::prepare(json, inputs().map(PathBuf::as_path))?;
    }
    let predictor = arguments.detector.load(&arguments.weights)?;

    let pictures = match &arguments.draw {
        Some(folder) => {
            output::create_folder(folder)?;
            picture_paths(folder, &arguments.images, inputs()).into_iter().map(Some).collect()
        }
        None => vec![None; arguments.images.len()],
    };
    let (mut predictions, mut failures) = (Vec::new(), Vec::new());
    for (image, picture) in arguments.images.iter().zip(pictures) {
        match predict(&predictor, image, picture.as_deref()) {
            Ok(prediction) => predictions.push(prediction),
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    let json = output::to_json(&predictions);
    match &arguments.json {
        Some(path) => output::write_file(path, json)?,
        None => output::print(json)?,
    }
    match failures.as_slice() {
        [] => Ok(()),
        [failure] => bail!("{failure}"),
        _ => bail!("{} of {} images: {}", failures.len(), arguments.images.len(), failures.join("; ")),
    }
}

fn predict(predictor: &Predictor, path: &Path, picture: Option<&Path>) -> Result<Prediction, Error> {
    let image = load_image(path)?;
    let detections = predictor.detect(&image).map_err(|error| Error::file(path, format!("{error:#}")))?;
    tracing::info!(image = %path.display(), detections = detections.len(), "looked for objects");
    if let Some(picture) = picture {
        let mut png = Cursor::new(Vec::new());
        draw_detections(&image, &detections, &predictor.config().class_names)
            .write_to(&mut png, ImageFormat::Png)
            .map_err(Error::image(picture))?;
        output::write_file(picture, png.into_inner())?;
    }
    Ok(Prediction::new(path, image.dimensions(), &detections, predictor))
}

/// A PNG file in `folder` for each image, all of them different, none of them one of `inputs`.
fn picture_paths<'a>(
    folder: &Path,
    images: &[PathBuf],
    inputs: impl Iterator<Item = &'a PathBuf>,
) -> Vec<PathBuf> {
    let inputs: HashSet<PathBuf> = inputs.filter_map(|input| fs::canonicalize(input).ok()).collect();
    let is_input = |path: &Path| fs::canonicalize(path).is_ok_and(|path| inputs.contains(&path));
    let mut taken = HashSet::new();
    let mut free = |path: &Path| {
        // On some file systems, names that differ in case only are the same name.
        !is_input(path) && taken.insert(path.to_string_lossy().to_lowercase())
    };
    let path_of = |image: &PathBuf| {
        let stem = image.file_stem().unwrap_or_default().to_string_lossy();
        let numbered = (2..).map(|number| format!("{stem}_{number}.png"));
        let mut paths = iter::once(format!("{stem}.png")).chain(numbered).map(|name| folder.join(name));
        paths.find(|path| free(path)).expect("there is always another number")
    };
    images.iter().map(path_of).collect()
}
