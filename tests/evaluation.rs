//! COCO's metric against pycocotools, and DeepPCB's against a second version of it, on the data sets of
//! `tests/reference/evaluation.py`.

use faster_rcnn::eval::{CocoStats, Evaluation, ImageResult, evaluate, precision_recall};
use faster_rcnn::structures::{Annotation, Detection};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    sets: Vec<DataSet>,
}

#[derive(Deserialize)]
struct DataSet {
    name: String,
    classes: usize,
    images: Vec<Image>,
    coco: Coco,
    deep_pcb: DeepPcb,
}

#[derive(Deserialize)]
struct Image {
    annotations: Vec<Object>,
    /// x1, y1, x2, y2, label, score
    detections: Vec<(f32, f32, f32, f32, usize, f32)>,
}

/// x1, y1, x2, y2, label, crowd and, where the object has one of its own, area.
#[derive(Deserialize)]
#[serde(untagged)]
enum Object {
    WithArea(f32, f32, f32, f32, usize, u8, f32),
    Plain(f32, f32, f32, f32, usize, u8),
}

impl Object {
    fn annotation(&self) -> Annotation {
        let (xyxy, label, crowd, area) = match *self {
            Self::WithArea(x1, y1, x2, y2, label, crowd, area) => {
                ([x1, y1, x2, y2], label, crowd, Some(area))
            }
            Self::Plain(x1, y1, x2, y2, label, crowd) => ([x1, y1, x2, y2], label, crowd, None),
        };
        Annotation { crowd: crowd != 0, area, ..Annotation::new(xyxy, label) }
    }
}

/// In the order of `COCOeval.stats`.
type Twelve = [Option<f64>; 12];

#[derive(Deserialize)]
struct Coco {
    overall: Twelve,
    per_class: Vec<Twelve>,
}

#[derive(Deserialize)]
struct DeepPcb {
    map: Option<f64>,
    class_mean_ap: Option<f64>,
    f_score: Option<f64>,
    precision: Option<f64>,
    recall: Option<f64>,
    threshold: Option<f32>,
    per_class: Vec<Option<f64>>,
}

impl DataSet {
    fn results(&self) -> Vec<ImageResult> {
        let result = |image: &Image| ImageResult {
            annotations: image.annotations.iter().map(Object::annotation).collect(),
            detections: image
                .detections
                .iter()
                .map(|&(x1, y1, x2, y2, label, score)| Detection { xyxy: [x1, y1, x2, y2], label, score })
                .collect(),
        };
        self.images.iter().map(result).collect()
    }

    fn names(&self) -> Vec<String> {
        (1..=self.classes).map(|label| format!("class {label}")).collect()
    }

    fn evaluation(&self) -> Evaluation {
        evaluate(&self.results(), &self.names())
    }
}

fn data_sets() -> Vec<DataSet> {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/evaluation.json")).unwrap();
    assert_eq!(fixture.sets.len(), 21);
    fixture.sets
}

fn twelve(s: &CocoStats) -> Twelve {
    [
        s.ap,
        s.ap50,
        s.ap75,
        s.ap_small,
        s.ap_medium,
        s.ap_large,
        s.ar1,
        s.ar10,
        s.ar100,
        s.ar_small,
        s.ar_medium,
        s.ar_large,
    ]
}

/// Largest difference so far, and a check that both sides know or do not know each number.
#[derive(Default)]
struct Difference(f64);

impl Difference {
    fn add(&mut self, what: &str, ours: Option<f64>, theirs: Option<f64>) {
        assert_eq!(ours.is_some(), theirs.is_some(), "{what}: {ours:?} against {theirs:?}");
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            assert!(ours.is_finite(), "{what}: {ours}");
            self.0 = self.0.max((ours - theirs).abs());
        }
    }
}

