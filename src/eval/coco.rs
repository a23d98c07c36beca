//! COCO's average precision and recall for boxes, number for number those of pycocotools 2.0's `COCOeval`.
//!
//! One class at a time: the detections of an image are matched with its ground truth, the outcomes of all
//! images are sorted by falling score, and precision is read at 101 recalls. Everything is f64, as there.

use std::ops::RangeInclusive;

use serde::Serialize;

use super::{ImageResult, as_map, check_labels, falling, for_each_class, mean_of_known};
use crate::structures::Xyxy;

/// IoU thresholds .50:.05:.95.
const THRESHOLDS: usize = 10;
/// Recalls 0, .01, .., 1 at which precision is read.
const RECALLS: usize = 101;
/// How many detections of one image and class count, best first.
const MAX_DETECTIONS: [usize; 3] = [1, 10, 100];
/// Areas in square pixels: all, small, medium, large. A border belongs to both sides.
const AREAS: [RangeInclusive<f64>; 4] =
    [0.0..=1e10, 0.0..=32.0 * 32.0, 32.0 * 32.0..=96.0 * 96.0, 96.0 * 96.0..=1e10];

/// The twelve numbers of `COCOeval.summarize`, in `0..=1`; `None` where there is no ground truth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CocoStats {
    /// Average precision, mean over the IoU thresholds .50:.05:.95.
    pub ap: Option<f64>,
    /// Average precision at IoU .50.
    pub ap50: Option<f64>,
    /// Average precision at IoU .75.
    pub ap75: Option<f64>,
    /// `ap` of objects of at most 32^2 square pixels.
    pub ap_small: Option<f64>,
    /// `ap` of objects from 32^2 to 96^2 square pixels.
    pub ap_medium: Option<f64>,
    /// `ap` of objects of at least 96^2 square pixels.
    pub ap_large: Option<f64>,
    /// Recall with one detection per image and class, mean over the IoU thresholds.
    pub ar1: Option<f64>,
    /// Recall with ten detections per image and class.
    pub ar10: Option<f64>,
    /// Recall with a hundred detections per image and class.
    pub ar100: Option<f64>,
    /// `ar100` of small objects. Not part of the JSON.
    #[serde(skip)]
    pub ar_small: Option<f64>,
    /// `ar100` of medium objects. Not part of the JSON.
    #[serde(skip)]
    pub ar_medium: Option<f64>,
    /// `ar100` of large objects. Not part of the JSON.
    #[serde(skip)]
    pub ar_large: Option<f64>,
}

impl CocoStats {
    fn of(class: &Class) -> Self {
        let [all, small, medium, large] = AREAS.map(|area| {
            (0..THRESHOLDS).map(|t| class.curve(&area, iou_threshold(t))).collect::<Option<Vec<Curve>>>()
        });
        let ap =
            |curves: &Option<Vec<Curve>>| Some(mean(curves.as_ref()?.iter().map(Curve::average_precision)));
        let ar = |curves: &Option<Vec<Curve>>, max: usize| {
            Some(mean(curves.as_ref()?.iter().map(|c| c.recall[max])))
        };
        Self {
            ap: ap(&all),
            ap50: all.as_ref().map(|curves| curves[0].average_precision()),
            ap75: all.as_ref().map(|curves| curves[5].average_precision()),
            ap_small: ap(&small),
            ap_medium: ap(&medium),
            ap_large: ap(&large),
            ar1: ar(&all, 0),
            ar10: ar(&all, 1),
            ar100: ar(&all, 2),
            ar_small: ar(&small, 2),
            ar_medium: ar(&medium, 2),
            ar_large: ar(&large, 2),
        }
    }

    /// Mean over the classes that have ground truth, number by number.
    fn mean(classes: &[(String, Self)]) -> Self {
        let of =
            |number: fn(&Self) -> Option<f64>| mean_of_known(classes.iter().map(|(_, stats)| number(stats)));
        Self {
            ap: of(|s| s.ap),
            ap50: of(|s| s.ap50),
            ap75: of(|s| s.ap75),
            ap_small: of(|s| s.ap_small),
            ap_medium: of(|s| s.ap_medium),
            ap_large: of(|s| s.ap_large),
            ar1: of(|s| s.ar1),
            ar10: of(|s| s.ar10),
            ar100: of(|s| s.ar100),
            ar_small: of(|s| s.ar_small),
            ar_medium: of(|s| s.ar_medium),
            ar_large: of(|s| s.ar_large),
        }
    }

