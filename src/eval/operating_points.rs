//! Which score threshold to ship: what escapes and what alarms falsely at each.
//!
//! Hits and misses are those of [DeepPCB's metric](super::DeepPcbMetrics). At a threshold
//!
//! - a defect *escapes* if no correct detection reaches the threshold;
//! - a *false call* is a detection that reaches it and is not correct;
//! - a clean board, one without defects, *alarms* if any detection on it reaches it; so does a clean window.
//!
//! A threshold of one class judges the defects and detections of this class alone.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::clean_regions::is_centred_in;
use super::deep_pcb::{BoardVerdicts, board_verdicts};
use super::image_result::{ImageResult, check_labels};
use super::per_class::{as_map, for_each_class, owned};
use super::ranking::highest_first;
use crate::structures::Xyxy;

/// Recalls at which false calls are counted.
const RECALLS: [f64; 4] = [0.90, 0.95, 0.98, 0.99];
/// Data sets that the bootstrap draws.
const RESAMPLES: usize = 1000;
/// Intervals hold this part of the resamples.
const CONFIDENCE: f64 = 0.95;
/// Bins of scores for calibration.
const BINS: usize = 10;

/// What a threshold may cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tolerances {
    /// The part of the defects that may escape, in `0..=1`.
    pub escapes: f64,
    /// The part of the clean boards or windows that may alarm, in `0..=1`.
    pub alarms: f64,
}

impl Default for Tolerances {
    /// 1 % of the defects, 2 % of the clean boards.
    fn default() -> Self {
        Self { escapes: 0.01, alarms: 0.02 }
    }
}

/// A threshold and what it gives on the images of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OperatingPoint {
    /// Detections with at least this score count.
    pub threshold: f32,
    /// Part of the defects that are found; 0 where there are none.
    pub recall: f64,
    /// Part of the detections that are correct, those on clean boards included.
    pub precision: f64,
    /// False calls an image.
    pub false_calls: f64,
    /// Part of the clean boards or windows that alarm; `None` where there are none.
    pub alarms: Option<f64>,
    /// Detections a clean board or window; `None` where there are none.
    #[serde(default)]
    pub clean_calls: Option<f64>,
    /// Where the threshold lies in 95 % of those data sets, drawn from the images with replacement, that have
    /// such a threshold.
    pub threshold_interval: [f32; 2],
    /// Where the recall at this threshold lies in 95 % of them.
    pub recall_interval: [f64; 2],
}

/// False calls at a recall.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FalseCalls {
    /// At least this part of the defects is found.
    pub recall: f64,
    /// False calls an image, at the highest threshold that reaches the recall; `None` where none does.
    pub per_board: Option<f64>,
    /// Where it lies in 95 % of the resamples that reach the recall.
    pub interval: Option<[f64; 2]>,
}

/// Detections whose scores lie close together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Mean of the scores.
    pub score: f64,
    /// Part of the detections that are correct.
    pub correct: f64,
    /// Number of the detections.
    pub count: usize,
}

/// The thresholds for all classes together, or for one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// The one with the highest F-score.
    pub best_f: Option<OperatingPoint>,
    /// The highest one at which no more defects escape than tolerated.
    pub escapes: Option<OperatingPoint>,
    /// The lowest one at which no more clean boards or windows alarm than tolerated.
    pub alarms: Option<OperatingPoint>,
    /// False calls over recall (FROC).
    pub false_calls: Vec<FalseCalls>,
    /// Mean difference between score and part that is correct, over bins of scores, weighted by their counts
    /// (expected calibration error).
    pub calibration_error: Option<f64>,
    /// The bins, from low scores to high ones; empty ones are left out.
    pub reliability: Vec<ReliabilityBin>,
}

/// The thresholds that an evaluation gives.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OperatingPoints {
    /// What they may cost.
    pub tolerances: Tolerances,
    /// Images with defects, and clean regions: boards or windows.
    pub boards: [usize; 2],
    /// For all classes together.
    pub overall: Thresholds,
    /// For each class, in the order of the labels.
    #[serde(serialize_with = "as_map")]
    pub per_class: Vec<(String, Thresholds)>,
}

