//! `faster-rcnn evaluate`

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::slice;

use anyhow::{Result, bail};
use clap::ArgGroup;
use faster_rcnn::data::{Dataset, Side};
use faster_rcnn::draw::{self, draw_pair, sheet};
use faster_rcnn::eval::{
    ImageResult, Pair, Tolerances, clean_images, clean_windows, escape_curve, evaluate, operating_points,
    pairs,
};
use faster_rcnn::image::ImageFormat;
use faster_rcnn::train::RunInfo;
use faster_rcnn::weights::LoadOptions;
use faster_rcnn::{Error, FasterRcnnConfig, Predictor, TransformConfig};

use crate::data::DataArguments;
use crate::detector::{DetectorArguments, check_classes, fraction};
use crate::references::ReferenceArguments;
use crate::registry::RegistryArguments;
use crate::shipped::{self, Ship};
use crate::sides::SideArguments;
use crate::{inputs, output, predictions, progress};

/// Above this IoU a detection stands for an object, in the pictures of hits and of mistakes.
const PAIR_IOU: f32 = 0.5;
/// The most of either in a picture.
const MOST_SHOWN: usize = 60;
/// Detections below this score are left out of the confusion matrix and of these pictures if the threshold of
/// the best F-score is unknown.
const DEFAULT_THRESHOLD: f32 = 0.5;