    /// The columns of the printed table.
    pub(super) fn columns(&self) -> [(&'static str, Option<f64>); 9] {
        [
            ("AP", self.ap),
            ("AP50", self.ap50),
            ("AP75", self.ap75),
            ("small", self.ap_small),
            ("medium", self.ap_medium),
            ("large", self.ap_large),
            ("AR1", self.ar1),
            ("AR10", self.ar10),
            ("AR100", self.ar100),
        ]
    }
}

/// COCO's numbers over all classes and for each.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CocoMetrics {
    /// Mean over the classes that have ground truth.
    #[serde(flatten)]
    pub overall: CocoStats,
    /// Name and numbers of every class, in the order of the labels.
    #[serde(serialize_with = "as_map")]
    pub per_class: Vec<(String, CocoStats)>,
}

impl CocoMetrics {
    pub(super) fn of(results: &[ImageResult], class_names: &[String]) -> Self {
        let per_class = for_each_class(class_names, |label| CocoStats::of(&Class::new(results, label)));
        Self { overall: CocoStats::mean(&per_class), per_class }
    }
}

/// Precision over recall at IoU .50, `(recall, precision)` at recalls 0, .01, .., 1.
///
/// The precision at a recall is the best one at that or any higher recall, zero at recalls never reached, so
/// the mean over a curve is its class's AP50.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PrecisionRecall {
    /// Mean of the classes' curves; empty where there is no ground truth at all.
    pub overall: Vec<(f64, f64)>,
    /// Name and curve of every class that has ground truth, in the order of the labels.
    #[serde(serialize_with = "as_map")]
    pub per_class: Vec<(String, Vec<(f64, f64)>)>,
}

/// The precision-recall curves behind AP50.
///
/// # Panics
///
/// If a label of an annotation or a detection lies outside `1..=class_names.len()`.
pub fn precision_recall(results: &[ImageResult], class_names: &[String]) -> PrecisionRecall {
    check_labels(results, class_names.len());
    let curves =
        for_each_class(class_names, |label| Class::new(results, label).curve(&AREAS[0], iou_threshold(0)));
    let known: Vec<(String, Curve)> =
        curves.into_iter().filter_map(|(name, curve)| Some((name, curve?))).collect();
    let points =
        |precision: &dyn Fn(usize) -> f64| (0..RECALLS).map(|i| (recall_level(i), precision(i))).collect();
    PrecisionRecall {
        overall: match known.is_empty() {
            true => Vec::new(),
            false => points(&|i| mean(known.iter().map(|(_, curve)| curve.precision[i]))),
        },
        per_class: known
            .iter()
            .map(|(name, curve)| (name.clone(), points(&|i| curve.precision[i])))
            .collect(),
    }
}

/// Bit for bit `numpy.linspace(.5, .95, 10)[i]`: an IoU on the threshold is a match, so the last bit counts.
fn iou_threshold(i: usize) -> f64 {
    0.5 + (0.95 - 0.5) / 9.0 * i as f64
}

/// Bit for bit `numpy.linspace(0, 1, 101)[i]`.
fn recall_level(i: usize) -> f64 {
    0.01 * i as f64
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

/// What a detection turns out to be, given an IoU threshold and a range of areas.
#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Hit,
    Miss,
    /// Belongs to a crowd or to an object of another size: neither hit nor miss.
    Ignored,
}

/// All images, seen by one class.
struct Class {
    images: Vec<ClassImage>,
    /// `(image, detection)` of all images by falling score; ties in the order of the images.
    ranking: Vec<(usize, usize)>,
}

/// Precision at every recall level, and the final recall for each of [`MAX_DETECTIONS`].
struct Curve {
    precision: [f64; RECALLS],
    recall: [f64; MAX_DETECTIONS.len()],
}

