use super::*;

const WHITE: Rgb<u8> = Rgb([255; 3]);

fn key(seed: u64, epoch: u64, image: u64) -> RandomKey {
    RandomKey { seed, epoch, image }
}

/// A black image of `(height, width)` with a white rectangle where its annotation is.
fn rectangle((height, width): (u32, u32), [x1, y1, x2, y2]: [u32; 4]) -> (RgbImage, Vec<Annotation>) {
    let inside = |x: u32, y: u32| (x1..x2).contains(&x) && (y1..y2).contains(&y);
    let image = RgbImage::from_fn(width, height, |x, y| if inside(x, y) { WHITE } else { Rgb([0; 3]) });
    let mut annotation = Annotation::new([x1, y1, x2, y2].map(|v| v as f32), 3);
    annotation.crowd = true;
    (image, vec![annotation])
}

/// The box of the pixels that are white, or whiter than grey.
fn find(image: &RgbImage) -> Option<Xyxy> {
    let bright = image.enumerate_pixels().filter(|(_, _, pixel)| pixel[0] > 127);
    bright.fold(None, |found: Option<Xyxy>, (x, y, _)| {
        let [x, y] = [x as f32, y as f32];
        let [x1, y1, x2, y2] = found.unwrap_or([x, y, x, y]);
        Some([x1.min(x), y1.min(y), x2.max(x + 1.0), y2.max(y + 1.0)])
    })
}

fn view(size: (u32, u32), corners: [u32; 4]) -> View {
    let (image, annotations) = rectangle(size, corners);
    View { image, annotations }
}

#[test]
fn two_flips_and_four_turns_are_the_identity() {
    let original = view((30, 50), [4, 6, 15, 9]);
    for (step, times) in
        [(View::flip_horizontal as fn(&mut View), 2), (View::flip_vertical, 2), (View::quarter_turn, 4)]
    {
        let mut varied = view((30, 50), [4, 6, 15, 9]);
        for time in 0..times {
            if time > 0 {
                assert_ne!(varied.annotations, original.annotations);
            }
            step(&mut varied);
        }
        assert_eq!(varied.image, original.image);
        assert_eq!(varied.annotations, original.annotations);
    }
}

#[test]
fn boxes_follow_their_pixels() {
    let (image, annotations) = rectangle((40, 64), [10, 5, 31, 17]);
    let config = AugmentConfig { crop: Some((36, 36)), min_visible: 0.0, ..AugmentConfig::default() };
    for index in 0..100 {
        let (varied, boxes) =
            augment(image.clone(), &annotations, &config, ReferenceInput::None, key(1, 2, index));
        assert_eq!(varied.dimensions(), (36, 36));
        assert_eq!(boxes.first().map(|b| b.xyxy), find(&varied), "index {index}");
        assert!(boxes.iter().all(|b| b.label == 3 && b.crowd));
    }
}

#[test]
fn boxes_follow_the_scale_to_within_a_pixel() {
    let (image, annotations) = rectangle((60, 90), [20, 15, 50, 41]);
    let config = AugmentConfig { scale_jitter: [0.5, 2.0], ..AugmentConfig::none() };
    for index in 0..20 {
        let (varied, boxes) =
            augment(image.clone(), &annotations, &config, ReferenceInput::None, key(1, 2, index));
        assert!((30..=120).contains(&varied.height()), "{}", varied.height());
        let found = find(&varied).expect("the rectangle is larger than a pixel");
        // Half a pixel of the scaled image to either side is interpolation; one is the limit.
        let close = boxes[0].xyxy.iter().zip(found).all(|(a, b)| (a - b).abs() <= 1.0);
        assert!(close, "{:?} {found:?}", boxes[0].xyxy);
    }
}

/// A disc is its box's inscribed ellipse, so its box follows at any angle.
#[test]
fn boxes_follow_a_rotation_to_within_a_pixel() {
    let radii = [11.0_f32, 17.0];
    let inside = |x: u32, y: u32| {
        let [x, y] = [(x as f32 - 54.5) / radii[0], (y as f32 - 39.5) / radii[1]];
        x * x + y * y <= 1.0
    };
    let image = RgbImage::from_fn(90, 70, |x, y| if inside(x, y) { WHITE } else { Rgb([0; 3]) });
    let annotation = Annotation::new([44.0, 23.0, 66.0, 57.0], 3);
    let config = AugmentConfig { rotation: 180.0, ..AugmentConfig::none() };
    let mut turned = 0;
    for index in 0..100 {
        let (varied, boxes) =
            augment(image.clone(), &[annotation], &config, ReferenceInput::None, key(1, 2, index));
        assert_eq!(varied.dimensions(), (90, 70));
        let found = find(&varied).expect("the ellipse stays in view");
        let close = boxes[0].xyxy.iter().zip(found).all(|(a, b)| (a - b).abs() <= 1.0);
        assert!(close, "index {index}: {:?} {found:?}", boxes[0].xyxy);
        turned += usize::from(varied != image);
    }
    assert!((30..70).contains(&turned), "{turned} of 100 are turned");
}

