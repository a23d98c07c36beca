//! The metric of the DeepPCB benchmark, for any data set: mAP and F-score at IoU > 0.33.
//!
//! The README of DeepPCB (<https://github.com/tangsanli5201/DeepPCB>) says how its `evaluation/script.py`
//! works: it is the script of the ICDAR 2015 text-detection challenge, with an IoU above 0.33, and with the
//! class of the defect instead of the word. This file was written from that README and from the ICDAR script:
//!
//! - Coordinates are cut to integers. A box from `x1` to `x2` is `x2 - x1` wide.
//! - In each image, pairs are found *whatever the classes*: for each ground truth in the order of the file,
//!   the free detection with the highest score whose IoU is above 0.33. A pair is correct where the classes
//!   agree.
//! - For average precision, the detections of all images *and classes* form one list, highest score first. It
//!   is the sum of the precision at each correct detection, divided by the number of ground truths, without
//!   interpolation. The papers call this mAP. What others call mAP is [`DeepPcbMetrics::class_mean_ap`].
//! - A detection is left out if more than half of it lies in a region that is not judged. ICDAR calls such a
//!   region "don't care". Here it is a crowd or a difficult object. DeepPCB has neither.
//!
//! The script sorts with numpy's default `argsort`, which does not define the order of equal scores. Here
//! equal scores keep the order of the images and of their detections.

use serde::Serialize;

use super::image_result::ImageResult;
use super::per_class::{as_map, for_each_class, mean_of_known};
use super::ranking::highest_first;
use crate::structures::{Annotation, Detection, Xyxy};

const IOU: f64 = 0.33;
const IGNORED_SHARE: f64 = 0.5;

/// The numbers of DeepPCB's metric, in `0..=1`; `None` where there is no ground truth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeepPcbMetrics {
    /// Average precision of all detections in one list; DeepPCB's script calls it mAP.
    pub map: Option<f64>,
    /// Mean over the classes of [`DeepPcbClass::ap`], leaving out classes without ground truth.
    pub class_mean_ap: Option<f64>,
    /// The best F-score, `2 P R / (P + R)`, that any score threshold gives.
    pub f_score: Option<f64>,
    /// Share of the detections at or above [`threshold`](Self::threshold) that are correct.
    pub precision: Option<f64>,
    /// Share of the ground truths that detections at or above [`threshold`](Self::threshold) find.
    pub recall: Option<f64>,
    /// The score threshold of the best F-score, the highest of equals; `None` also where nothing was
    /// detected.
    pub threshold: Option<f32>,
    /// Name and numbers of every class, in the order of the labels.
    #[serde(serialize_with = "as_map")]
    pub per_class: Vec<(String, DeepPcbClass)>,
}

/// DeepPCB's metric restricted to one class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DeepPcbClass {
    /// Average precision with only the ground truths and detections of this class to be matched.
    pub ap: Option<f64>,
}

impl DeepPcbMetrics {
    pub(super) fn new(results: &[ImageResult], class_names: &[String]) -> Self {
        let judged = Judged::new(results, |_| true);
        let per_class = for_each_class(class_names, |label| DeepPcbClass {
            ap: Judged::new(results, |other| other == label).average_precision(),
        });
        let best = judged.best_operating_point();
        Self {
            map: judged.average_precision(),
            class_mean_ap: mean_of_known(per_class.iter().map(|(_, class)| class.ap)),
            f_score: best.map(|best| best.f_score),
            precision: best.map(|best| best.precision),
            recall: best.map(|best| best.recall),
            threshold: best.and_then(|best| best.threshold),
            per_class,
        }
    }
}

/// The number of ground truths, and every detection's score and whether it is correct, highest score first.
struct Judged {
    objects: usize,
    verdicts: Vec<(f32, bool)>,
}

#[derive(Clone, Copy)]
struct OperatingPoint {
    f_score: f64,
    precision: f64,
    recall: f64,
    threshold: Option<f32>,
}

impl Judged {
    /// Judges the annotations and detections whose label is to be kept.
    ///
    /// The script matches again for every score threshold. A lower threshold adds detections at the end of
    /// the list. All ground truths prefer detections in the order of that list, so one more detection at its
    /// end changes no pair: it gets the first ground truth that is still free. Therefore one pass gives the
    /// pairs of all thresholds.
    fn new(results: &[ImageResult], keep: impl Fn(usize) -> bool) -> Self {
        let (mut objects, mut verdicts) = (0, Vec::new());
        for result in results {
            let board = board_verdicts(result, &keep);
            objects += board.objects;
            verdicts.extend(board.detections);
        }
        verdicts.sort_by(|a, b| highest_first(a.0, b.0));
        Self { objects, verdicts }
    }

