//! `faster-rcnn predict`

use std::collections::HashSet;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::CommandFactory;
use clap::error::ErrorKind;
use faster_rcnn::data::load_image;
use faster_rcnn::draw::draw_detections;
use faster_rcnn::{Error, Predictor};
use image::ImageFormat;

use crate::predictions::Prediction;
use crate::{DeviceName, output};

const EXAMPLES: &str = "\
The JSON has an entry an image, boxes in pixels of the original image, by falling score; `name` is null where the
weights carry no class names:

  [{\"image\": \"board.jpg\", \"width\": 640, \"height\": 640, \"detections\": [
      {\"box\": [x1, y1, x2, y2], \"label\": 1, \"name\": \"open\", \"score\": 0.97}, ...]}, ...]

Images are JPEG or PNG. One that cannot be read does not stop the others: they are written, and the exit status is 1.

Examples:

  faster-rcnn predict --weights best.safetensors board.jpg
  faster-rcnn predict --weights best.safetensors --json found.json --draw pictures boards/*.jpg
  faster-rcnn predict --weights best.safetensors --score-threshold 0.5 --min-size 640 --max-size 640 board.jpg";

/// Find objects in images: boxes, classes and scores as JSON, and drawn as pictures.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// A detector's weights: this program's, or torchvision's of a detector.
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// Leave out detections of this score or less, in 0..=1 [default: as in the weights' settings; 0.05 if they
    /// have none].
    #[arg(long, value_name = "SCORE", value_parser = score)]
    score_threshold: Option<f32>,
    /// Resize the short side to so many pixels [default: as in the weights' settings; 800 if they have none].
    #[arg(long, value_name = "PIXELS")]
    min_size: Option<usize>,
    /// But the long side to so many at most [default: as in the weights' settings; 1333 if they have none].
    #[arg(long, value_name = "PIXELS")]
    max_size: Option<usize>,
    /// Write the JSON to a file [default: standard output].
    #[arg(long, value_name = "OUT")]
    json: Option<PathBuf>,
    /// Draw what was found into a folder, NAME.png an image; with a --score-threshold of 0.5 or so the pictures
    /// stay readable. Pictures that would have the same name, or that of an input image, are called NAME_2.png
    /// and so on.
    #[arg(long, value_name = "DIR")]
    draw: Option<PathBuf>,
    /// Where to compute.
    #[arg(long, default_value = "cpu")]
    device: DeviceName,
    /// The images.
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
}

fn score(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(score) if (0.0..=1.0).contains(&score) => Ok(score),
        _ => Err("expected a number in 0..=1".to_string()),
    }
}

pub fn run(arguments: Arguments) -> Result<()> {
    arguments.json.as_deref().map_or(Ok(()), output::prepare)?;
    let mut predictor = Predictor::load(&arguments.weights, &arguments.device.device())?;
    if let Some(threshold) = arguments.score_threshold {
        predictor = predictor.with_score_thresh(threshold)?;
    }
    predictor = resize(predictor, arguments.min_size, arguments.max_size);

    let pictures = match &arguments.draw {
        Some(folder) => {
            output::create_folder(folder)?;
            picture_paths(folder, &arguments.images).into_iter().map(Some).collect()
        }
        None => vec![None; arguments.images.len()],
    };
    let (mut predictions, mut failures) = (Vec::new(), Vec::new());
    for (image, picture) in arguments.images.iter().zip(pictures) {
        match predict(&predictor, image, picture.as_deref()) {
            Ok(prediction) => predictions.push(prediction),
            Err(error) => failures.push(error.to_string()),
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

/// Each of the two sizes may be the weights' own; sizes that do not go together are wrong usage.
fn resize(predictor: Predictor, min_size: Option<usize>, max_size: Option<usize>) -> Predictor {
    if min_size.is_none() && max_size.is_none() {
        return predictor;
    }
    let own = &predictor.config().transform;
    let (min_size, max_size) = (min_size.unwrap_or(own.min_size), max_size.unwrap_or(own.max_size));
    predictor.with_image_size(min_size, max_size).unwrap_or_else(|error| {
        let message = format!("--min-size {min_size} --max-size {max_size}: {error}");
        crate::Arguments::command().error(ErrorKind::ValueValidation, message).exit()
    })
}

fn predict(predictor: &Predictor, path: &Path, picture: Option<&Path>) -> Result<Prediction, Error> {
    let image = load_image(path)?;
    let detections = predictor.detect(&image).map_err(|error| Error::file(path, error))?;
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

/// A PNG file in `folder` for each image, all of them different, none of them an image.
fn picture_paths(folder: &Path, images: &[PathBuf]) -> Vec<PathBuf> {
    let inputs: HashSet<PathBuf> = images.iter().filter_map(|image| fs::canonicalize(image).ok()).collect();
    let is_input = |path: &Path| fs::canonicalize(path).is_ok_and(|path| inputs.contains(&path));
    let mut taken = HashSet::new();
    let mut free = |path: &Path| {
        // Some file systems take names that differ in case only for the same.
        !is_input(path) && taken.insert(path.to_string_lossy().to_lowercase())
    };
    let path_of = |image: &PathBuf| {
        let stem = image.file_stem().unwrap_or_default().to_string_lossy();
        let numbered = (2..).map(|number| format!("{stem}_{number}.png"));
        let mut paths = std::iter::once(format!("{stem}.png")).chain(numbered).map(|name| folder.join(name));
        paths.find(|path| free(path)).expect("there is always another number")
    };
    images.iter().map(path_of).collect()
}