/// What a threshold lets through, and what it holds up for nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EscapePoint {
    /// Part of the defects that escape.
    pub escapes: f64,
    /// False calls an image.
    pub false_calls: f64,
    /// Part of the clean regions that alarm; `None` where there are none.
    pub alarms: Option<f64>,
}

/// All thresholds, from the highest to the lowest; none where there are no defects. `clean` as in
/// [`operating_points`].
pub fn escape_curve(results: &[ImageResult], clean: &[Vec<Xyxy>]) -> Vec<EscapePoint> {
    let pool = Pool::of_all_classes(results, clean);
    if pool.objects == 0 {
        return Vec::new();
    }
    pool.counts().map(|counts| pool.escape_point(counts)).collect()
}

/// The point at one threshold; all defects escape where there are none. `clean` as in [`operating_points`].
pub(super) fn escape_point(results: &[ImageResult], clean: &[Vec<Xyxy>], threshold: f32) -> EscapePoint {
    let pool = Pool::of_all_classes(results, clean);
    pool.escape_point(pool.at(threshold))
}

/// Finds the thresholds. `clean` are the regions of each image that alarm where something is detected:
/// [`clean_images`](super::clean_images) or [`clean_windows`](super::clean_windows). Label `l` is called
/// `class_names[l - 1]`. The intervals depend on `seed`.
///
/// # Panics
///
/// If a label lies outside `1..=class_names.len()`, or there are not the regions of each image.
pub fn operating_points(
    results: &[ImageResult],
    clean: &[Vec<Xyxy>],
    class_names: &[impl AsRef<str>],
    tolerances: Tolerances,
    seed: u64,
) -> OperatingPoints {
    check_labels(results, class_names.len());
    assert_eq!(results.len(), clean.len(), "there must be the clean regions of each image");
    let of = |keep: &(dyn Fn(usize) -> bool + Sync)| {
        let board = |(result, clean): (_, &Vec<Xyxy>)| Board::new(result, clean, keep);
        let boards: Vec<Board> = results.iter().zip(clean).map(board).collect();
        thresholds(&boards, tolerances, seed)
    };
    let with_defects = results.iter().filter(|result| !result.annotations.is_empty()).count();
    OperatingPoints {
        tolerances,
        boards: [with_defects, clean.iter().map(Vec::len).sum()],
        overall: of(&|_| true),
        per_class: for_each_class(&owned(class_names), |label| of(&move |other| other == label)),
    }
}

/// What one image gives.
struct Board {
    /// The scores in each of its clean regions, the highest first.
    clean: Vec<Vec<f32>>,
    verdicts: BoardVerdicts,
}

impl Board {
    fn new(result: &ImageResult, clean: &[Xyxy], keep: &(dyn Fn(usize) -> bool + Sync)) -> Self {
        let scores = |region: &Xyxy| {
            let found = result.detections.iter().filter(|found| keep(found.label));
            let found = found.filter(|found| is_centred_in(&found.xyxy, region));
            let mut scores: Vec<f32> = found.map(|found| found.score).collect();
            scores.sort_by(|a, b| highest_first(*a, *b));
            scores
        };
        Self { clean: clean.iter().map(scores).collect(), verdicts: board_verdicts(result, keep) }
    }
}

/// All detections of some boards, the highest score first, each board as often as it was drawn.
struct Pool {
    objects: usize,
    boards: usize,
    clean_regions: usize,
    /// Score, and whether the detection is correct.
    detections: Vec<(f32, bool)>,
    /// The highest score of each clean region that has a detection.
    clean: Vec<f32>,
}

/// Counts of the detections at or above a threshold.
#[derive(Clone, Copy)]
struct Counts {
    threshold: f32,
    correct: usize,
    detected: usize,
}