    fn average_precision(&self) -> Option<f64> {
        let (mut correct, mut sum) = (0.0, 0.0);
        for (index, _) in self.verdicts.iter().enumerate().filter(|(_, verdict)| verdict.1) {
            correct += 1.0;
            sum += correct / (index + 1) as f64;
        }
        (self.objects > 0).then(|| sum / self.objects as f64)
    }

    fn best_operating_point(&self) -> Option<OperatingPoint> {
        if self.objects == 0 {
            return None;
        }
        let mut best = OperatingPoint { f_score: 0.0, precision: 0.0, recall: 0.0, threshold: None };
        let (mut correct, mut detected) = (0.0, 0.0);
        // Detections of equal score pass a threshold together.
        for tied in self.verdicts.chunk_by(|a, b| a.0 == b.0) {
            correct += tied.iter().filter(|verdict| verdict.1).count() as f64;
            detected += tied.len() as f64;
            let (precision, recall) = (correct / detected, correct / self.objects as f64);
            let f_score = if correct > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 };
            if best.threshold.is_none() || f_score > best.f_score {
                best = OperatingPoint { f_score, precision, recall, threshold: Some(tied[0].0) };
            }
        }
        Some(best)
    }
}

/// The verdicts on one image.
pub(super) struct BoardVerdicts {
    /// Ground truths.
    pub objects: usize,
    /// Score of each detection and whether it is correct, highest score first.
    pub detections: Vec<(f32, bool)>,
}

/// Judges the annotations and detections of an image whose label is to be kept.
pub(super) fn board_verdicts(result: &ImageResult, keep: impl Fn(usize) -> bool) -> BoardVerdicts {
    let (ignored, truths): (Vec<&Annotation>, Vec<&Annotation>) =
        result.annotations.iter().filter(|a| keep(a.label)).partition(|a| a.is_ignored());
    let mut detections: Vec<&Detection> = result.detections.iter().filter(|d| keep(d.label)).collect();
    detections.sort_by(|a, b| highest_first(a.score, b.score));

    let mut free: Vec<(Rect, usize)> = truths.iter().map(|a| (Rect::cut(&a.xyxy), a.label)).collect();
    let ignored: Vec<Rect> = ignored.iter().map(|a| Rect::cut(&a.xyxy)).collect();
    let judge = |detection: &Detection| {
        let rect = Rect::cut(&detection.xyxy);
        if ignored.iter().any(|region| rect.overlap(region) > IGNORED_SHARE * rect.area()) {
            return None;
        }
        let partner = free.iter().position(|(truth, _)| rect.iou(truth) > IOU).map(|i| free.remove(i));
        Some((detection.score, partner.is_some_and(|(_, label)| label == detection.label)))
    };
    BoardVerdicts { objects: truths.len(), detections: detections.into_iter().filter_map(judge).collect() }
}

/// A box of whole pixels.
#[derive(Clone, Copy)]
struct Rect([i64; 4]);

impl Rect {
    /// Cuts the fractions off, toward zero as Python's `int` does.
    fn cut(xyxy: &Xyxy) -> Self {
        Self(xyxy.map(|v| v as i64))
    }

    fn area(&self) -> f64 {
        self.overlap(self)
    }

    fn overlap(&self, other: &Self) -> f64 {
        let (Self(a), Self(b)) = (self, other);
        let width = a[2].min(b[2]) - a[0].max(b[0]);
        let height = a[3].min(b[3]) - a[1].max(b[1]);
        width.max(0) as f64 * height.max(0) as f64
    }

    fn iou(&self, other: &Self) -> f64 {
        let union = self.area() + other.area() - self.overlap(other);
        if union > 0.0 { self.overlap(other) / union } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 2] = ["open", "short"];

    fn metrics(results: &[ImageResult]) -> DeepPcbMetrics {
        DeepPcbMetrics::new(results, &NAMES.map(String::from))
    }

    fn found(x: f32, label: usize, score: f32) -> Detection {
        Detection { xyxy: [x, 0.0, x + 10.0, 10.0], label, score }
    }

    fn known(x: f32, label: usize) -> Annotation {
        Annotation::new([x, 0.0, x + 10.0, 10.0], label)
    }

