//! The twelve numbers that COCO's evaluation prints, over all classes and for each.

use serde::Serialize;

use super::curve::{Class, Curve, THRESHOLDS, iou_threshold, mean};
use super::matching::AREAS;
use crate::eval::image_result::ImageResult;
use crate::eval::per_class::{as_map, for_each_class, mean_of_known};

/// The twelve numbers of `COCOeval.summarize`, in `0..=1`; `None` if there is no ground truth for them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CocoStats {
    /// Average precision, mean over the IoU thresholds .50:.05:.95.
    pub ap: Option<f64>,
    /// Average precision at IoU .50.
    pub ap50: Option<f64>,
    /// Average precision at IoU .75.
    pub ap75: Option<f64>,
    /// `ap` of objects with an area of at most 32^2 square pixels. An object's area is the annotation's own,
    /// or that of its box where it has none.
    pub ap_small: Option<f64>,
    /// `ap` of objects with an area from 32^2 to 96^2 square pixels.
    pub ap_medium: Option<f64>,
    /// `ap` of objects with an area of at least 96^2 square pixels.
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
    pub(in crate::eval) fn columns(&self) -> [(&'static str, Option<f64>); 9] {
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
    pub(in crate::eval) fn new(results: &[ImageResult], class_names: &[String]) -> Self {
        let per_class = for_each_class(class_names, |label| CocoStats::of(&Class::new(results, label)));
        Self { overall: CocoStats::mean(&per_class), per_class }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::coco::precision_recall::precision_recall;
    use crate::structures::{Annotation, Detection};

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
        let metrics = CocoMetrics::new(std::slice::from_ref(&result), &names);
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

    /// A box of 40 x 40 pixels is of medium size. An object that fills half of it, 800 square pixels, is
    /// small.
    #[test]
    fn the_size_of_an_object_is_its_own_area_where_that_is_known() {
        let xyxy = [0.0, 0.0, 40.0, 40.0];
        let stats = |area: Option<f32>| {
            let annotations = vec![Annotation { area, ..Annotation::new(xyxy, 1) }];
            let detections = vec![Detection { xyxy, label: 1, score: 0.5 }];
            CocoMetrics::new(&[ImageResult { annotations, detections }], &["a".to_string()]).overall
        };
        let (by_box, by_area) = (stats(None), stats(Some(800.0)));
        assert_eq!((by_box.ap_small, by_box.ap_medium), (None, Some(1.0)));
        assert_eq!((by_area.ap_small, by_area.ap_medium), (Some(1.0), None));
        assert_eq!(by_box.ap, by_area.ap);
    }
}
