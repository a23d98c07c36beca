//! The command line with references and thresholds: `train`, `predict` and `evaluate`.

#[path = "common/program.rs"]
mod program;

use std::fs;

use burn::tensor::Device;
use faster_rcnn::data::{self, SyntheticConfig, load_image, write_synthetic};
use faster_rcnn::train::RunConfig;
use faster_rcnn::{
    Annotation, Detection, FasterRcnnConfig, Predictor, ReferenceAlign, ReferenceInput, weights,
};
use serde_json::{Value, json};

use program::{Bench, SIZE, tiny};

/// The classes of the boards.
const CLASS_NAMES: [&str; 6] = ["open", "short", "mousebite", "spur", "copper", "pin-hole"];

fn with_reference() -> FasterRcnnConfig {
    tiny().with_reference(ReferenceInput::Difference).with_reference_align(ReferenceAlign::Affine)
}

/// A bench with a detector that takes a reference, in `pairs.safetensors`.
fn bench(boards: usize) -> Bench {
    let bench = Bench::new(boards);
    weights::save(&with_reference().init(&Device::flex()), bench.path("pairs.safetensors")).unwrap();
    bench
}

fn template(bench: &Bench, index: usize) -> String {
    bench.image(index).replace("_test", "_temp")
}

/// The detections of the first image of `predict`'s JSON.
fn detections(printed: &str) -> Vec<Detection> {
    let images: Value = serde_json::from_str(printed).unwrap();
    let detection = |found: &Value| Detection {
        xyxy: serde_json::from_value(found["box"].clone()).unwrap(),
        label: serde_json::from_value(found["label"].clone()).unwrap(),
        score: serde_json::from_value(found["score"].clone()).unwrap(),
    };
    images[0]["detections"].as_array().unwrap().iter().map(detection).collect()
}

#[test]
fn predict_compares_with_references() {
    let bench = bench(2);
    let (first, second) = (bench.image(0), bench.image(1));
    let predict = "predict --weights pairs.safetensors";
    let printed = bench.succeed(&format!("{predict} --reference {} {first}", template(&bench, 0)));
    let predictor = Predictor::load(bench.path("pairs.safetensors"), &Device::flex()).unwrap();
    let [image, reference] =
        [first.clone(), template(&bench, 0)].map(|path| load_image(bench.path(&path)).unwrap());
    let found = predictor.detect_against(&image, &reference).unwrap();
    assert!(!found.is_empty());
    assert_eq!(detections(&printed), found);
    // DeepPCB's templates lie beside the boards; others have the names of their images.
    let by_name = bench.succeed(&format!("{predict} --reference-dir boards/group00000/00000 {first}"));
    assert_eq!(by_name, printed);
    fs::create_dir(bench.path("good")).unwrap();
    for (index, image) in [&first, &second].into_iter().enumerate() {
        let stem = image.rsplit('/').next().unwrap().trim_end_matches(".jpg");
        let reference = load_image(bench.path(&template(&bench, index))).unwrap();
        reference.save(bench.path(&format!("good/{stem}.png"))).unwrap();
    }
    assert_eq!(bench.succeed(&format!("{predict} --reference-dir good {first}")), printed);

    let message = bench.fail(&format!("{predict} {first}"));
    assert!(
        message.contains("pairs.safetensors: the detector compares an image with a reference"),
        "{message}"
    );
    let message = bench
        .fail(&format!("predict --weights tiny.safetensors --reference {} {first}", template(&bench, 0)));
    assert!(message.contains("tiny.safetensors: the detector takes no reference"), "{message}");
    // Squares that have nothing to do with any board.
    let other =
        |x: u32, y: u32| [(x / 9 * 7919 + y / 9 * 104_729) % 251 % 2 * 255; 3].map(|value| value as u8);
    image::RgbImage::from_fn(SIZE as u32, SIZE as u32, |x, y| other(x, y).into())
        .save(bench.path("other.png"))
        .unwrap();
    let message = bench.fail(&format!("{predict} --reference other.png {first}"));
    assert!(message.contains(&first) && message.contains("their correlation is"), "{message}");
    let message = bench.fail(&format!("{predict} --reference-dir boards {first}"));
    assert!(
        message.contains(&first) && message.contains("no reference called 00000000_temp or 00000000_test"),
        "{message}"
    );
}