impl Pool {
    fn new<'a>(boards: impl Iterator<Item = &'a Board>) -> Self {
        let (detections, highest) = (Vec::new(), Vec::new());
        let mut pool = Self { objects: 0, boards: 0, clean_regions: 0, detections, clean: highest };
        for Board { clean, verdicts } in boards {
            pool.boards += 1;
            pool.objects += verdicts.objects;
            pool.detections.extend(&verdicts.detections);
            pool.clean_regions += clean.len();
            pool.clean.extend(clean.iter().filter_map(|scores| scores.first()));
        }
        pool.detections.sort_by(|a, b| highest_first(a.0, b.0));
        pool.clean.sort_by(|a, b| highest_first(*a, *b));
        pool
    }

    fn of_all_classes(results: &[ImageResult], clean: &[Vec<Xyxy>]) -> Self {
        let boards = results.iter().zip(clean).map(|(result, clean)| Board::new(result, clean, &|_| true));
        Self::new(boards.collect::<Vec<_>>().iter())
    }

    /// By falling threshold; detections of equal scores pass together.
    fn counts(&self) -> impl Iterator<Item = Counts> {
        let mut counts = Counts { threshold: 0.0, correct: 0, detected: 0 };
        self.detections.chunk_by(|a, b| a.0 == b.0).map(move |tied| {
            counts.threshold = tied[0].0;
            counts.correct += tied.iter().filter(|detection| detection.1).count();
            counts.detected += tied.len();
            counts
        })
    }

    fn recall(&self, counts: Counts) -> f64 {
        counts.correct as f64 / self.objects.max(1) as f64
    }

    fn false_calls(&self, counts: Counts) -> f64 {
        (counts.detected - counts.correct) as f64 / self.boards.max(1) as f64
    }

    fn at(&self, threshold: f32) -> Counts {
        let start = Counts { threshold, correct: 0, detected: 0 };
        let counts = self.counts().take_while(|counts| counts.threshold >= threshold).last();
        Counts { threshold, ..counts.unwrap_or(start) }
    }

    fn escape_point(&self, counts: Counts) -> EscapePoint {
        EscapePoint {
            escapes: 1.0 - self.recall(counts),
            false_calls: self.false_calls(counts),
            alarms: self.a_clean_region(&self.clean, counts.threshold),
        }
    }

    /// At the highest threshold with at least this recall.
    fn reaching(&self, recall: f64) -> Option<Counts> {
        if self.objects == 0 {
            return None;
        }
        // Rounding of the share must not ask for one more than there are.
        let needed = (recall * self.objects as f64 - 1e-9).ceil() as usize;
        self.counts().find(|counts| counts.correct >= needed)
    }

    fn best_f(&self) -> Option<Counts> {
        if self.objects == 0 {
            return None;
        }
        let f_score = |counts: &Counts| 2.0 * counts.correct as f64 / (counts.detected + self.objects) as f64;
        self.counts().reduce(|best, counts| if f_score(&counts) > f_score(&best) { counts } else { best })
    }

    /// At the lowest threshold at which no more clean regions alarm than tolerated: just above the score of
    /// the first one that is too many.
    fn within_alarms(&self, alarms: f64) -> Option<Counts> {
        if self.clean_regions == 0 {
            return None;
        }
        let allowed = (alarms * self.clean_regions as f64 + 1e-9) as usize;
        Some(self.at(self.clean.get(allowed).map_or(0.0, |score| score.next_up())))
    }

    /// How many of the scores reach the threshold, a clean region.
    fn a_clean_region(&self, scores: &[f32], threshold: f32) -> Option<f64> {
        let reaching = scores.iter().filter(|score| **score >= threshold).count();
        (self.clean_regions > 0).then(|| reaching as f64 / self.clean_regions as f64)
    }
}

/// What one resample gives.
struct Resample {
    /// The thresholds of [`POINTS`].
    thresholds: [Option<f32>; POINTS],
    /// The recall at the thresholds that all boards have.
    recalls: [Option<f64>; POINTS],
    false_calls: [Option<f64>; RECALLS.len()],
}

/// Best F-score, escapes, alarms.
const POINTS: usize = 3;

