//! `faster-rcnn predict`

use std::collections::HashSet;
use std::fs;
use std::io::Cursor;
use std::iter;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use faster_rcnn::draw::draw_detections;
use faster_rcnn::{Error, Predictor};
use image::ImageFormat;

use crate::detector::DetectorArguments;
use crate::predictions::Prediction;
use crate::references::{ReferenceArguments, References};
use crate::registry::RegistryArguments;
use crate::{default_weights, inputs, output, progress, results};

const EXAMPLES: &str = "\
The JSON has an entry for each image. Boxes are in pixels of the original image, the highest score comes
first. `name` is null where the weights have no class names:

  [{\"image\": \"board.jpg\", \"width\": 640, \"height\": 640, \"detections\": [
      {\"box\": [x1, y1, x2, y2], \"label\": 1, \"name\": \"open\", \"score\": 0.97}, ...]}, ...]

Images are JPEG, PNG, BMP, TIFF or WebP. If one cannot be read, the others are still written, and the exit
status is 1.

An image may also be a folder, which stands for all images in it and below, or a pattern with `*`, `?`, `[` or
`**`. Without --json, the JSON goes to standard output, unless another form is asked for.

Examples:

  faster-rcnn predict --reference good.png board.png
  faster-rcnn predict --weights best.safetensors board.jpg
  faster-rcnn predict --weights best.safetensors --json found.json --draw pictures boards/*.jpg
  faster-rcnn predict --weights best.safetensors --csv found.csv --yolo labels boards
  faster-rcnn predict --weights best.safetensors --reference good.png board.jpg
  faster-rcnn predict --weights models:/pcb@champion board.jpg
  faster-rcnn predict --weights best.safetensors --coco found.json --coco-ids instances_val2017.json val2017
  faster-rcnn predict --weights best.safetensors --score-threshold 0.5 --detections-per-image 500 board.jpg
  faster-rcnn predict --weights model.pth --image-size 640,640 \\
      --set model.anchors.sizes=[8,16,32,64,128] board.jpg";

/// Find objects in images: boxes, classes and scores as JSON, in other forms, and drawn as pictures.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// A detector's weights: this program's, torchvision's of a detector, or a registered version,
    /// models:/NAME/N or models:/NAME@ALIAS [default: deep_pcb_small, with references
    /// deep_pcb_small_reference, which find the defects of DeepPCB].
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArguments,
    #[command(flatten)]
    detector: DetectorArguments,
    #[command(flatten)]
    references: ReferenceArguments,
    /// Write the JSON to a file.
    #[arg(long, value_name = "OUT")]
    json: Option<PathBuf>,
    /// Write COCO's results to a file: image_id, category_id, bbox and score of each detection.
    #[arg(long, value_name = "OUT")]
    coco: Option<PathBuf>,
    /// COCO's JSON of these images, whose ids the results have [default: the number or the name that the file
    /// is called by; the labels].
    #[arg(long, value_name = "FILE", requires = "coco")]
    coco_ids: Option<PathBuf>,
    /// Write a table to a file, a row a detection.
    #[arg(long, value_name = "OUT")]
    csv: Option<PathBuf>,
    /// Write YOLO's lines into a folder, as NAME.txt for each image, with the score as the last field.
    #[arg(long, value_name = "DIR")]
    yolo: Option<PathBuf>,
    /// Write VOC's XML into a folder, as NAME.xml for each image.
    #[arg(long, value_name = "DIR")]
    voc: Option<PathBuf>,
    /// Draw what was found into a folder, as NAME.png for each image. With a --score-threshold of about 0.5
    /// the pictures stay readable. Files of images that would have the same name, or that of an input image,
    /// are called NAME_2.png and so on; so are those of --yolo and --voc.
    #[arg(long, value_name = "DIR")]
    draw: Option<PathBuf>,
    /// More images: a file with a path a line, from its own folder.
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// The images.
    #[arg(value_name = "IMAGE", required_unless_present = "list")]
    images: Vec<PathBuf>,
}

pub fn run(arguments: Arguments) -> Result<()> {
    let weights = &match &arguments.weights {
        Some(weights) => arguments.registry.file(weights.clone())?,
        None => default_weights::find(arguments.references.are_given())?,
    };
    let Arguments { json, coco, coco_ids, csv, list, .. } = &arguments;
    let images = inputs::images(&arguments.images, list.as_deref())?;
    let references = &arguments.references;
    let reference_files = references.files()?;
    let read = || iter::once(weights).chain(list).chain(coco_ids).chain(&images).chain(&reference_files);
    for file in [json, coco, csv].into_iter().flatten() {
        output::prepare(file, read().map(PathBuf::as_path))?;
    }
    let files = Files::prepare(&arguments, &images, read())?;
    let predictor = arguments.detector.load(weights)?;
    let references = references.open(predictor.config().reference, weights)?;

    let (mut predictions, mut failures) = (Vec::new(), Vec::new());
    let bar = progress::bar(images.len(), "images");
    for (index, image) in images.iter().enumerate() {
        match predict(&predictor, image, &references, &files, index) {
            Ok(prediction) => predictions.push(prediction),
            Err(error) => failures.push(format!("{error:#}")),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if let Some(path) = coco {
        output::write_file(path, results::coco(&predictions, coco_ids.as_deref())?)?;
    }
    if let Some(path) = csv {
        output::write_file(path, results::csv(&predictions)?)?;
    }
    if let Some(path) = json {
        output::write_file(path, output::to_json(&predictions))?;
    } else if coco.is_none() && csv.is_none() && arguments.yolo.is_none() && arguments.voc.is_none() {
        output::print(output::to_json(&predictions))?;
    }
    match failures.as_slice() {
        [] => Ok(()),
        [failure] => bail!("{failure}"),
        _ => bail!("{} of {} images: {}", failures.len(), images.len(), failures.join("; ")),
    }
}

/// The files that are written for each image, by the position of the image.
struct Files {
    draw: Option<Vec<PathBuf>>,
    yolo: Option<Vec<PathBuf>>,
    voc: Option<Vec<PathBuf>>,
}

impl Files {
    /// Makes the folders. No file of `inputs` is among the paths.
    fn prepare<'a>(
        arguments: &Arguments,
        images: &[PathBuf],
        inputs: impl Iterator<Item = &'a PathBuf>,
    ) -> Result<Self, Error> {
        let inputs: HashSet<PathBuf> = inputs.filter_map(|input| fs::canonicalize(input).ok()).collect();
        let in_folder = |folder: &Option<PathBuf>, extension| {
            let paths = folder.as_ref().map(|folder| {
                output::create_folder(folder)?;
                Ok(paths_in(folder, images, extension, &inputs))
            });
            paths.transpose()
        };
        Ok(Self {
            draw: in_folder(&arguments.draw, "png")?,
            yolo: in_folder(&arguments.yolo, "txt")?,
            voc: in_folder(&arguments.voc, "xml")?,
        })
    }
}

fn predict(
    predictor: &Predictor,
    path: &Path,
    references: &References,
    files: &Files,
    index: usize,
) -> Result<Prediction, Error> {
    let (image, detections) = references.detect(predictor, path)?;
    tracing::info!(image = %path.display(), detections = detections.len(), "looked for objects");
    if let Some(pictures) = &files.draw {
        let picture = &pictures[index];
        let mut png = Cursor::new(Vec::new());
        draw_detections(&image, &detections, &predictor.config().class_names)
            .write_to(&mut png, ImageFormat::Png)
            .map_err(Error::image(picture))?;
        output::write_file(picture, png.into_inner())?;
    }
    let prediction = Prediction::new(path, image.dimensions(), &detections, predictor);
    if let Some(labels) = &files.yolo {
        output::write_file(&labels[index], results::yolo(&prediction))?;
    }
    if let Some(documents) = &files.voc {
        output::write_file(&documents[index], results::voc(&prediction))?;
    }
    Ok(prediction)
}

/// A file in `folder` for each image, all of them different, none of them one of `inputs`.
fn paths_in(folder: &Path, images: &[PathBuf], extension: &str, inputs: &HashSet<PathBuf>) -> Vec<PathBuf> {
    let is_input = |path: &Path| fs::canonicalize(path).is_ok_and(|path| inputs.contains(&path));
    let mut taken = HashSet::new();
    let mut free = |path: &Path| {
        // On some file systems, names that differ in case only are the same name.
        !is_input(path) && taken.insert(path.to_string_lossy().to_lowercase())
    };
    let path_of = |image: &PathBuf| {
        let stem = image.file_stem().unwrap_or_default().to_string_lossy();
        let numbered = (2..).map(|number| format!("{stem}_{number}.{extension}"));
        let first = iter::once(format!("{stem}.{extension}"));
        let mut paths = first.chain(numbered).map(|name| folder.join(name));
        paths.find(|path| free(path)).expect("there is always another number")
    };
    images.iter().map(path_of).collect()
}
