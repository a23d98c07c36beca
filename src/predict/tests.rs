use super::*;
use crate::structures::Corners;

fn predictor() -> Predictor {
    let config = FasterRcnnConfig::tiny(3).with_class_names(&["open", "short"]).with_image_size(64, 96);
    Predictor::new(config.init(&Device::flex()))
}

/// An image with something to see at every scale.
fn board(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([(x * 7) as u8, (y * 5) as u8, ((x / 9 + y / 11) % 2 * 255) as u8])
    })
}

#[test]
fn boxes_lie_in_the_image_whatever_its_shape_and_one_without_pixels_is_an_error() {
    let predictor = predictor();
    for (width, height) in [(50, 40), (1, 1), (300, 2)] {
        let found = predictor.detect(&RgbImage::new(width, height)).unwrap();
        assert!(found.is_sorted_by(|a, b| a.score >= b.score));
        for Detection { xyxy: [x1, y1, x2, y2], label, .. } in found {
            assert!(0.0 <= x1 && x1 < x2 && x2 <= width as f32, "{x1} {x2} of {width}");
            assert!(0.0 <= y1 && y1 < y2 && y2 <= height as f32, "{y1} {y2} of {height}");
            assert!(predictor.class_name(label).is_some());
        }
    }
    for (width, height) in [(0, 0), (0, 7), (7, 0)] {
        let images = [RgbImage::new(9, 9), RgbImage::new(width, height)];
        for error in [predictor.detect(&images[1]).map(|_| ()), predictor.detect_batch(&images).map(|_| ())] {
            let error = error.unwrap_err();
            assert!(matches!(error, Error::EmptyImage { .. }), "{error}");
        }
    }
}

#[test]
fn settings_are_checked_and_unknown_labels_have_no_name() {
    let predictor = predictor();
    for threshold in [-0.1, 1.1, f32::NAN] {
        assert!(predictor.with_score_thresh(threshold).is_err());
        assert!(predictor.with_nms_thresh(threshold.into()).is_err());
    }
    for (min_size, max_size) in [(0, 10), (20, 10), (1 << 40, 1 << 40)] {
        assert!(predictor.with_image_size(min_size, max_size).is_err());
    }
    for count in [0, usize::MAX] {
        assert!(predictor.with_detections_per_img(count).is_err());
    }
    let names = [0, 1, 2, 3].map(|label| predictor.class_name(label));
    assert_eq!(names, [None, Some("open"), Some("short"), None]);
}

#[test]
fn other_settings_hold_and_leave_the_predictor_as_it_was() {
    let predictor = predictor();
    let board = board(80, 60);
    let before = predictor.detect(&board).unwrap();
    assert!(before.len() > 3, "{} detections", before.len());

    let middle = before[before.len() / 2].score;
    let strict = predictor.with_score_thresh(middle).unwrap().detect(&board).unwrap();
    assert!(!strict.is_empty() && strict.iter().all(|found| found.score > middle));
    assert_eq!(strict, before[..strict.len()]);

    let few = predictor.with_detections_per_img(2).unwrap().detect(&board).unwrap();
    assert_eq!(few, before[..2]);

    let apart = predictor.with_nms_thresh(0.0).unwrap().detect(&board).unwrap();
    assert!(apart.len() < before.len());
    for (index, a) in apart.iter().enumerate() {
        let overlaps =
            |b: &&Detection| a.label == b.label && crate::structures::intersection(&a.xyxy, &b.xyxy) > 0.0;
        assert!(!apart[..index].iter().any(|b| overlaps(&b)), "{a:?} overlaps another one");
    }

    let small = predictor.with_image_size(32, 48).unwrap();
    assert_eq!((small.config().transform.min_size, small.config().transform.max_size), (32, 48));
    assert_ne!(small.detect(&board).unwrap(), before);
    assert_eq!(predictor.detect(&board).unwrap(), before);
}

#[test]
fn each_class_may_have_a_threshold_and_another_score_replaces_them() {
    let predictor = predictor();
    let board = board(80, 60);
    let before = predictor.detect(&board).unwrap();
    let middle = before[before.len() / 2].score;
    let found = predictor.with_class_thresholds(&[middle, 1.0]).unwrap();
    let expected: Vec<_> =
        before.iter().filter(|one| one.label == 1 && one.score > middle).cloned().collect();
    assert!(!expected.is_empty());
    assert_eq!(found.detect(&board).unwrap(), expected);
    assert_eq!(found.detect_batch(std::slice::from_ref(&board)).unwrap(), [expected]);
    let all = found.with_score_thresh(predictor.config().roi_heads.score_thresh).unwrap();
    assert_eq!(all.detect(&board).unwrap(), before);
    for wrong in [&[0.5][..], &[0.5; 3], &[0.5, f32::NAN], &[-0.1, 0.5]] {
        assert!(matches!(predictor.with_class_thresholds(wrong), Err(Error::Config(_))), "{wrong:?}");
    }
}

#[test]
fn classes_exclude_each_other_once_all_views_are_heard() {
    let board = board(80, 60);
    for views in [1, 4] {
        let predictor = predictor().with_views(views).unwrap().with_detections_per_img(4000).unwrap();
        let plain = predictor.detect(&board).unwrap();
        assert!(plain.len() < predictor.config().roi_heads.detections_per_img);
        let exclusive = predictor.with_exclusive_iou(0.0).unwrap();
        let mut expected = plain.clone();
        exclusive.config().roi_heads.exclusion().apply(&mut expected);
        assert_ne!(expected, plain);
        assert_eq!(exclusive.detect(&board).unwrap(), expected, "{views} views");
    }
}

