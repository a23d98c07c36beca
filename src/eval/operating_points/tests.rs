use super::super::clean_regions::{clean_images, clean_windows};
use super::*;
use crate::structures::{Annotation, Detection};

/// With images as clean regions.
fn found(results: &[ImageResult], names: &[&str], tolerances: Tolerances, seed: u64) -> OperatingPoints {
    operating_points(results, &clean_images(results), names, tolerances, seed)
}

fn object(x: f32) -> [f32; 4] {
    [x, 0.0, x + 10.0, 10.0]
}

fn board(objects: &[(f32, usize)], found: &[(f32, usize, f32)]) -> ImageResult {
    ImageResult {
        annotations: objects.iter().map(|(x, label)| Annotation::new(object(*x), *label)).collect(),
        detections: found
            .iter()
            .map(|(x, label, score)| Detection { xyxy: object(*x), label: *label, score: *score })
            .collect(),
    }
}

/// Two boards with four defects, and four clean ones. By falling score:
///
/// | score | correct | recall | false calls of 6 images | F |
/// |-------|---------|--------|-------------------------|---|
/// | .9    | yes     | 1/4    | 0                       | 2/5 |
/// | .8    | yes     | 2/4    | 0                       | 4/6 |
/// | .7    | no      | 2/4    | 1                       | 4/7 |
/// | .65   | no, on a clean one | 2/4 | 2                | 4/8 |
/// | .6    | yes     | 3/4    | 2                       | 6/9, no more than at .8 |
/// | .4, .3, .2, .1 | no | 3/4 | 3 to 6                  | less |
///
/// The clean boards have their highest scores at .65, .4 and .2; one has none.
fn results() -> Vec<ImageResult> {
    vec![
        board(&[(0.0, 1), (40.0, 2)], &[(0.0, 1, 0.9), (80.0, 1, 0.7), (40.0, 2, 0.6)]),
        board(&[(0.0, 2), (40.0, 2)], &[(0.0, 2, 0.8), (80.0, 2, 0.3)]),
        board(&[], &[(0.0, 1, 0.1), (9.0, 2, 0.65)]),
        board(&[], &[(0.0, 1, 0.4)]),
        board(&[], &[(0.0, 1, 0.2)]),
        board(&[], &[]),
    ]
}

#[test]
fn the_curve_goes_through_the_rows_of_the_table() {
    let results = results();
    let curve = escape_curve(&results, &clean_images(&results));
    let point = |escapes, calls: f64, alarms| EscapePoint { escapes, false_calls: calls / 6.0, alarms };
    let first = [
        point(0.75, 0.0, Some(0.0)),
        point(0.5, 0.0, Some(0.0)),
        point(0.5, 1.0, Some(0.0)),
        point(0.5, 2.0, Some(0.25)),
        point(0.25, 2.0, Some(0.25)),
        point(0.25, 3.0, Some(0.5)),
    ];
    assert_eq!(curve[..6], first);
    assert_eq!((curve.len(), curve[8]), (9, point(0.25, 6.0, Some(0.75))));
    let dirty = &results[..2];
    assert!(escape_curve(dirty, &clean_images(dirty)).iter().all(|point| point.alarms.is_none()));
    assert!(escape_curve(&results[2..], &clean_images(&results[2..])).is_empty());
}

#[test]
fn thresholds_are_those_of_the_table() {
    let names = ["open", "short"];
    let points = found(&results(), &names, Tolerances { escapes: 0.5, alarms: 0.25 }, 0);
    assert_eq!(points.boards, [2, 4]);
    let best = points.overall.best_f.unwrap();
    assert_eq!((best.threshold, best.recall, best.precision), (0.8, 0.5, 1.0));
    assert_eq!((best.false_calls, best.alarms), (0.0, Some(0.0)));
    let escapes = points.overall.escapes.unwrap();
    assert_eq!((escapes.threshold, escapes.recall, escapes.false_calls), (0.8, 0.5, 0.0));
    // One clean board in four may alarm: that at .65, so the threshold is just above .4.
    let alarms = points.overall.alarms.unwrap();
    assert_eq!((alarms.threshold, alarms.alarms, alarms.recall), (0.4_f32.next_up(), Some(0.25), 0.75));
    assert_eq!((alarms.precision, alarms.false_calls), (3.0 / 5.0, 2.0 / 6.0));
    assert!(points.overall.false_calls.iter().all(|point| point.per_board.is_none()));

    let strict = found(&results(), &names, Tolerances { escapes: 0.0, alarms: 0.0 }, 0);
    assert_eq!(strict.overall.escapes, None);
    assert_eq!(strict.overall.alarms.unwrap().threshold, 0.65_f32.next_up());
    // The open at .9 and the false call at .7, clean boards at .4, .2 and .1.
    let open = &points.per_class[0].1;
    assert_eq!(open.best_f.unwrap().threshold, 0.9);
    assert_eq!(open.alarms.unwrap().threshold, 0.2_f32.next_up());
    for point in [best, escapes, alarms] {
        let [low, high] = point.threshold_interval;
        assert!(low <= point.threshold && point.threshold <= high, "{point:?}");
        let [low, high] = point.recall_interval;
        assert!(low <= point.recall && point.recall <= high, "{point:?}");
    }
}