impl Curve {
    fn average_precision(&self) -> f64 {
        mean(self.precision.iter().copied())
    }
}

impl Class {
    fn new(results: &[ImageResult], label: usize) -> Self {
        let images: Vec<ClassImage> = results.iter().map(|result| ClassImage::new(result, label)).collect();
        let mut ranking: Vec<(usize, usize)> = images
            .iter()
            .enumerate()
            .flat_map(|(i, image)| (0..image.found.len()).map(move |d| (i, d)))
            .collect();
        ranking.sort_by(|a, b| falling(images[a.0].found[a.1].score, images[b.0].found[b.1].score));
        Self { images, ranking }
    }

    /// `None` where no object of this class lies in the range of areas.
    fn curve(&self, areas: &RangeInclusive<f64>, iou_threshold: f64) -> Option<Curve> {
        let truths = self.images.iter().flat_map(|image| &image.truths);
        let objects = truths.filter(|truth| !truth.ignored(areas)).count() as f64;
        if objects == 0.0 {
            return None;
        }
        let outcomes: Vec<Vec<Outcome>> =
            self.images.iter().map(|image| image.outcomes(areas, iou_threshold)).collect();

        let (mut hits, mut misses) = (0.0, 0.0);
        let mut hits_within = [0.0; MAX_DETECTIONS.len()];
        let mut recalls = Vec::with_capacity(self.ranking.len());
        let mut precisions = Vec::with_capacity(self.ranking.len());
        for &(image, detection) in &self.ranking {
            match outcomes[image][detection] {
                Outcome::Ignored => continue,
                Outcome::Miss => misses += 1.0,
                Outcome::Hit => {
                    hits += 1.0;
                    for (count, max) in hits_within.iter_mut().zip(MAX_DETECTIONS) {
                        *count += if detection < max { 1.0 } else { 0.0 };
                    }
                }
            }
            recalls.push(hits / objects);
            // COCOeval adds 2e-16 below against 0/0, which cannot happen here; left out, a perfect AP is 1.
            precisions.push(hits / (hits + misses));
        }
        // From here on a precision is the best one at that recall or beyond.
        for i in (1..precisions.len()).rev() {
            precisions[i - 1] = f64::max(precisions[i - 1], precisions[i]);
        }
        let precision = std::array::from_fn(|i| {
            let first = recalls.partition_point(|&recall| recall < recall_level(i));
            precisions.get(first).copied().unwrap_or(0.0)
        });
        Some(Curve { precision, recall: hits_within.map(|hits| hits / objects) })
    }
}

/// One image, seen by one class.
struct ClassImage {
    truths: Vec<Truth>,
    /// By falling score, the best hundred.
    found: Vec<Found>,
    /// Row by row, detections by ground truths: `[D, G]`.
    ious: Vec<f64>,
}

struct Truth {
    area: f64,
    crowd: bool,
}

impl Truth {
    fn ignored(&self, areas: &RangeInclusive<f64>) -> bool {
        self.crowd || !areas.contains(&self.area)
    }
}

struct Found {
    score: f32,
    area: f64,
}

impl ClassImage {
    fn new(result: &ImageResult, label: usize) -> Self {
        let annotations: Vec<_> = result.annotations.iter().filter(|a| a.label == label).collect();
        let mut detections: Vec<_> = result.detections.iter().filter(|d| d.label == label).collect();
        detections.sort_by(|a, b| falling(a.score, b.score));
        detections.truncate(MAX_DETECTIONS[2]);
        let pairs = detections.iter().flat_map(|d| annotations.iter().map(move |a| (d, a)));
        Self {
            ious: pairs.map(|(d, a)| iou(&d.xyxy, &a.xyxy, a.crowd)).collect(),
            truths: annotations.iter().map(|a| Truth { area: area(&a.xyxy), crowd: a.crowd }).collect(),
            found: detections.iter().map(|d| Found { score: d.score, area: area(&d.xyxy) }).collect(),
        }
    }