/// All eight views of an image are those of the image turned.
#[test]
fn with_all_views_it_does_not_matter_how_an_image_is_turned() {
    let board = board(90, 60);
    for (corners, last) in [(Corners::Pixels, 1.0), (Corners::Edges, 0.0)] {
        let several = predictor().with_settings(|config| config.corners = Some(corners)).unwrap();
        let several = several.with_views(8).unwrap();
        let found = several.detect(&board).unwrap();
        assert!(found.len() > 3);
        let turned = several.detect(&image::imageops::rotate90(&board)).unwrap();
        assert_eq!(found.len(), turned.len());
        for one in &found {
            // A point x, y is at 60 - y, x after a turn to the right; a pixel at 59 - y, x.
            let [x1, y1, x2, y2] = one.xyxy;
            let expected = [60.0 - last - y2, x1, 60.0 - last - y1, x2];
            let is_same = |other: &&Detection| {
                let far = expected.iter().zip(other.xyxy).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                // Convolutions add in another order on another view.
                other.label == one.label && (other.score - one.score).abs() < 1e-4 && far < 0.01
            };
            assert!(turned.iter().any(|other| is_same(&other)), "{corners:?} {one:?} {turned:?}");
        }
    }

    let predictor = predictor();
    let several = predictor.with_views(8).unwrap();
    let found = several.detect(&board).unwrap();
    // A higher score leaves out, and changes nothing else.
    let middle = found[found.len() / 2].score;
    let strict = several.with_score_thresh(middle).unwrap().detect(&board).unwrap();
    let expected: Vec<Detection> = found.iter().filter(|one| one.score > middle).copied().collect();
    assert_eq!(strict, expected);
    assert_eq!(several.with_views(1).unwrap().detect(&board).unwrap(), predictor.detect(&board).unwrap());
    assert!(several.with_detections_per_img(2).unwrap().detect(&board).unwrap().len() <= 2);
    for wrong in [0, 3, 16] {
        assert!(matches!(predictor.with_views(wrong), Err(Error::Config(_))));
    }
}

#[cfg(feature = "align")]
#[test]
fn windows_of_an_image_and_its_reference_are_those_of_the_pair() {
    use crate::data::pair;
    use crate::structures::ReferenceAlign;

    let config = FasterRcnnConfig::tiny(3)
        .with_reference(ReferenceInput::Difference)
        .with_reference_align(ReferenceAlign::Affine);
    let predictor = Predictor::new(config.with_image_size(64, 96).init(&Device::flex()));
    let predictor = predictor.with_tiles(Tiles { size: 100, overlap: 50 }).unwrap();
    let board = board(150, 100);
    let mut reference = image::imageops::blur(&board, 0.5);
    image::imageops::replace(&mut reference, &RgbImage::new(15, 10), 20, 20);
    let found = predictor.detect_against(&board, &reference).unwrap();
    let pair = pair(&board, &reference, ReferenceAlign::Affine).unwrap();
    assert_eq!(found, predictor.detect_one(Image::from(&pair)).unwrap());
    assert!(found.len() > 3);
}

#[test]
fn a_batch_gives_what_each_image_gives() {
    let predictor = predictor();
    let images = [(80, 60), (64, 64), (60, 80), (120, 90), (31, 47), (80, 60)];
    let mut images = images.map(|(width, height)| board(width, height));
    image::imageops::invert(&mut images[5]);
    let alone = images.iter().map(|image| predictor.detect(image).unwrap()).collect::<Vec<_>>();
    assert_eq!(predictor.detect_batch(&images).unwrap(), alone);
    assert!(predictor.detect_batch(&[]).unwrap().is_empty());

    // As on a GPU. Convolutions of several images may add in another order.
    let by_size = predictor.detect_by_size(images.iter().map(Image::from).collect()).unwrap();
    assert_eq!(by_size.len(), alone.len());
    for (by_size, alone) in by_size.iter().zip(&alone) {
        assert_eq!(by_size.len(), alone.len());
        for (a, b) in by_size.iter().zip(alone) {
            assert!((a.score - b.score).abs() < 1e-5, "{a:?} {b:?}");
        }
    }
}

#[test]
fn tiles_of_one_window_change_nothing_and_several_find_what_each_window_shows() {
    let predictor = predictor();
    let board = board(150, 100);
    let tiles = |size, overlap| predictor.with_tiles(Tiles { size, overlap }).unwrap();
    assert_eq!(tiles(150, 0).detect(&board).unwrap(), predictor.detect(&board).unwrap());
    assert_eq!(
        tiles(200, 50).detect_batch(std::slice::from_ref(&board)).unwrap()[0],
        predictor.detect(&board).unwrap()
    );

    let found = tiles(100, 50).detect(&board).unwrap();
    let left = image::imageops::crop_imm(&board, 0, 0, 100, 100).to_image();
    let right = image::imageops::crop_imm(&board, 50, 0, 100, 100).to_image();
    let alone = [(0.0, left), (50.0, right)].map(|(x, window)| {
        let found = predictor.detect(&window).unwrap().into_iter();
        found.map(move |found| Detection {
            xyxy: [found.xyxy[0] + x, found.xyxy[1], found.xyxy[2] + x, found.xyxy[3]],
            ..found
        })
    });
    let alone: Vec<Detection> = alone.into_iter().flatten().collect();
    assert!(found.len() > 3 && found.iter().all(|found| alone.contains(found)));
    assert!(predictor.with_tiles(Tiles { size: 10, overlap: 10 }).is_err());
}

#[test]
fn threads_share_a_predictor() {
    fn shared<T: Clone + Send + Sync + 'static>(value: T) -> T {
        value
    }
    let predictor = shared(predictor());
    let image = board(64, 48);
    let alone = predictor.detect(&image).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| assert_eq!(predictor.clone().detect(&image).unwrap(), alone));
        }
    });
}