const EXAMPLES: &str = "\
Detections made elsewhere come as the JSON that `faster-rcnn predict --json` writes:

  [{\"image\": \"00041000_test.jpg\", \"width\": 640, \"height\": 640, \"detections\": [
      {\"box\": [x1, y1, x2, y2], \"label\": 1, \"name\": \"open\", \"score\": 0.97}, ...]}, ...]

Boxes are in pixels of the image, with x1 < x2 and y1 < y2. Labels count the classes of the data set from 1;
DeepPCB's are 1 open, 2 short, 3 mousebite, 4 spur, 5 copper, 6 pin-hole. `name` may be missing or null, else
it must be that of the class. Scores are in 0..=1. Images are matched by file name, folders do not matter.
Every image of the data set must have one entry, if need be with no detections, and no other image may have
one. Anything else is an error that names the entry.

The classes of the weights must be those of the data set, in the same order. Weights without class names, such
as those of torchvision, must have as many.

Examples:

  faster-rcnn evaluate --weights runs/first/checkpoints/best.safetensors --data PCBData --json evaluation.json
  faster-rcnn evaluate --weights model.pth --image-size 128 --detections-per-image 300 --data PCBData
  faster-rcnn evaluate --weights model.safetensors --data PCBData --list PCBData/test.txt --by '[0-9]{5}'
  faster-rcnn evaluate --detections other.json --data PCBData --list PCBData/test.txt --plots charts";

/// Say how good detections are: COCO's AP and AR, and DeepPCB's mAP and F-score.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES, group = ArgGroup::new("source").required(true))]
pub struct Arguments {
    /// A detector's weights: this program's, torchvision's of a detector, or a registered version,
    /// models:/NAME/N or models:/NAME@ALIAS.
    #[arg(long, value_name = "FILE", group = "source")]
    weights: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArguments,
    /// Detections made elsewhere, in the JSON of `predict`.
    #[arg(long, value_name = "PRED.json", group = "source")]
    #[arg(conflicts_with_all = ["score_threshold", "threshold", "nms_threshold", "exclusive_iou"])]
    #[arg(conflicts_with_all = ["detections_per_image"])]
    #[arg(conflicts_with_all = ["image_size", "min_size", "max_size", "tile", "views", "settings", "prefix"])]
    detections: Option<PathBuf>,
    #[command(flatten)]
    data: DataArguments,
    /// The images to evaluate on, a name a line; of DeepPCB, one of its lists [default: those that `train`
    /// holds out].
    #[arg(long, value_name = "FILE", conflicts_with_all = ["split", "group_by", "side"])]
    list: Option<PathBuf>,
    #[command(flatten)]
    sides: SideArguments,
    /// The side to evaluate on, of --split or of the data set's own lists [default: what training held out].
    #[arg(long, value_name = "SIDE")]
    side: Option<HeldOut>,
    /// The train.seed that held images out, where there are no lists [default: that of the run which wrote
    /// the weights, or else 0].
    #[arg(long, value_name = "S", conflicts_with = "list")]
    seed: Option<u64>,
    /// Say how good detections are on each group of images by itself as well, such as those of one kind of
    /// board. Regular expression: images whose names have the same match of its first parenthesis (or,
    /// without one, of the whole) are one group; those that do not match are in none. Escapes and alarms are
    /// counted at the threshold of --threshold, or else at that of the best F-score of all images; with
    /// --per-class, each class at its own.
    #[arg(long, value_name = "REGEX")]
    by: Option<String>,
    /// Write all numbers to a JSON file.
    #[arg(long, value_name = "OUT")]
    json: Option<PathBuf>,
    /// Write charts into a folder: precision_recall.png, confusion_matrix.png, escapes.png, reliability.png,
    /// and alarms.png where there are clean images. Also hits.png, the hit with the lowest score of each
    /// image, and mistakes.png, of at most 60 each.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    /// More images: clean ones, on which every detection is a false alarm. A folder, or a file with a path a
    /// line.
    #[arg(long, value_name = "DIR_OR_LIST", requires = "weights")]
    clean: Option<PathBuf>,
    /// Cut each image into so many windows a side, and take those without an object for clean images.
    #[arg(long, value_name = "N", conflicts_with = "clean")]
    #[arg(value_parser = clap::value_parser!(u8).range(2..=64))]
    clean_windows: Option<u8>,
    /// References of the clean images, for a detector that takes them.
    #[command(flatten)]
    references: ReferenceArguments,
    /// Find the threshold at which at most this part of the objects escapes.
    #[arg(long, value_name = "PART", default_value_t = 0.01, value_parser = fraction::<f64>)]
    escapes: f64,
    /// Find the threshold at which at most this part of the clean images alarms.
    #[arg(long, value_name = "PART", default_value_t = 0.02, value_parser = fraction::<f64>)]
    alarms: f64,
    /// Write the weights with the thresholds of this evaluation to a new file, from which `predict
    /// --threshold` takes them.
    #[arg(long, value_name = "FILE", requires = "weights")]
    store: Option<PathBuf>,
    /// The threshold of --store that `predict --threshold shipped` is to take.
    #[arg(long, value_name = "THRESHOLD", default_value = "best_f", requires = "store")]
    ship: Ship,
    #[command(flatten)]
    detector: DetectorArguments,
}

/// What is not trained on.
#[derive(Clone, Copy, clap::ValueEnum)]
enum HeldOut {
    /// The images to validate on.
    Val,
    /// The images of the final test.
    Test,
}

impl From<HeldOut> for Side {
    fn from(side: HeldOut) -> Self {
        match side {
            HeldOut::Val => Self::Validation,
            HeldOut::Test => Self::Test,
        }
    }
}

pub fn run(mut arguments: Arguments) -> Result<()> {
    arguments.weights = arguments.weights.map(|weights| arguments.registry.file(weights)).transpose()?;
    let Arguments { weights, detections, list, json, plots, store, .. } = &arguments;
    if arguments.references.are_given() && arguments.clean.is_none() {
        bail!(
            "--reference and --reference-dir are for the images of --clean: those of a data set have their own"
        );
    }
    let references = arguments.references.files()?;
    for (file, other) in [(json, store), (store, json)] {
        let inputs = [weights, detections, list, &arguments.clean, other].into_iter().flatten();
        let inputs = inputs.chain(&references).map(PathBuf::as_path);
        file.as_deref().map_or(Ok(()), |file| output::prepare(file, inputs))?;
    }
    plots.as_deref().map_or(Ok(()), output::create_folder)?;
    let run = weights.as_ref().map(RunInfo::read).transpose()?.flatten();
    let seed = arguments.seed.or(run.as_ref().map(|run| run.config.train.seed)).unwrap_or(0);
    let mut data = match list {
        Some(list) => arguments.data.open_list(list)?,
        None => held_out(&arguments, run.as_ref(), seed)?,
    };
    arguments.by.as_deref().map_or(Ok(()), |pattern| group(&mut data, pattern))?;
    warn_of_training_images(run.as_ref(), &data);
    let (mut settings, mut asked) = (LoadOptions::default(), None);
    let mut results = match (weights, detections) {
        (Some(weights), _) => {
            let predictor = arguments.detector.load(weights)?;
            check_classes(&predictor, weights, &data.class_names)?;
            let clean = clean(&predictor, weights, &arguments)?;
            let mut results = detect(&predictor, &data)?;
            results.extend(clean);
            asked = arguments.detector.threshold_of(&predictor);
            settings = with_size(arguments.detector.options(), predictor.config());
            results
        }
        (None, Some(detections)) => predictions::read(detections, &data)?,
        (None, None) => unreachable!("clap asks for one of the two"),
    };
    let tolerances = Tolerances { escapes: arguments.escapes, alarms: arguments.alarms };
    let clean = match arguments.clean_windows {
        Some(per_side) => {
            let sizes: Vec<_> = data.records.iter().map(|record| record.size).collect();
            clean_windows(&results, &sizes, per_side.into())
        }
        None => clean_images(&results),
    };
    let thresholds = operating_points(&results, &clean, &data.class_names, tolerances, seed);
    if let Some(folder) = plots {
        draw::plot_operating_points(folder, &escape_curve(&results, &clean), &thresholds)?;
    }
    results.truncate(data.records.len());
    let mut evaluation = evaluate(&results, &data.class_names);
    if arguments.by.is_some() {
        let best_f = thresholds.overall.best_f.map(|point| point.threshold);
        let groups: Vec<_> = data.records.iter().map(|record| record.group.as_deref()).collect();
        let (clean, threshold) = (&clean[..results.len()], asked.or(best_f).unwrap_or_default());
        evaluation = evaluation.with_groups(&results, clean, &groups, threshold);
    }
    let evaluation = evaluation.with_thresholds(thresholds);
    if let Some(path) = json {
        output::write_file(path, output::to_json(&evaluation))?;
    }
    if let Some(folder) = plots {
        let threshold = evaluation.deep_pcb.threshold.unwrap_or(DEFAULT_THRESHOLD);
        draw::plot_evaluation(folder, &results, threshold, &data.class_names)?;
        draw_pairs(folder, &data, &results, threshold)?;
    }
    output::print(format!("{evaluation}\n"))?;
    match (weights, store, &evaluation.thresholds) {
        (Some(weights), Some(to), Some(found)) => {
            shipped::store(weights, &settings, found, arguments.ship, to)
        }
        _ => Ok(()),
    }
}

/// Two sheets, of the first images: the hit with the lowest score of each; misses, false calls and wrong
/// classes.
fn draw_pairs(folder: &Path, data: &Dataset, results: &[ImageResult], threshold: f32) -> Result<()> {
    let (mut hits, mut mistakes) = (Vec::new(), Vec::new());
    for (record, result) in data.records.iter().zip(results) {
        let (right, mut wrong): (Vec<Pair>, Vec<Pair>) =
            pairs(result, threshold, PAIR_IOU).into_iter().partition(Pair::is_right);
        let score = |pair: &Pair| pair.found.map_or(0.0, |found| found.score);
        let weakest = right.into_iter().min_by(|a, b| score(a).total_cmp(&score(b)));
        let weakest = weakest.filter(|_| hits.len() < MOST_SHOWN);
        wrong.truncate(MOST_SHOWN - mistakes.len());
        if weakest.is_some() || !wrong.is_empty() {
            let image = record.load()?;
            let draw = |pair: &Pair| draw_pair(&image, pair, &data.class_names);
            hits.extend(weakest.as_ref().map(draw));
            mistakes.extend(wrong.iter().map(draw));
        }
    }
    for (name, pictures) in [("hits.png", hits), ("mistakes.png", mistakes)] {
        if !pictures.is_empty() {
            let (path, mut png) = (folder.join(name), Cursor::new(Vec::new()));
            sheet(&pictures).write_to(&mut png, ImageFormat::Png).map_err(Error::image(&path))?;
            output::write_file(&path, png.into_inner())?;
        }
    }
    Ok(())
}

/// With the image size that the evaluation was made with.
fn with_size(options: LoadOptions, config: &FasterRcnnConfig) -> LoadOptions {
    let TransformConfig { min_size, max_size, .. } = config.transform;
    options.set(format!("transform.min_size={min_size}")).set(format!("transform.max_size={max_size}"))
}

/// Looks for objects on the images of --clean, where there are none.
fn clean(predictor: &Predictor, weights: &Path, arguments: &Arguments) -> Result<Vec<ImageResult>> {
    let Some(clean) = &arguments.clean else { return Ok(Vec::new()) };
    let images = if clean.is_dir() {
        inputs::images(slice::from_ref(clean), None)?
    } else {
        inputs::images(&[], Some(clean))?
    };
    let references = arguments.references.open(predictor.config().reference, weights)?;
    let bar = progress::bar(images.len(), "clean images");
    let mut results = Vec::with_capacity(images.len());
    for path in &images {
        let (_, detections) = references.detect(predictor, path)?;
        results.push(ImageResult { annotations: Vec::new(), detections });
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(results)
}

/// The images that the run held out, where that is known, or else those that training would hold out.
fn held_out(arguments: &Arguments, run: Option<&RunInfo>, seed: u64) -> Result<Dataset> {
    let data = arguments.sides.apply_to_divide(arguments.data.open()?)?;
    if let Some(side) = arguments.side {
        let data = data.of_side(side.into());
        if data.records.is_empty() {
            bail!("no image of the data set is for --side {}", Side::from(side).name());
        }
        return Ok(data);
    }
    let asked = arguments.seed.is_some() || arguments.sides.are_given();
    let known = run.filter(|_| !asked).and_then(|run| run.held_out(&data));
    Ok(known.unwrap_or_else(|| data.sides(seed).validation))
}

/// Groups the images by their names, to be judged by group.
fn group(data: &mut Dataset, pattern: &str) -> Result<()> {
    let (unmatched, count) = (data.group_by(pattern)?, data.records.len());
    if let Some(first) = data.records.first().filter(|_| unmatched == count) {
        bail!("--by {pattern}: matches no name of an image, such as `{}`", first.name);
    }
    if unmatched > 0 {
        eprintln!("warning: --by {pattern}: {unmatched} of {count} names do not match, and are in no group");
    }
    Ok(())
}

/// Weights do better on the images that they were trained on, so the numbers would be too good.
fn warn_of_training_images(run: Option<&RunInfo>, data: &Dataset) {
    let known = run.map_or(0, |run| run.trained_on(data));
    if known > 0 {
        eprintln!("warning: the weights were trained on {known} of these {} images", data.records.len());
    }
}

/// Runs a detector on all images of a data set, and shows on a terminal how far it is.
fn detect(predictor: &Predictor, data: &Dataset) -> Result<Vec<ImageResult>> {
    let count = data.records.len();
    let mut results = Vec::with_capacity(count);
    let bar = progress::bar(count, "images");
    for result in predictor.results(data) {
        results.push(result?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let detections: usize = results.iter().map(|result| result.detections.len()).sum();
    tracing::info!(images = count, detections, "looked for objects");
    Ok(results)
}