#[test]
fn a_rotation_by_quarters_is_a_quarter_turn_and_what_leaves_the_image_is_dropped() {
    let mut turned = view((40, 40), [4, 6, 15, 9]);
    turned.rotate(std::f32::consts::FRAC_PI_2, 0.5);
    let mut expected = view((40, 40), [4, 6, 15, 9]);
    expected.quarter_turn();
    assert_eq!(turned.image, expected.image);
    let pairs = turned.annotations[0].xyxy.into_iter().zip(expected.annotations[0].xyxy);
    assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-4));

    // A corner comes to lie above the middle, and is cut there.
    for (corners, top) in [([4, 4, 12, 12], Some([16.0, 0.0])), ([0, 0, 8, 8], None)] {
        let mut corner = view((40, 40), corners);
        corner.rotate(std::f32::consts::FRAC_PI_4, 0.5);
        assert_eq!(corner.annotations.first().map(|b| [b.xyxy[0].round(), b.xyxy[1]]), top, "{corners:?}");
    }
}

#[test]
fn a_crop_keeps_what_is_visible_enough() {
    let cases = [
        // Left edge of the crop, what is left of the box 10..20 in it.
        (0, Some([10.0, 0.0, 20.0, 8.0])),
        (15, Some([0.0, 0.0, 5.0, 8.0])),
        (16, None),
        (30, None),
    ];
    for (left, expected) in cases {
        let mut cropped = view((8, 50), [10, 0, 20, 8]);
        cropped.crop([left, 0], [20, 8], 0.5);
        assert_eq!(cropped.annotations.first().map(|b| b.xyxy), expected, "left {left}");
    }
}

#[test]
fn a_crop_larger_than_the_image_changes_nothing() {
    let (image, annotations) = rectangle((20, 30), [3, 4, 9, 9]);
    let config = AugmentConfig { crop: Some((100, 100)), ..AugmentConfig::none() };
    let (varied, boxes) = augment(image.clone(), &annotations, &config, ReferenceInput::None, key(0, 0, 0));
    assert_eq!((varied, boxes), (image, annotations));
}

/// As in validation and in torchvision, a thin box that the data set has is an object.
#[test]
fn thin_boxes_are_dropped_only_by_a_crop_that_makes_them_so() {
    let (image, mut annotations) = rectangle((40, 40), [10, 10, 13, 30]);
    annotations[0].area = Some(60.0);
    let config = AugmentConfig { scale_jitter: [0.25, 0.25], ..AugmentConfig::none() };
    let (varied, boxes) = augment(image, &annotations, &config, ReferenceInput::None, key(0, 0, 0));
    assert_eq!(varied.dimensions(), (10, 10));
    assert_eq!((boxes[0].xyxy, boxes[0].area), ([2.5, 2.5, 3.25, 7.5], Some(3.75)));

    let thin = [10.0, 0.0, 10.5, 8.0];
    // Left edge of the crop, what is left of the thin box and of the one at 10..13 with all that is
    // visible kept.
    for (left, expected) in
        [(5, vec![[5.0, 0.0, 5.5, 8.0], [5.0, 0.0, 8.0, 8.0]]), (12, vec![[0.0, 0.0, 1.0, 8.0]])]
    {
        let mut cropped = view((8, 50), [10, 0, 13, 8]);
        cropped.annotations.insert(0, Annotation { xyxy: thin, ..cropped.annotations[0] });
        cropped.crop([left, 0], [20, 8], 0.0);
        let boxes: Vec<_> = cropped.annotations.iter().map(|b| b.xyxy).collect();
        assert_eq!(boxes, expected, "left {left}");
    }
    let mut cropped = view((8, 50), [10, 0, 13, 8]);
    cropped.annotations[0] =
        Annotation { xyxy: [10.0, 0.0, 12.5, 8.0], area: Some(9.0), ..cropped.annotations[0] };
    cropped.crop([11, 0], [20, 8], 0.0);
    assert_eq!((cropped.annotations[0].xyxy, cropped.annotations[0].area), ([0.0, 0.0, 1.5, 8.0], None));
    cropped.crop([1, 0], [10, 8], 0.0);
    assert!(cropped.annotations.is_empty());
}