/// Both sides count in f64. They differ only in the order in which they add up to 10 x 101 x C precisions, so
/// by a few units in the last place. A detection matched otherwise would change a number by far more than
/// 1e-12.
#[test]
fn coco_metrics_are_those_of_pycocotools() {
    let mut difference = Difference::default();
    for set in data_sets() {
        let coco = set.evaluation().coco;
        for (i, (ours, theirs)) in twelve(&coco.overall).into_iter().zip(set.coco.overall).enumerate() {
            difference.add(&format!("{}: number {i}", set.name), ours, theirs);
        }
        assert_eq!(coco.per_class.len(), set.coco.per_class.len());
        for ((class, ours), theirs) in coco.per_class.iter().zip(&set.coco.per_class) {
            for (i, (&ours, &theirs)) in twelve(ours).iter().zip(theirs).enumerate() {
                difference.add(&format!("{}: number {i} of {class}", set.name), ours, theirs);
            }
        }
    }
    println!("largest difference from pycocotools: {:e}", difference.0);
    assert!(difference.0 < 1e-12, "{:e}", difference.0);
}

/// The other side is a second version by the same authors, from the same description, that matches again at
/// every threshold. So this test finds mistakes of the faster matching here, and none in reading the
/// description.
#[test]
fn one_pass_of_deep_pcbs_matching_gives_the_pairs_of_all_thresholds() {
    let mut difference = Difference::default();
    for set in data_sets() {
        let (ours, theirs) = (set.evaluation().deep_pcb, &set.deep_pcb);
        for (what, ours, theirs) in [
            ("mAP", ours.map, theirs.map),
            ("class mean AP", ours.class_mean_ap, theirs.class_mean_ap),
            ("F-score", ours.f_score, theirs.f_score),
            ("precision", ours.precision, theirs.precision),
            ("recall", ours.recall, theirs.recall),
        ] {
            difference.add(&format!("{}: {what}", set.name), ours, theirs);
        }
        assert_eq!(ours.threshold, theirs.threshold, "{}: threshold", set.name);
        assert_eq!(ours.per_class.len(), theirs.per_class.len());
        for ((class, ours), theirs) in ours.per_class.iter().zip(&theirs.per_class) {
            difference.add(&format!("{}: AP of {class}", set.name), ours.ap, *theirs);
        }
    }
    println!("largest difference from the second version: {:e}", difference.0);
    assert!(difference.0 < 1e-12, "{:e}", difference.0);
}

/// Otherwise the data set with areas would not show that they are used.
#[test]
fn areas_of_their_own_change_the_sizes_of_objects() {
    let sets = data_sets();
    let set = sets.iter().find(|set| set.name == "own areas").unwrap();
    let mut results = set.results();
    for annotation in results.iter_mut().flat_map(|result| &mut result.annotations) {
        annotation.area = None;
    }
    let (by_area, by_box) = (set.evaluation().coco.overall, evaluate(&results, &set.names()).coco.overall);
    assert_eq!(by_area.ap, by_box.ap);
    for (by_area, by_box) in twelve(&by_area)[3..6].iter().zip(&twelve(&by_box)[3..6]) {
        assert!((by_area.unwrap() - by_box.unwrap()).abs() > 0.01, "{by_area:?} {by_box:?}");
    }
}

#[test]
fn the_mean_of_a_precision_recall_curve_is_ap50() {
    let mut difference = Difference::default();
    for set in data_sets() {
        let curves = precision_recall(&set.results(), &set.names());
        let mean = |points: &[(f64, f64)]| points.iter().map(|(_, precision)| precision).sum::<f64>() / 101.0;
        let overall = (!curves.overall.is_empty()).then(|| mean(&curves.overall));
        difference.add(&set.name, overall, set.coco.overall[1]);
        for (name, class) in set.names().iter().zip(&set.coco.per_class) {
            let curve =
                curves.per_class.iter().find(|(other, _)| other == name).map(|(_, points)| mean(points));
            difference.add(&format!("{}: {name}", set.name), curve, class[1]);
        }
    }
    assert!(difference.0 < 1e-12, "{:e}", difference.0);
}
