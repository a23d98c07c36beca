//! Whole training runs, small: what they leave behind, that they repeat and resume bit for bit, and how
//! they stop.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::tensor::Device;
use faster_rcnn::NormKind;
use faster_rcnn::ResNetDepth;
use faster_rcnn::data::deep_pcb::{self, CLASS_NAMES};
use faster_rcnn::data::{Dataset, Split, SyntheticConfig, write_synthetic};
use faster_rcnn::train::{RunConfig, Schedule, Start, TrainConfig, fit};
use faster_rcnn::{Error, FasterRcnnConfig, weights};
use serde_json::Value;

/// Seven boards to train on, one to validate on.
fn boards(folder: &Path) -> (Dataset, Dataset) {
    write_synthetic(folder, 8, &SyntheticConfig { size: 128, seed: 3 }).unwrap();
    let Split { train, validation } = deep_pcb::open(folder, 0).unwrap();
    (train, validation)
}

/// A thin ResNet-18 at 128 pixels, so that an epoch takes seconds.
fn config() -> RunConfig {
    let mut model = FasterRcnnConfig::new(ResNetDepth::ResNet18, 7)
        .with_class_names(&CLASS_NAMES)
        .with_norm(NormKind::Batch)
        .with_trainable_layers(5)
        .with_image_size(128, 128);
    model.fpn_channels = 16;
    model.roi_heads.representation_size = 32;
    model.roi_heads.batch_size_per_image = 32;
    model.rpn.batch_size_per_image = 32;
    let mut config = RunConfig::new(model);
    config.train = TrainConfig {
        epochs: 3,
        batch_size: 2,
        accumulation: 2,
        learning_rate: 0.005,
        schedule: Schedule::Cosine,
        warmup_steps: 2,
        clip_norm: Some(5.0),
        norm_weight_decay: Some(0.0),
        bias_weight_decay: Some(0.0),
        ..TrainConfig::default()
    };
    config
}

/// The lines of `metrics.jsonl` without the times, which no two runs share.
fn metrics(output: &Path) -> Vec<BTreeMap<String, Value>> {
    let text = fs::read_to_string(output.join("metrics.jsonl")).unwrap();
    text.lines()
        .map(|line| {
            let mut row: BTreeMap<String, Value> = serde_json::from_str(line).unwrap();
            row.retain(|name, _| name != "step time" && name != "images/s");
            row
        })
        .collect()
}

fn tensors(output: &Path, file: &str) -> Vec<weights::NamedTensor> {
    let path = output.join("checkpoints").join(file);
    weights::collect(&weights::load(&path, &Device::flex()).unwrap())
}

