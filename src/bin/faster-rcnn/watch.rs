//! `faster-rcnn watch`

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use faster_rcnn::data::load_image;
use faster_rcnn::internals::{sha256_of_bytes, told_to_end};
use faster_rcnn::records::{Fields, Found, Milliseconds, Model, NewImage, NewInspection};
use faster_rcnn::registry::{ResolvedWeights, resolve};
use faster_rcnn::structures::Detection;
use faster_rcnn::{Error, Predictor};
use image::{ImageFormat, RgbImage};

use crate::database::{DatabaseArgument, ImagesArguments, OpenRecords};
use crate::detector::DetectorArguments;
use crate::output::{self, one_line};
use crate::predictions::Prediction;
use crate::references::{ReferenceArguments, References};
use crate::registry::RegistryArguments;
use crate::watch_folder::{Arrived, WatchedFolder, stamp};
use crate::watch_journal::{Done, Journal};

const EXAMPLES: &str = "\
Each image in the folder, or in a folder below it, is detected once. IMAGE.json beside it holds what `predict`
gives for it. An image counts as arrived when it has not changed for --settle seconds and can be read to its
end; hidden files and other endings (such as board.png.part) are left alone. An image that is replaced is
detected again. One that cannot be read stays for a while (15 times --settle); then it is reported, and looked
at again when it changes.

The file .faster-rcnn-watch.jsonl says what is done. So the program may be ended or killed at any time, and
goes on with what is left; on SIGTERM it finishes the present image. With --database, each inspection is
stored there, too. While the database or the disk refuses, the program waits and tries again.

Examples:

  faster-rcnn watch --weights best.safetensors /data/line3
  faster-rcnn watch --weights models:/pcb@champion --database sqlite:boards.db --line 3 /data/line3";

/// Only so many times --settle, an image may be unreadable without a report.
const PATIENCE: u32 = 15;

/// Pause between two tries to write.
const RETRY: Duration = Duration::from_secs(1);

/// Detect each image that appears in a folder.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// A detector's weights: a file, or models:/NAME/N or models:/NAME@ALIAS of a registry.
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    #[command(flatten)]
    registry: RegistryArguments,
    #[command(flatten)]
    detector: DetectorArguments,
    #[command(flatten)]
    references: ReferenceArguments,
    /// Folder for the JSON [default: beside each image].
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    #[command(flatten)]
    database: DatabaseArgument,
    #[command(flatten)]
    images: ImagesArguments,
    /// The production line, for the records.
    #[arg(long)]
    line: Option<String>,
    /// The product, for the records.
    #[arg(long)]
    product: Option<String>,
    /// An image has arrived when it has not changed for so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    settle: f64,
    /// The folder.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub fn run(arguments: Arguments) -> Result<()> {
    let Arguments { folder, output, settle, .. } = &arguments;
    let settle = Duration::from_secs_f64(*settle);
    fs::read_dir(folder).map_err(Error::io(folder))?;
    let output = output.clone().unwrap_or_else(|| folder.clone());
    output::create_folder(&output)?;
    let mut journal = Journal::open(&output)?;
    let weights = resolve(&arguments.weights, &arguments.registry.name()?)?;
    let predictor = arguments.detector.load(&weights.path)?;
    let references = arguments.references.open(predictor.config().reference, &weights.path)?;
    let database = arguments.database.database.as_deref();
    let records = database.map(|url| arguments.images.open(url)).transpose()?;
    let fields = Fields { line: arguments.line.clone(), product: arguments.product.clone(), board: None };
    let stop = stop_signal()?;
    let root = fs::canonicalize(folder).map_err(Error::io(folder))?;
    let inspector = Inspector { predictor, references, weights, records, fields, root, output, stop };

    let mut watched = WatchedFolder::new(folder.clone(), settle);
    let mut reported = HashMap::new();
    let mut folder_fault = String::new();
    while !inspector.is_stopped() {
        let arrived = watched.arrived(&journal);
        // A folder of the network may be away for a while.
        let fault = arrived.as_ref().err().map(|error| format!("{error:#}")).unwrap_or_default();
        if !fault.is_empty() && fault != folder_fault {
            eprintln!("warning: {}", one_line(&fault));
        }
        folder_fault = fault;
        for image in arrived.unwrap_or_default() {
            if inspector.is_stopped() {
                break;
            }
            if reported.get(&image.name) == Some(&image.stamp) {
                continue;
            }
            match inspector.inspect(&image, &journal) {
                Ok(Some(done)) => _ = inspector.insist(|| journal.add(&done)),
                Ok(None) => {}
                Err(error) if image.unchanged >= settle * PATIENCE => {
                    eprintln!("warning: {}", one_line(&format!("{error:#}")));
                    reported.insert(image.name, image.stamp);
                }
                // It may be half written, or its reference may follow.
                Err(_) => {}
            }
        }
        thread::sleep((settle / 4).clamp(Duration::from_millis(10), Duration::from_secs(1)));
    }
    Ok(())
}