#[test]
fn false_calls_over_recall_and_calibration() {
    let results = vec![
        board(&[(0.0, 1), (40.0, 1)], &[(0.0, 1, 0.95), (40.0, 1, 0.91), (80.0, 1, 0.93)]),
        board(&[(0.0, 1)], &[(0.0, 1, 0.15)]),
    ];
    let points = found(&results, &["open"], Tolerances::default(), 0);
    let calls = |index: usize| points.overall.false_calls[index].per_board;
    assert_eq!([calls(0), calls(3)], [Some(0.5); 2]);
    // In the highest bin 2 of 3 are correct at a mean of .93, in another 1 of 1 at .15.
    let error = (3.0 * (0.93 - 2.0 / 3.0_f64).abs() + 0.85) / 4.0;
    assert!((points.overall.calibration_error.unwrap() - error).abs() < 1e-6);
    assert_eq!(points.overall.reliability.len(), 2);
}

#[test]
fn nothing_is_known_of_nothing() {
    let points = found(&[], &["open"], Tolerances::default(), 0);
    assert_eq!((points.overall.best_f, points.overall.escapes, points.overall.alarms), (None, None, None));
    let clean = found(&results()[2..], &["open", "short"], Tolerances::default(), 0);
    assert_eq!((clean.overall.best_f, clean.boards), (None, [0, 4]));
    assert!(clean.overall.alarms.is_some());
}

/// Two boards of 200 x 100 pixels with two windows of 100 x 50 a row, each with defects in one of the upper
/// windows.
#[test]
fn clean_windows_alarm_where_something_is_found_in_them() {
    let at = |x: f32, y: f32, score| Detection { xyxy: [x, y, x + 10.0, y + 10.0], label: 1, score };
    let mut boards = [
        board(&[(0.0, 1)], &[(0.0, 1, 0.9), (80.0, 1, 0.85), (150.0, 1, 0.8)]),
        board(&[(120.0, 1)], &[(120.0, 1, 0.7)]),
    ];
    boards[0].detections.extend([at(20.0, 60.0, 0.5), at(60.0, 60.0, 0.6)]);
    let clean = clean_windows(&boards, &[(100, 200); 2], 2);
    let points = operating_points(&boards, &clean, &["open"], Tolerances { escapes: 0.0, alarms: 0.2 }, 0);
    assert_eq!(points.boards, [2, 6]);
    // Of six windows one may alarm, so not that whose highest score is .6.
    let alarms = points.overall.alarms.unwrap();
    assert_eq!((alarms.threshold, alarms.alarms), (0.6_f32.next_up(), Some(1.0 / 6.0)));
    let all = operating_points(&boards, &clean, &["open"], Tolerances { escapes: 0.0, alarms: 1.0 }, 0);
    let all = all.overall.alarms.unwrap();
    // One window has two detections, another one has one.
    assert_eq!((all.threshold, all.alarms, all.clean_calls), (0.0, Some(2.0 / 6.0), Some(3.0 / 6.0)));
    // False calls are those of boards, as without windows.
    let escapes = points.overall.escapes.unwrap();
    assert_eq!((escapes.threshold, escapes.false_calls, escapes.alarms), (0.7, 1.0, Some(1.0 / 6.0)));
    let by_board = found(&boards, &["open"], Tolerances::default(), 0);
    assert_eq!((by_board.boards, by_board.overall.alarms), ([2, 0], None));
}