#[test]
fn the_outcome_depends_on_seed_epoch_and_index_alone() {
    let (image, annotations) = rectangle((60, 60), [10, 5, 31, 17]);
    let config = AugmentConfig { crop: Some((20, 20)), ..AugmentConfig::default() };
    let run = |seed, epoch, index| {
        augment(image.clone(), &annotations, &config, ReferenceInput::None, key(seed, epoch, index))
    };
    assert_eq!(run(1, 2, 3), run(1, 2, 3));
    for differs in [
        (0..8).any(|seed| run(seed, 0, 0) != run(8, 0, 0)),
        (0..8).any(|epoch| run(0, epoch, 0) != run(0, 8, 0)),
        (0..8).any(|index| run(0, 0, index) != run(0, 0, 8)),
    ] {
        assert!(differs);
    }
}

#[test]
fn nonsense_is_refused_by_name() {
    let good = AugmentConfig::default();
    let photometry = |photometry| AugmentConfig { photometry, ..AugmentConfig::default() };
    good.validate().unwrap();
    AugmentConfig::none().validate().unwrap();
    for (config, name) in [
        (AugmentConfig { invert: 1.5, ..good.clone() }, "invert"),
        (AugmentConfig { inverted_labels: vec![1, 0], ..good.clone() }, "inverted_labels"),
        (AugmentConfig { horizontal_flip: 1.5, ..good.clone() }, "horizontal_flip"),
        (AugmentConfig { vertical_flip: f64::NAN, ..good.clone() }, "vertical_flip"),
        (AugmentConfig { min_visible: -0.1, ..good.clone() }, "min_visible"),
        (AugmentConfig { scale_jitter: [0.0, 1.0], ..good.clone() }, "scale_jitter"),
        (AugmentConfig { scale_jitter: [2.0, 1.0], ..good.clone() }, "scale_jitter"),
        (AugmentConfig { scale_jitter: [1.0, f64::INFINITY], ..good.clone() }, "scale_jitter"),
        (AugmentConfig { scale_jitter: [f64::NAN, 1.0], ..good.clone() }, "scale_jitter"),
        (AugmentConfig { rotation: -1.0, ..good.clone() }, "rotation"),
        (AugmentConfig { rotation: f64::NAN, ..good.clone() }, "rotation"),
        (AugmentConfig { reference_shift: -1.0, ..good.clone() }, "reference_shift"),
        (AugmentConfig { reference_shift: f64::NAN, ..good.clone() }, "reference_shift"),
        (photometry(Photometry { brightness: 1.5, ..Photometry::default() }), "photometry.brightness"),
        (photometry(Photometry { contrast: -0.5, ..Photometry::default() }), "photometry.contrast"),
        (photometry(Photometry { noise: f64::NAN, ..Photometry::default() }), "photometry.noise"),
        (photometry(Photometry { blur: 11.0, ..Photometry::default() }), "photometry.blur"),
        (photometry(Photometry { morphology: 2.0, ..Photometry::default() }), "photometry.morphology"),
        (AugmentConfig { crop: Some((0, 5)), ..good.clone() }, "crop"),
        (AugmentConfig { crop: Some((5, usize::MAX)), ..good.clone() }, "crop"),
    ] {
        let message = config.validate().expect_err(name).to_string();
        assert!(message.starts_with(name), "{message}");
    }
}

#[test]
fn a_config_file_may_leave_fields_out_but_not_invent_any() {
    let config: AugmentConfig = toml::from_str("crop = [300, 400]\nquarter_turns = false").unwrap();
    let expected = AugmentConfig { crop: Some((300, 400)), quarter_turns: false, ..AugmentConfig::default() };
    assert_eq!(config, expected);
    assert!(toml::from_str::<AugmentConfig>("horizontl_flip = 0.5").is_err());
}

/// A pair of a checked board and itself.
fn pair_of(size: u32) -> RgbImage {
    RgbImage::from_fn(size, size, |x, y| {
        let value = if (x / 8 + y / 8) % 2 == 0 { 220 } else { 30 };
        [value, value, 0].into()
    })
}

fn channel(pair: &RgbImage, channel: usize) -> Vec<i32> {
    pair.pixels().map(|pixel| i32::from(pixel[channel])).collect()
}

/// Only the reference moves, by as much as is allowed; the difference follows.
#[test]
fn a_reference_is_shifted_against_its_image() {
    let config = AugmentConfig { reference_shift: 2.0, ..AugmentConfig::none() };
    let before = pair_of(64);
    let mut moved = 0;
    for index in 0..10 {
        let (after, _) = augment(before.clone(), &[], &config, ReferenceInput::Difference, key(1, 2, index));
        assert_eq!(channel(&after, 0), channel(&before, 0));
        moved += usize::from(channel(&after, 1) != channel(&before, 1));
        for pixel in after.pixels() {
            assert_eq!(pixel[2], pixel[0].abs_diff(pixel[1]));
        }
        // A shift of 2 pixels changes at most 2 columns and rows of each square of 8.
        let differ = channel(&after, 2).into_iter().filter(|value| *value > 0).count();
        assert!(differ <= 64 * 64 * 5 / 8, "{differ}");
    }
    assert_eq!(moved, 10);
}