/// What detects images and keeps what was found.
struct Inspector {
    predictor: Predictor,
    references: References,
    weights: ResolvedWeights,
    records: Option<OpenRecords>,
    fields: Fields,
    /// The folder's full path.
    root: PathBuf,
    output: PathBuf,
    stop: Arc<AtomicBool>,
}

impl Inspector {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Detects an image and writes what was found: first into the database, where a key makes sure that it is
    /// there once only, then as a file. None if the image changed meanwhile, or the program is to end.
    fn inspect(&self, arrived: &Arrived, journal: &Journal) -> Result<Option<Done>, Error> {
        let started = Instant::now();
        let bytes = fs::read(&arrived.path).map_err(Error::io(&arrived.path))?;
        let sha256 = sha256_of_bytes(&bytes);
        let done = Done { image: arrived.name.clone(), stamp: arrived.stamp, sha256 };
        if journal.get(&arrived.name).is_some_and(|before| before.sha256 == done.sha256) {
            // Written again, with the same content.
            return Ok(Some(done));
        }
        let image = load_image(&arrived.path)?;
        let decoded = started.elapsed();
        let detections = self.references.detect_in(&self.predictor, &arrived.path, &image)?;
        let total = started.elapsed();
        if stamp(&arrived.path) != Some(arrived.stamp) {
            return Ok(None);
        }
        let times = Milliseconds {
            decode: milliseconds(decoded),
            detect: milliseconds(total - decoded),
            total: milliseconds(total),
            ..Milliseconds::default()
        };
        let prediction = match &self.records {
            None => Prediction::new(&arrived.path, image.dimensions(), &detections, &self.predictor),
            Some(records) => {
                let new = self.new_inspection(arrived, bytes, &done, (&image, &detections), times)?;
                let add = || records.run(async |records| records.add(new.clone()).await);
                let Some(stored) = self.insist(add) else { return Ok(None) };
                // After a kill it may be there already, perhaps by another model.
                Prediction::of_inspection(&arrived.path, &stored)
            }
        };
        let path = self.output.join(format!("{}.json", arrived.name));
        let write = || {
            path.parent().map_or(Ok(()), output::create_folder)?;
            output::write_file(&path, output::to_json(&prediction))
        };
        Ok(self.insist(write).map(|()| done))
    }

    fn new_inspection(
        &self,
        arrived: &Arrived,
        bytes: Vec<u8>,
        done: &Done,
        (image, detections): (&RgbImage, &[Detection]),
        milliseconds: Milliseconds,
    ) -> Result<NewInspection, Error> {
        let config = self.predictor.config();
        let reference = match self.references.file(&arrived.path)? {
            None => None,
            Some(path) => {
                let reference = load_image(&path)?;
                let bytes = fs::read(&path).map_err(Error::io(&path))?;
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
                Some(new_image(name, bytes, &reference))
            }
        };
        let found = |&Detection { xyxy, label, score }: &Detection| {
            let name = self.predictor.class_name(label).map(str::to_string);
            Found { xyxy, label, name, score, verdict: None }
        };
        let ResolvedWeights { name, version, sha256, .. } = self.weights.clone();
        // The same file with another content, or written at another time, is another inspection.
        let key = format!("{}\n{}\n{:?}\n{}", self.root.display(), arrived.name, arrived.stamp, done.sha256);
        Ok(NewInspection {
            model: Model { name, version, sha256 },
            class_names: config.class_names.clone(),
            image: new_image(Some(arrived.name.clone()), bytes, image),
            reference,
            fields: self.fields.clone(),
            score_threshold: config.roi_heads.score_thresh,
            detections: detections.iter().map(found).collect(),
            milliseconds,
            key: Some(sha256_of_bytes(key.as_bytes())),
        })
    }

    /// Tries until it works: a database or a disk may refuse for a while. None if the program is to end.
    fn insist<T>(&self, mut work: impl FnMut() -> Result<T, Error>) -> Option<T> {
        let mut told = String::new();
        loop {
            let error = match work() {
                Ok(done) => return Some(done),
                Err(error) => error,
            };
            let message = format!("{error:#}");
            if message != told {
                eprintln!("warning: {}; trying again", one_line(&message));
                told = message;
            }
            if self.is_stopped() {
                return None;
            }
            thread::sleep(RETRY);
        }
    }
}

fn new_image(name: Option<String>, bytes: Vec<u8>, image: &RgbImage) -> NewImage {
    let format = image::guess_format(&bytes).unwrap_or(ImageFormat::Png);
    let (width, height) = image.dimensions();
    NewImage { bytes: bytes.into(), name, width, height, media_type: format.to_mime_type().to_string() }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Becomes true when the program is asked to end.
fn stop_signal() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::spawn(move || {
        runtime.block_on(told_to_end());
        asked.store(true, Ordering::Relaxed);
    });
    Ok(stop)
}

/// A number of seconds.
fn seconds(text: &str) -> Result<f64, &'static str> {
    match text.parse() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected a number of seconds, at most 86400"),
    }
}