fn thresholds(boards: &[Board], tolerances: Tolerances, seed: u64) -> Thresholds {
    let find = |pool: &Pool| -> [Option<Counts>; POINTS] {
        [pool.best_f(), pool.reaching(1.0 - tolerances.escapes), pool.within_alarms(tolerances.alarms)]
    };
    let false_calls = |pool: &Pool| RECALLS.map(|recall| Some(pool.false_calls(pool.reaching(recall)?)));
    let pool = Pool::new(boards.iter());
    let found = find(&pool);
    let resample = |index: u64| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(index);
        let pool = Pool::new((0..boards.len()).map(|_| &boards[rng.random_range(0..boards.len())]));
        let recall = |counts: Counts| (pool.objects > 0).then(|| pool.recall(pool.at(counts.threshold)));
        Resample {
            thresholds: find(&pool).map(|counts| Some(counts?.threshold)),
            recalls: found.map(|counts| recall(counts?)),
            false_calls: false_calls(&pool),
        }
    };
    let resamples: Vec<Resample> = (0..RESAMPLES as u64).into_par_iter().map(resample).collect();
    let calls: Vec<f32> = boards.iter().flat_map(|board| board.clean.iter().flatten().copied()).collect();
    let point = |index: usize| -> Option<OperatingPoint> {
        let counts = found[index]?;
        let thresholds = resamples.iter().filter_map(|resample| resample.thresholds[index]);
        let recalls = resamples.iter().filter_map(|resample| resample.recalls[index]);
        Some(OperatingPoint {
            threshold: counts.threshold,
            recall: pool.recall(counts),
            precision: counts.correct as f64 / counts.detected.max(1) as f64,
            false_calls: pool.false_calls(counts),
            alarms: pool.a_clean_region(&pool.clean, counts.threshold),
            clean_calls: pool.a_clean_region(&calls, counts.threshold),
            threshold_interval: interval(thresholds.map(f64::from).collect())?.map(|value| value as f32),
            recall_interval: interval(recalls.collect()).unwrap_or([0.0; 2]),
        })
    };
    let at_recall = |(index, (recall, per_board)): (usize, (f64, Option<f64>))| {
        let resampled = resamples.iter().filter_map(|resample| resample.false_calls[index]);
        FalseCalls { recall, per_board, interval: interval(resampled.collect()) }
    };
    let (reliability, calibration_error) = reliability(&pool.detections);
    Thresholds {
        best_f: point(0),
        escapes: point(1),
        alarms: point(2),
        false_calls: RECALLS.into_iter().zip(false_calls(&pool)).enumerate().map(at_recall).collect(),
        calibration_error,
        reliability,
    }
}

/// The values that hold [`CONFIDENCE`] of all between them.
fn interval(mut values: Vec<f64>) -> Option<[f64; 2]> {
    values.sort_by(f64::total_cmp);
    let rest = (1.0 - CONFIDENCE) / 2.0;
    let at = |part: f64| values.get(((values.len() as f64 - 1.0) * part).round() as usize).copied();
    Some([at(rest)?, at(1.0 - rest)?])
}

fn reliability(detections: &[(f32, bool)]) -> (Vec<ReliabilityBin>, Option<f64>) {
    let mut bins = [(0.0, 0_usize, 0_usize); BINS];
    for &(score, correct) in detections {
        let bin = &mut bins[((f64::from(score) * BINS as f64) as usize).min(BINS - 1)];
        *bin = (bin.0 + f64::from(score), bin.1 + usize::from(correct), bin.2 + 1);
    }
    let bins = bins.into_iter().filter(|bin| bin.2 > 0).map(|(scores, correct, count)| ReliabilityBin {
        score: scores / count as f64,
        correct: correct as f64 / count as f64,
        count,
    });
    let bins: Vec<ReliabilityBin> = bins.collect();
    let error = bins.iter().map(|bin| (bin.score - bin.correct).abs() * bin.count as f64).sum::<f64>();
    let error = (!detections.is_empty()).then(|| error / detections.len() as f64);
    (bins, error)
}

#[cfg(test)]
mod tests;