#[test]
fn a_run_repeats_and_resumes_bit_for_bit_and_leaves_what_it_promises() {
    let folder = tempfile::tempdir().unwrap();
    let (train, validation) = boards(&folder.path().join("boards"));
    let (config, device) = (config(), Device::flex());
    let run = |output: &Path, start: Start, epochs: usize| {
        let mut config = config.clone();
        config.train.epochs = epochs;
        // The cosine depends on the number of epochs, which may change when a run is resumed.
        config.train.schedule = Schedule::MultiStep { milestones: vec![1], gamma: 0.1 };
        fit(&config, start, &train, &validation, output, &device)
    };
    let (whole, again, resumed) =
        (folder.path().join("whole"), folder.path().join("again"), folder.path().join("resumed"));
    let outcome = run(&whole, Start::Random, 3).unwrap();
    run(&again, Start::Random, 3).unwrap();
    run(&resumed, Start::Random, 1).unwrap();
    // As a disk that is full in the second epoch leaves it: a line is cut off.
    let path = resumed.join("metrics.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text + "{\"epoch\":2,\"split\":\"tr").unwrap();
    let file = |name: &str| resumed.join("checkpoints").join(name);
    let first =
        ["last.safetensors", "optimizer-1.bpk"].map(file).map(|path| (fs::read(&path).unwrap(), path));
    run(&resumed, Start::Resume, 2).unwrap();
    // As a kill leaves it while the second epoch's checkpoint is written: its numbers, optimiser and best weights are
    // there, but `last.safetensors` is the first epoch's, and files are half written.
    for (bytes, path) in first {
        fs::write(path, bytes).unwrap();
    }
    for name in ["last.safetensors.tmp", "optimizer-2.bpk.tmp"] {
        fs::write(file(name), "half").unwrap();
    }
    run(&resumed, Start::Resume, 3).unwrap();

    let rows = metrics(&whole);
    let of = |split: &str, step: bool| {
        rows.iter().filter(|row| row["split"] == split && row.contains_key("step") == step).count()
    };
    assert_eq!((of("train", true), of("train", false), of("valid", false)), (3 * 4, 3, 3));
    let names = ["loss", "loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"];
    for row in rows.iter().filter(|row| row["split"] == "train") {
        let value = |name: &str| row[name].as_f64().unwrap();
        assert!(names.iter().all(|name| value(name).is_finite() && value(name) >= 0.0), "{row:?}");
        let sum: f64 = names[1..].iter().map(|name| value(name)).sum();
        assert!((value("loss") - sum).abs() < 1e-6 * sum, "{row:?}");
    }
    assert_eq!(metrics(&again), rows);
    assert_eq!(metrics(&resumed), rows);
    for file in ["last.safetensors", "best.safetensors"] {
        let expected = tensors(&whole, file);
        assert!(tensors(&again, file) == expected && tensors(&resumed, file) == expected, "{file}");
    }

    assert_eq!(RunConfig::load(&whole.join("config.toml"), &[]).unwrap().model, config.model);
    let pictures =
        ["curves.png", "precision_recall.png", "confusion_matrix.png"].map(|name| whole.join(name));
    let sample = whole.join("samples").join(&validation.records[0].name()).with_extension("png");
    for picture in pictures.iter().chain([&sample]) {
        assert!(image::open(picture).unwrap().width() > 128, "{}", picture.display());
    }
    let json: Value = serde_json::from_slice(&fs::read(whole.join("evaluation.json")).unwrap()).unwrap();
    // serde_json reads a number to within its last digit.
    let written = json["coco"]["ap50"].as_f64().unwrap();
    assert!((written - outcome.evaluation.coco.overall.ap50.unwrap()).abs() < 1e-12, "{written}");
    for output in [&whole, &resumed] {
        let checkpoints: Vec<String> = fs::read_dir(output.join("checkpoints"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(checkpoints.len(), 3, "{checkpoints:?}");
    }

    // What is there is never written over.
    let error = run(&whole, Start::Random, 3).unwrap_err().to_string();
    assert!(error.contains("holds a run already"), "{error}");
    let mut other = config.clone();
    other.train.learning_rate = 0.1;
    let error = fit(&other, Start::Resume, &train, &validation, &whole, &device).unwrap_err().to_string();
    assert!(error.contains("train.learning_rate"), "{error}");
    assert_eq!(tensors(&whole, "last.safetensors"), tensors(&again, "last.safetensors"));
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (train, validation) = boards(&folder.path().join("boards"));
    let output = folder.path().join("run");
    let mut config = config();
    config.train.clip_norm = None;
    config.train.accumulation = 1;
    config.train.warmup_steps = 0;
    config.train.epochs = 1;
    config.train.learning_rate = 1e-6;
    fit(&config, Start::Random, &train, &validation, &output, &Device::flex()).unwrap();
    let good = weights::load(&output.join("checkpoints/best.safetensors"), &Device::flex()).unwrap();
    // A rate that no network survives.
    config.train.learning_rate = 1e12;
    config.train.epochs = 8;
    let failed = folder.path().join("failed");
    let error = fit(&config, Start::Weights(Box::new(good)), &train, &validation, &failed, &Device::flex())
        .unwrap_err();
    assert!(matches!(error, Error::NonFinite(_)), "{error:?}");
    let message = error.to_string();
    let named =
        faster_rcnn::Losses::NAMES.iter().any(|name| message.contains(&format!("the loss {name} is")));
    assert!(named && message.contains("_test.jpg") && message.lines().count() == 1, "{message}");
}

#[test]
fn random_weights_need_a_norm_that_learns_and_all_stages() {
    let folder = tempfile::tempdir().unwrap();
    let (train, validation) = boards(&folder.path().join("boards"));
    let mut frozen_norm = config();
    frozen_norm.model.norm = NormKind::FrozenBatch;
    let mut frozen_stage = config();
    frozen_stage.model.trainable_layers = 4;
    for config in [frozen_norm, frozen_stage] {
        let output = folder.path().join("run");
        let error = fit(&config, Start::Random, &train, &validation, &output, &Device::flex()).unwrap_err();
        assert!(error.to_string().contains("model.trainable_layers=5"), "{error}");
        assert!(!output.exists());
    }
}

#[test]
fn stages_that_are_not_trained_keep_their_bits() {
    let folder = tempfile::tempdir().unwrap();
    let (train, validation) = boards(&folder.path().join("boards"));
    let mut config = config();
    config.model.norm = NormKind::FrozenBatch;
    config.model.trainable_layers = 3;
    config.train.epochs = 1;
    config.train.weight_decay = 0.1;
    let start = config.model.init(&Device::flex());
    let before = weights::collect(&start);
    let output = folder.path().join("run");
    fit(&config, Start::Weights(Box::new(start)), &train, &validation, &output, &Device::flex()).unwrap();
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

#[test]
fn early_stopping_ends_a_run_that_does_not_get_better() {
    let folder = tempfile::tempdir().unwrap();
    let (train, validation) = boards(&folder.path().join("boards"));
    let mut config = config();
    config.train.epochs = 9;
    config.train.learning_rate = 0.0;
    config.model.norm = NormKind::Group; // keeps no statistics, so nothing changes
    config.train.early_stopping = Some(2);
    let output = folder.path().join("run");
    fit(&config, Start::Random, &train, &validation, &output, &Device::flex()).unwrap();
    let last = metrics(&output).pop().unwrap();
    assert_eq!(last["epoch"], 3);
}

#[test]
fn the_files_in_configs_are_complete_and_their_commented_keys_can_be_set() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty());
    for path in files {
        let config = RunConfig::load(&path, &[]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let keys = |text: &str| -> Vec<String> {
            text.lines()
                .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
                .map(str::to_string)
                .collect()
        };
        assert_eq!(keys(&text), keys(&config.to_toml()), "{}", path.display());

        let uncommented: String = text
            .lines()
            .map(|line| {
                let setting = line.strip_prefix("# ").filter(|rest| {
                    rest.split_once(" = ")
                        .is_some_and(|(key, _)| key.chars().all(|c| c.is_lowercase() || c == '_'))
                });
                setting.unwrap_or(line).to_string() + "\n"
            })
            .collect();
        assert_ne!(uncommented, text);
        let temporary = tempfile::tempdir().unwrap();
        let changed = temporary.path().join("changed.toml");
        fs::write(&changed, &uncommented).unwrap();
        assert_ne!(RunConfig::load(&changed, &[]).unwrap(), config);
    }
}
