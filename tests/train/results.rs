//! What a run leaves, and what its weights tell of it.

use std::fs;

use faster_rcnn::data::Dataset;
use faster_rcnn::eval::{ImageResult, Tolerances, clean_images, operating_points};
use faster_rcnn::train::{Run, RunConfig, RunInfo, Schedule, Start};
use faster_rcnn::{Losses, Predictor, Tiles, weights};
use serde_json::Value;

use burn::tensor::Device;
use faster_rcnn::NormKind;

use super::{boards, config, metrics, tensors, validations};

#[test]
fn a_run_leaves_numbers_pictures_settings_and_weights_that_know_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = boards(&folder.path().join("boards"));
    let output = folder.path().join("run");
    let mut config = config();
    config.train.schedule = Schedule::Cosine;
    config.train.seed = 7;
    let outcome = Run::new(config, data.clone()).fit(&output).unwrap();

    let rows = metrics(&output);
    let of = |split: &str, step: bool| {
        rows.iter().filter(|row| row["split"] == split && row.contains_key("step") == step).count()
    };
    assert_eq!((of("train", true), of("train", false), of("valid", false)), (3 * 4, 3, 3));
    for row in rows.iter().filter(|row| row["split"] == "train") {
        let value = |name: &str| row[name].as_f64().unwrap();
        assert!(Losses::NAMES.iter().all(|name| value(name).is_finite() && value(name) >= 0.0), "{row:?}");
        let sum: f64 = Losses::NAMES.iter().map(|name| value(name)).sum();
        assert!((value("loss") - sum).abs() < 1e-6 * sum, "{row:?}");
    }

    let pictures =
        ["curves.png", "precision_recall.png", "confusion_matrix.png"].map(|name| output.join(name));
    let sample = output.join("samples").join(data.validation.records[0].file_name()).with_extension("png");
    for picture in pictures.iter().chain([&sample]) {
        assert!(image::open(picture).unwrap().width() > 128, "{}", picture.display());
    }
    let json: Value = serde_json::from_slice(&fs::read(output.join("evaluation.json")).unwrap()).unwrap();
    assert_eq!(json["coco"]["ap50"].as_f64(), outcome.evaluation.coco.overall.ap50);

    // The figure that chose the best epoch is that of the evaluation, digit by digit.
    let valid = validations(&output);
    let ap = outcome.evaluation.coco.overall.ap;
    assert!(ap.is_some());
    assert_eq!((outcome.best.ap, valid[outcome.best.epoch - 1]["ap"].as_f64()), (ap, ap));

    let settings = RunConfig::load(output.join("config.toml"), &[]).unwrap();
    assert_eq!(settings.model.class_names, data.train.class_names);
    for (file, epoch) in [("last", 3), ("best", outcome.best.epoch)] {
        let path = output.join("checkpoints").join(file).with_extension("safetensors");
        let info = RunInfo::read(&path).unwrap().unwrap();
        assert_eq!((info.epoch, info.config.train.seed, info.best), (epoch, 7, info.best));
        assert_eq!(info.config, settings);
        let all = [data.train.records.clone(), data.validation.records.clone()].concat();
        let all = Dataset { records: all, ..data.train.clone() };
        assert_eq!((info.trained_on(&data.validation), info.trained_on(&all)), (0, 7));
    }
    let plain = folder.path().join("plain.safetensors");
    weights::save(&outcome.model, &plain).unwrap();
    assert_eq!(RunInfo::read(&plain).unwrap(), None);
}

/// Validation, report and predictor look at larger images through such windows, with nothing said.
#[test]
fn a_detector_that_is_trained_on_crops_looks_through_windows_of_their_size() {
    let folder = tempfile::tempdir().unwrap();
    let data = boards(&folder.path().join("boards"));
    let output = folder.path().join("run");
    let mut config = config();
    config.train.epochs = 1;
    config.model.roi_heads.score_thresh = 0.0;
    config.augment.crop = Some((96, 64));
    let outcome = Run::new(config, data.clone()).fit(&output).unwrap();
    assert_eq!(validations(&output)[0]["ap"].as_f64(), outcome.evaluation.coco.overall.ap);

    let predictor = Predictor::load(output.join("checkpoints/best.safetensors"), &Device::flex()).unwrap();
    assert_eq!(predictor.config().tiles, Some(Tiles { size: 96, overlap: 24 }));
    let names = &data.train.class_names;
    let points = |predictor: &Predictor| {
        let results: Vec<ImageResult> = predictor.results(&data.validation).map(Result::unwrap).collect();
        operating_points(&results, &clean_images(&results), names, Tolerances::default(), 0)
    };
    assert_eq!(outcome.evaluation.thresholds, Some(points(&predictor)));
    let whole = predictor.with_tiles(Tiles { size: 128, overlap: 16 }).unwrap();
    assert_ne!(outcome.evaluation.thresholds, Some(points(&whole)));
}

#[test]
fn stages_that_are_not_trained_keep_their_bits() {
    let folder = tempfile::tempdir().unwrap();
    let data = boards(&folder.path().join("boards"));
    let mut config = config();
    config.model = config.model.with_class_names(&data.train.class_names);
    config.model.norm = NormKind::FrozenBatch;
    config.model.trainable_layers = 3;
    config.train.epochs = 1;
    config.train.weight_decay = 0.1;
    let start = config.model.init(&Device::flex());
    let path = folder.path().join("start.safetensors");
    weights::save(&start, &path).unwrap();
    let before = weights::collect(&start);
    let output = folder.path().join("run");
    let run = Run::new(config, data).start(Start::weights(path)).prepare(&output).unwrap();
    assert_eq!(run.load_report().unwrap().applied.len(), before.len());
    run.fit().unwrap();
    let after = tensors(&output, "last.safetensors");
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        let name = &before.name;
        let part = name.strip_prefix("backbone.body.").unwrap_or("");
        let frozen = ["conv1.", "bn1.", "layer1."].iter().any(|stage| part.starts_with(stage))
            || part.contains(".bn")
            || part.contains(".downsample.1.");
        // Every weight decays; biases that start at zero may have no gradient.
        let trained = !frozen && name.ends_with(".weight");
        assert!(!frozen || before == after, "{name} has changed");
        assert!(!trained || before != after, "{name} has not changed");
    }
}