    /// Ground truth: open at 0 and 40, short at 80. Found by falling score:
    ///
    /// | score | what              | correct | precision | recall | F   |
    /// |-------|-------------------|---------|-----------|--------|-----|
    /// | .9    | open at 0         | yes     | 1/1       | 1/3    | 1/2 |
    /// | .8    | open at 80: short | no      | 1/2       | 1/3    | 2/5 |
    /// | .7    | open at 40        | yes     | 2/3       | 2/3    | 2/3 |
    /// | .6    | short at 80       | no: the one at .8 has taken it | 2/4 | 2/3 | 4/7 |
    ///
    /// So mAP = (1/1 + 2/3) / 3 = 5/9. By class: open has 2 truths and yes, no, yes: (1 + 2/3) / 2 = 5/6;
    /// short has its one truth found: 1. Their mean is 11/12.
    #[test]
    fn classes_are_compared_after_matching_but_not_in_the_class_mean() {
        let result = ImageResult {
            annotations: vec![known(0.0, 1), known(40.0, 1), known(80.0, 2)],
            detections: vec![
                found(80.0, 2, 0.6),
                found(0.0, 1, 0.9),
                found(40.0, 1, 0.7),
                found(80.0, 1, 0.8),
            ],
        };
        let m = metrics(&[result]);
        let close = |value: Option<f64>, expected: f64| (value.unwrap() - expected).abs() < 1e-12;
        assert!(close(m.map, 5.0 / 9.0) && close(m.class_mean_ap, 11.0 / 12.0));
        assert!(close(m.f_score, 2.0 / 3.0) && close(m.precision, 2.0 / 3.0) && close(m.recall, 2.0 / 3.0));
        assert_eq!(m.threshold, Some(0.7));
        assert!(close(m.per_class[0].1.ap, 5.0 / 6.0) && close(m.per_class[1].1.ap, 1.0));
    }

    /// 10 x 10 at 0 against 10 wide from x on, uncut IoU (10 - x) / (10 + x): x = 5 gives 5/15 = .333 > .33.
    /// x = 5.9 is cut to the same box, 15.9 to 15; x = 6 gives 4/16.
    /// 10 x 10 holding 3 x 11 on its left edge, the last row outside: 30 / (100 + 33 - 30) = .29; and a
    /// 100 x 100 box of which 100 x 33 is found: exactly .33, which is not more than .33.
    #[test]
    fn coordinates_are_cut_and_the_threshold_itself_does_not_match() {
        let matches = |truth: [f32; 4], xyxy: [f32; 4]| {
            let annotations = vec![Annotation::new(truth, 1)];
            let detections = vec![Detection { xyxy, label: 1, score: 0.5 }];
            metrics(&[ImageResult { annotations, detections }]).map == Some(1.0)
        };
        let truth = [0.0, 0.0, 10.0, 10.0];
        assert!(matches(truth, [5.0, 0.0, 15.0, 10.0]) && matches(truth, [5.9, 0.0, 15.9, 10.0]));
        assert!(!matches(truth, [6.0, 0.0, 16.0, 10.0]));
        assert!(!matches([0.0, 0.0, 100.0, 100.0], [0.0, 0.0, 100.0, 33.0]));
        assert!(matches([0.0, 0.0, 100.0, 100.0], [0.0, 0.0, 100.0, 34.0]));
    }

    /// One object, and two detections of the same score, the second one right. Both pass every threshold
    /// together: precision 1/2, recall 1, F = 2/3. In the list the wrong one goes first: AP = (1/2) / 1.
    #[test]
    fn ties_pass_a_threshold_together() {
        let (annotations, detections) = (vec![known(0.0, 1)], vec![found(50.0, 1, 0.5), found(0.0, 1, 0.5)]);
        let m = metrics(&[ImageResult { annotations, detections }]);
        assert_eq!((m.map, m.precision, m.recall, m.threshold), (Some(0.5), Some(0.5), Some(1.0), Some(0.5)));
        assert!((m.f_score.unwrap() - 2.0 / 3.0).abs() < 1e-12);
    }

    /// A crowd from 0 to 100 swallows the detection inside it; the object at 200 is found: all numbers 1.
    #[test]
    fn a_crowd_is_neither_hit_nor_miss() {
        let crowd = Annotation { crowd: true, ..Annotation::new([0.0, 0.0, 100.0, 100.0], 1) };
        let result = ImageResult {
            annotations: vec![crowd, known(200.0, 1)],
            detections: vec![found(20.0, 2, 0.9), found(200.0, 1, 0.8)],
        };
        let m = metrics(&[result]);
        assert_eq!((m.map, m.f_score, m.threshold), (Some(1.0), Some(1.0), Some(0.8)));
    }

    #[test]
    fn without_truths_nothing_is_known_and_without_detections_nothing_is_found() {
        let detections = vec![found(0.0, 1, 0.5)];
        let m = metrics(&[ImageResult { annotations: vec![], detections }]);
        assert_eq!((m.map, m.class_mean_ap, m.f_score, m.threshold), (None, None, None, None));
        let m = metrics(&[ImageResult { annotations: vec![known(0.0, 1)], detections: vec![] }]);
        assert_eq!((m.map, m.class_mean_ap, m.f_score, m.threshold), (Some(0.0), Some(0.0), Some(0.0), None));
    }
}