    /// What becomes of each detection, best first: it takes the free object of the highest IoU (the last of
    /// equals), and one that is to be ignored only where no other is left. A crowd is never used up.
    fn outcomes(&self, areas: &RangeInclusive<f64>, iou_threshold: f64) -> Vec<Outcome> {
        let ignored: Vec<bool> = self.truths.iter().map(|truth| truth.ignored(areas)).collect();
        let mut taken = vec![false; self.truths.len()];
        let mut best_of = |detection: usize, among_ignored: bool| {
            let ious = &self.ious[detection * self.truths.len()..][..self.truths.len()];
            let mut best = None;
            let mut best_iou = iou_threshold;
            for (truth, &iou) in ious.iter().enumerate() {
                let free = !taken[truth] || self.truths[truth].crowd;
                if ignored[truth] == among_ignored && free && iou >= best_iou {
                    (best, best_iou) = (Some(truth), iou);
                }
            }
            best.inspect(|&truth| taken[truth] = true)
        };
        let outcome = |(detection, found): (usize, &Found)| {
            if best_of(detection, false).is_some() {
                Outcome::Hit
            } else if best_of(detection, true).is_some() || !areas.contains(&found.area) {
                Outcome::Ignored
            } else {
                Outcome::Miss
            }
        };
        self.found.iter().enumerate().map(outcome).collect()
    }
}

fn area(xyxy: &Xyxy) -> f64 {
    let [x1, y1, x2, y2] = xyxy.map(f64::from);
    (x2 - x1) * (y2 - y1)
}

/// Intersection over union; over the detection's own area where the ground truth is a crowd.
fn iou(detection: &Xyxy, truth: &Xyxy, crowd: bool) -> f64 {
    let (d, t) = (detection.map(f64::from), truth.map(f64::from));
    let width = d[2].min(t[2]) - d[0].max(t[0]);
    let height = d[3].min(t[3]) - d[1].max(t[1]);
    if width <= 0.0 || height <= 0.0 {
        return 0.0;
    }
    let intersection = width * height;
    let union = if crowd { area(detection) } else { area(detection) + area(truth) - intersection };
    intersection / union
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structures::{Annotation, Detection};

    #[test]
    fn thresholds_are_numpys_to_the_last_bit() {
        // numpy.linspace(.5, .95, 10); the last but one is not the double nearest to 0.9.
        let expected = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.8999999999999999, 0.95];
        assert_eq!(std::array::from_fn(iou_threshold), expected);
        assert_eq!(recall_level(35), 0.35000000000000003);
        assert_eq!(recall_level(100), 1.0);
    }

    /// Two objects, found at scores .9 (hit) and .7 (hit) with a false alarm at .8 between them.
    /// Precision 1 up to recall 1/2 (levels 0 to .50: 51 of them), then 2/3 up to recall 1 (50 levels).
    #[test]
    fn a_curve_by_hand() {
        let boxes = [[0.0, 0.0, 10.0, 10.0], [50.0, 0.0, 60.0, 10.0], [100.0, 0.0, 110.0, 10.0]];
        let result = ImageResult {
            annotations: vec![Annotation::new(boxes[0], 1), Annotation::new(boxes[1], 1)],
            detections: vec![
                Detection { xyxy: boxes[0], label: 1, score: 0.9 },
                Detection { xyxy: boxes[2], label: 1, score: 0.8 },
                Detection { xyxy: boxes[1], label: 1, score: 0.7 },
            ],
        };
        let names = ["a".to_string(), "b".to_string()];
        let metrics = CocoMetrics::of(std::slice::from_ref(&result), &names);
        let ap = (51.0 + 50.0 * 2.0 / 3.0) / 101.0;
        assert!((metrics.overall.ap50.unwrap() - ap).abs() < 1e-12);
        assert_eq!(metrics.overall.ar1, Some(0.5));
        assert_eq!(metrics.per_class[1].1.ap, None);

        let curves = precision_recall(&[result], &names);
        assert_eq!(curves.per_class.len(), 1, "class b has no ground truth");
        assert_eq!(curves.overall, curves.per_class[0].1);
        assert_eq!(curves.overall[50].0, 0.5);
        assert!(
            (curves.overall[50].1 - 1.0).abs() < 1e-12 && (curves.overall[51].1 - 2.0 / 3.0).abs() < 1e-12
        );
    }
}
