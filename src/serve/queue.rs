//! The queue before the detector, and the thread on which the detector works.
//!
//! A request first takes places, as many as it has images, or is refused. So the queue has a bounded length,
//! and what waits in it is bounded, too.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use image::RgbImage;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::pictures::Picture;
use super::refusal::Refusal;
use super::served_model::ServedModel;
use crate::error::{Error, Result};
use crate::structures::{Detection, Image};

/// Images that a GPU gets together, at most.
const MAX_BATCH: usize = 8;

/// An image that waits for the detector.
pub struct Job {
    pub model: Arc<ServedModel>,
    /// That of the weights, if none is given.
    pub score_threshold: Option<f32>,
    /// The image, or the image and its reference as one picture.
    pub picture: Picture,
}

/// What the detector says of an image.
#[derive(Debug)]
pub struct Found {
    pub detections: Vec<Detection>,
    pub waited: Duration,
    pub detected: Duration,
}

/// Places for images. They are given back when this is dropped.
#[derive(Debug)]
pub struct Places(#[allow(dead_code, reason = "held until it is dropped")] OwnedSemaphorePermit);

/// The queue.
#[derive(Debug)]
pub struct Queue {
    places: Arc<Semaphore>,
    length: usize,
    jobs: Mutex<Sender<Waiting>>,
}

struct Waiting {
    job: Job,
    since: Instant,
    answer: oneshot::Sender<Result<Found, Refusal>>,
}

impl Queue {
    /// Starts the detector's thread, which ends with the queue.
    pub fn start(length: usize) -> Result<Self> {
        let (jobs, waiting) = channel();
        let thread = thread::Builder::new().name("detector".to_string());
        thread
            .spawn(move || work(&waiting))
            .map_err(|error| Error::Config(format!("no thread can be started: {error}")))?;
        Ok(Self { places: Arc::new(Semaphore::new(length)), length, jobs: Mutex::new(jobs) })
    }

    /// How many places there are.
    pub fn length(&self) -> usize {
        self.length
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.length - self.places.available_permits()
    }

    /// Refuses if no place is free now. Called before a body is read, which would be in vain.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.places.available_permits() == 0 { Err(full()) } else { Ok(()) }
    }

    /// Takes places for some images, or refuses at once.
    pub fn enter(&self, images: usize) -> Result<Places, Refusal> {
        if images > self.length {
            let message = format!("a request can have {} images at most", self.length);
            return Err(Refusal::too_large(message));
        }
        let images = u32::try_from(images).unwrap_or(u32::MAX);
        self.places.clone().try_acquire_many_owned(images).map(Places).map_err(|_| full())
    }

    /// Looks for objects in an image, after all that came before it. The caller has taken a place with
    /// [`enter`](Self::enter).
    pub async fn detect(&self, job: Job) -> Result<Found, Refusal> {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { job, since: Instant::now(), answer };
        let gone = || Refusal::unavailable("the detector is not running");
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).send(waiting).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

fn full() -> Refusal {
    Refusal::unavailable("the queue is full; try again soon")
}

/// What the detector's thread does: a GPU gets what waits together, a processor one image after the other.
fn work(waiting: &Receiver<Waiting>) {
    while let Ok(first) = waiting.recv() {
        let most = if first.job.model.predictor.is_in_host_memory() { 1 } else { MAX_BATCH };
        let mut batch = vec![first];
        while batch.len() < most {
            let Ok(next) = waiting.try_recv() else { break };
            batch.push(next);
        }
        // Clients that are gone need no answer.
        batch.retain(|waiting| !waiting.answer.is_closed());
        while let Some(first) = batch.first() {
            let kind = kind(&first.job);
            let (same, others) = batch.into_iter().partition(|other| self::kind(&other.job) == kind);
            run(same);
            batch = others;
        }
    }
}

/// Jobs of one kind can run together.
fn kind(job: &Job) -> (*const ServedModel, Option<u32>) {
    (Arc::as_ptr(&job.model), job.score_threshold.map(f32::to_bits))
}

/// Runs jobs of one kind.
fn run(batch: Vec<Waiting>) {
    let start = Instant::now();
    let images: Vec<&RgbImage> = batch.iter().map(|waiting| &waiting.job.picture.pixels).collect();
    let together = detect(&batch[0].job, &images);
    let results = match together {
        Ok(found) => found.into_iter().map(Ok).collect(),
        // Only those at fault fail.
        Err(_) if batch.len() > 1 => {
            let alone = |waiting: &Waiting| {
                detect(&waiting.job, &[&waiting.job.picture.pixels]).map(|mut f| f.remove(0))
            };
            batch.iter().map(alone).collect()
        }
        Err(refusal) => vec![Err(refusal)],
    };
    let detected = start.elapsed();
    for (Waiting { since, answer, .. }, result) in batch.into_iter().zip(results) {
        let waited = start - since;
        let found = result.map(|detections| Found { detections, waited, detected });
        // The client may be gone.
        let _ = answer.send(found);
    }
}

/// All jobs of one kind have the settings of the first.
fn detect(first: &Job, images: &[&RgbImage]) -> Result<Vec<Vec<Detection>>, Refusal> {
    let failed = |cause: String| Refusal::internal("the detector failed at this image", cause);
    let predictor = &first.model.predictor;
    let predictor = match first.score_threshold {
        None => predictor.clone(),
        Some(threshold) => predictor
            .with_score_thresh(threshold)
            .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))?,
    };
    let work = || predictor.detect_images(images.iter().map(|&image| Image::from(image)).collect());
    // A fault of the detector's must not end its thread.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(found) => found.map_err(|error| failed(error.to_string())),
        Err(_) => Err(failed("it panicked".to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    use crate::model::FasterRcnnConfig;
    use crate::predict::Predictor;
    use crate::registry::ResolvedWeights;
    use crate::serve::limits::Memory;
    use crate::serve::pictures::{Studio, to_png};

    fn model() -> Arc<ServedModel> {
        let predictor = Predictor::new(FasterRcnnConfig::tiny(3).init(&Device::flex()));
        let weights =
            ResolvedWeights { path: "tiny".into(), name: None, version: None, sha256: String::new() };
        let device = "cpu".to_string();
        Arc::new(ServedModel { predictor, weights, alias: None, thresholds: None, device })
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let queue = Queue::start(2).unwrap();
        let one = queue.enter(1).unwrap();
        assert_eq!(queue.enter(2).unwrap_err().status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(queue.enter(3).unwrap_err().status(), StatusCode::PAYLOAD_TOO_LARGE);
        let other = queue.enter(1).unwrap();
        assert_eq!((queue.taken(), queue.check().is_err()), (2, true));
        drop((one, other));
        assert_eq!((queue.taken(), queue.check().is_ok()), (0, true));
    }

    #[test]
    fn what_runs_together_gives_what_runs_alone() {
        let (model, studio) = (model(), Studio::new(Memory::new(1 << 20), 10_000));
        let image = |grey| RgbImage::from_fn(48, 40, |x, y| image::Rgb([grey, (x * 5) as u8, (y * 6) as u8]));
        let images = [image(10), image(90), image(200)];
        let (batch, answers): (Vec<Waiting>, Vec<_>) = images
            .iter()
            .map(|image| {
                let (answer, answered) = oneshot::channel();
                let png = to_png(image).unwrap();
                let picture = studio.decode_here("image", &png).unwrap();
                let job = Job { model: model.clone(), score_threshold: Some(0.2), picture };
                (Waiting { job, since: Instant::now(), answer }, answered)
            })
            .unzip();
        run(batch);
        let strict = model.predictor.with_score_thresh(0.2).unwrap();
        for (image, answer) in images.iter().zip(answers) {
            assert_eq!(answer.blocking_recv().unwrap().unwrap().detections, strict.detect(image).unwrap());
        }
    }
}