/// The weights that come along find defects of boards that they have never seen.
#[test]
fn without_weights_predict_takes_those_that_come_along() {
    let folder = tempfile::tempdir().unwrap();
    write_synthetic(folder.path(), 1, &SyntheticConfig { size: 640, seed: 3 }).unwrap();
    let board = data::open(folder.path()).unwrap().records.remove(0);
    let (image, reference) =
        (board.image.path().display(), board.reference.as_ref().unwrap().path().display());
    let bench = Bench::new(1);
    let with_reference = format!("--reference {reference}");
    for (name, given) in [("deep_pcb_small_reference", with_reference.as_str()), ("deep_pcb_small", "")] {
        let output = bench.run(&format!("predict {given} --score-threshold 0.5 {image}"));
        let said = program::text(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(said.contains(&format!("no --weights: taking {name}, ")), "{said}");
        let found = detections(&program::text(&output.stdout));
        let is_found = |object: &&Annotation| {
            let [x1, y1, x2, y2] = object.xyxy;
            let centres =
                found.iter().map(|Detection { xyxy: [a, b, c, d], .. }| ((a + c) / 2.0, (b + d) / 2.0));
            centres.into_iter().any(|(x, y)| (x1..x2).contains(&x) && (y1..y2).contains(&y))
        };
        let count = board.annotations.iter().filter(is_found).count();
        println!("{name}: {count} of {} defects, {} detections", board.annotations.len(), found.len());
        assert!(2 * count > board.annotations.len(), "{count} of {}", board.annotations.len());
    }
}

#[test]
fn a_detector_learns_from_pairs_and_clean_boards_and_ships_a_threshold() {
    let bench = bench(10);
    // After an epoch scores are low.
    let mut config = RunConfig::new(with_reference().with_score_thresh(0.001));
    config.train.epochs = 1;
    config.train.sample_pictures = 1;
    config.data.clean_fraction = 0.3;
    config.augment.reference_shift = 1.5;
    config.augment.photometry.noise = 0.05;
    config.augment.photometry.brightness = 0.1;
    config.augment.photometry.contrast = 0.2;
    config.augment.photometry.blur = 1.0;
    config.augment.photometry.morphology = 0.5;
    bench.write("run.toml", config.to_toml());
    let train = bench.run("train --config run.toml --data boards --output run");
    assert!(train.status.success(), "{}", program::text(&train.stderr));
    let weights = "run/checkpoints/best.safetensors";

    // The clean boards are the templates, as if photographed twice.
    fs::create_dir(bench.path("clean")).unwrap();
    fs::create_dir(bench.path("good")).unwrap();
    for index in 0..4 {
        for folder in ["clean", "good"] {
            fs::copy(bench.path(&template(&bench, index)), bench.path(&format!("{folder}/{index}.jpg")))
                .unwrap();
        }
    }
    fs::create_dir(bench.path("charts")).unwrap();
    let evaluate = format!("evaluate --weights {weights} --data boards --clean clean");
    let printed = bench.succeed(&format!(
        "{evaluate} --reference-dir good --alarms 1 --json figures.json --plots charts --store shipped.safetensors"
    ));
    assert!(printed.contains("1 image with objects and 4 clean"), "{printed}");
    for chart in ["escapes.png", "alarms.png", "reliability.png", "precision_recall.png"] {
        assert!(image::open(bench.path("charts").join(chart)).is_ok(), "{chart}");
    }
    let figures = bench.json("figures.json");
    assert_eq!(figures["thresholds"]["boards"], json!([1, 4]));
    let point = &figures["thresholds"]["overall"]["alarms"];
    // All clean boards may alarm, so the lowest threshold will do.
    assert_eq!(point["threshold"], json!(0.0));

    let board = bench.image(9);
    let predict = |more: &str| -> Vec<f32> {
        let reference = template(&bench, 9);
        let printed = bench.succeed(&format!("predict --reference {reference} {board} {more}"));
        detections(&printed).iter().map(|found| found.score).collect()
    };
    let all = predict(&format!("--weights {weights}"));
    assert!(!all.is_empty());
    for (name, key) in [("shipped", "best_f"), ("best_f", "best_f"), ("alarms", "alarms")] {
        let threshold = &figures["thresholds"]["overall"][key]["threshold"];
        let threshold: f32 = serde_json::from_value(threshold.clone()).unwrap();
        let expected: Vec<f32> = all.iter().copied().filter(|score| *score >= threshold).collect();
        assert_eq!(predict(&format!("--weights shipped.safetensors --threshold {name}")), expected, "{name}");
    }
    // A threshold for each class. One that the evaluation has none for has that of all.
    let reference = template(&bench, 9);
    let printed = bench.succeed(&format!("predict --reference {reference} {board} --weights {weights}"));
    for (name, key) in [("shipped", "best_f"), ("alarms", "alarms")] {
        let found = &figures["thresholds"];
        let threshold = |label: usize| -> f32 {
            let of_class = &found["per_class"][CLASS_NAMES[label - 1]][key]["threshold"];
            let overall = &found["overall"][key]["threshold"];
            serde_json::from_value(if of_class.is_null() { overall } else { of_class }.clone()).unwrap()
        };
        let expected = detections(&printed).into_iter().filter(|one| one.score >= threshold(one.label));
        let expected: Vec<f32> = expected.map(|one| one.score).collect();
        let per_class = predict(&format!("--weights shipped.safetensors --threshold {name} --per-class"));
        assert_eq!(per_class, expected, "{name}");
    }
    let message = bench.fail(&format!(
        "predict --weights {weights} --threshold shipped --reference {} {board}",
        template(&bench, 9)
    ));
    assert!(message.contains("best.safetensors: has no thresholds"), "{message}");
    let message = bench.fail(&evaluate);
    assert!(message.contains("compares an image with a reference"), "{message}");
}

#[test]
fn a_board_without_its_reference_is_named() {
    let bench = bench(10);
    for index in 0..10 {
        let _ = fs::remove_file(bench.path(&template(&bench, index)));
    }
    let message = bench.fail("evaluate --weights pairs.safetensors --data boards");
    assert!(message.contains("_test.jpg: has no reference image"), "{message}");
}