/// Each kind of variation changes what it says, and no more than it may; image and reference apart.
#[test]
fn light_noise_and_thickness_vary_within_their_bounds() {
    let before = pair_of(64);
    let vary = |photometry: Photometry, index: u64| {
        let config = AugmentConfig { photometry, ..AugmentConfig::none() };
        augment(before.clone(), &[], &config, ReferenceInput::Difference, key(1, 2, index)).0
    };
    let off = Photometry::default();
    assert_eq!(vary(off, 0), before);
    let changes = |after: &RgbImage, of: usize| -> Vec<i32> {
        channel(after, of).iter().zip(channel(&before, of)).map(|(after, before)| after - before).collect()
    };
    for index in 0..20 {
        let brighter = vary(Photometry { brightness: 0.1, ..off }, index);
        let [image, reference] = [0, 1].map(|of| changes(&brighter, of));
        assert!(image.iter().all(|change| *change == image[0] && change.abs() <= 26), "{image:?}");
        assert!(reference.iter().all(|change| *change == reference[0]));
        let contrast = vary(Photometry { contrast: 0.5, ..off }, index);
        // 220 and 30 lie 92.5 and 97.5 from the middle.
        assert!(changes(&contrast, 0).iter().all(|change| change.abs() <= 49));
        let noisy = changes(&vary(Photometry { noise: 0.02, ..off }, index), 0);
        let mean = f64::from(noisy.iter().sum::<i32>()) / noisy.len() as f64;
        assert!(mean.abs() < 1.0 && noisy.iter().all(|change| change.abs() < 30), "{mean}");
        let blurred = vary(Photometry { blur: 1.0, ..off }, index);
        assert!(channel(&blurred, 0).iter().all(|value| (30..=220).contains(value)));
        // Values move towards those of the neighbours, which are 220 or 30: one way in all of the image.
        let thicker = changes(&vary(Photometry { morphology: 1.0, ..off }, index), 0);
        assert!(thicker.iter().all(|change| *change >= 0) || thicker.iter().all(|change| *change <= 0));
    }
    let differ = |photometry| {
        (0..20).any(|index| {
            let after = vary(photometry, index);
            changes(&after, 0) != changes(&after, 1) && changes(&after, 0).iter().any(|change| *change != 0)
        })
    };
    for photometry in [
        Photometry { brightness: 0.1, ..off },
        Photometry { contrast: 0.5, ..off },
        Photometry { noise: 0.02, ..off },
        Photometry { blur: 1.0, ..off },
        Photometry { morphology: 1.0, ..off },
    ] {
        assert!(differ(photometry), "{photometry:?}");
    }
}

#[test]
fn where_black_and_white_change_places_a_label_is_that_of_what_is_there_then() {
    let image = RgbImage::from_fn(8, 8, |x, y| Rgb([(10 * x) as u8, (20 * y) as u8, (30 * x) as u8]));
    let boxes = [1, 2, 3].map(|label| Annotation::new([1.0, 2.0, 5.0, 6.0], label));
    let config = AugmentConfig { invert: 0.5, inverted_labels: vec![3, 2, 1], ..AugmentConfig::none() };
    let mut inverted = 0;
    for index in 0..100 {
        let (varied, annotations) =
            augment(image.clone(), &boxes, &config, ReferenceInput::None, key(1, 2, index));
        let labels: Vec<usize> = annotations.iter().map(|annotation| annotation.label).collect();
        if varied == image {
            assert_eq!(annotations, boxes);
            continue;
        }
        inverted += 1;
        assert_eq!(labels, [3, 2, 1]);
        assert!(annotations.iter().zip(&boxes).all(|(after, before)| after.xyxy == before.xyxy));
        assert!(
            varied.pixels().zip(image.pixels()).all(|(after, before)| after.0 == before.0.map(|v| 255 - v))
        );
    }
    assert!((30..70).contains(&inverted), "{inverted} of 100 are inverted");

    // Without labels that change, they stay; and so does the difference of a pair.
    let config = AugmentConfig { invert: 1.0, ..AugmentConfig::none() };
    let image = RgbImage::from_fn(8, 8, |x, y| {
        let [board, reference] = [30 * x as u8, 20 * y as u8];
        Rgb([board, reference, board.abs_diff(reference)])
    });
    let (varied, annotations) =
        augment(image.clone(), &boxes, &config, ReferenceInput::Difference, key(1, 2, 3));
    assert_eq!(annotations, boxes);
    let expected = |[board, reference, difference]: [u8; 3]| [255 - board, 255 - reference, difference];
    assert!(varied.pixels().zip(image.pixels()).all(|(after, before)| after.0 == expected(before.0)));
}
