//! A run repeats, and a resumed run is what an unbroken one is, or is refused.

use std::fs;

use burn::tensor::Device;
use faster_rcnn::NormKind;
use faster_rcnn::data::Loader;
use faster_rcnn::train::{Optimizer, Run, RunInfo, Schedule, Start, Team};

use super::{boards, config, metrics, tensors, validations, with_epochs};

#[test]
fn a_run_repeats_and_a_killed_one_resumes_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let data = boards(&folder.path().join("boards"));
    let [whole, again, resumed] = ["whole", "again", "resumed"].map(|name| folder.path().join(name));
    Run::new(with_epochs(3), data.clone()).fit(&whole).unwrap();
    Run::new(with_epochs(3), data.clone()).fit(&again).unwrap();
    let resume = |epochs: usize| {
        Run::new(with_epochs(epochs), data.clone()).start(Start::Resume).fit(&resumed).unwrap();
    };

    Run::new(with_epochs(1), data.clone()).fit(&resumed).unwrap();
    // As a disk that is full in the second epoch leaves it: a line is cut off.
    let path = resumed.join("metrics.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.clone() + "{\"epoch\":2,\"split\":\"tr").unwrap();
    let file = |name: &str| resumed.join("checkpoints").join(name);
    let first =
        ["last.safetensors", "optimizer-1.bpk"].map(file).map(|path| (fs::read(&path).unwrap(), path));
    resume(2);
    assert!(fs::read_to_string(&path).unwrap().starts_with(&text), "what is written stays, byte for byte");
    // As a kill leaves it while the second epoch's checkpoint is written: its numbers, optimiser and best
    // weights are there, but `last.safetensors` is the first epoch's, and there are temporary files.
    for (bytes, path) in first {
        fs::write(path, bytes).unwrap();
    }
    for name in [".last.safetensors.aBcD.safetensors", ".optimizer-2.bpk.aBcD.bpk"] {
        fs::write(file(name), "half").unwrap();
    }
    resume(3);

    assert_eq!(metrics(&again), metrics(&whole));
    assert_eq!(metrics(&resumed), metrics(&whole));
    assert!(fs::read_to_string(&path).unwrap().starts_with(&text));
    for file in ["last.safetensors", "best.safetensors"] {
        let expected = tensors(&whole, file);
        assert!(tensors(&again, file) == expected && tensors(&resumed, file) == expected, "{file}");
    }
    for output in [&whole, &resumed] {
        let checkpoints: Vec<String> = fs::read_dir(output.join("checkpoints"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(checkpoints.len(), 3, "{checkpoints:?}");
    }
    assert_eq!(
        fs::read_to_string(resumed.join("config.toml")).unwrap(),
        fs::read_to_string(whole.join("config.toml")).unwrap()
    );
}

/// Wherever the run is when an image cannot be read: it goes on after the last step that has a checkpoint.
#[test]
fn a_run_goes_on_within_an_epoch_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let data = boards(&folder.path().join("boards"));
    let [whole, broken] = ["whole", "broken"].map(|name| folder.path().join(name));
    let config = |checkpoint_steps| {
        let mut config = with_epochs(3);
        config.train.batch_size = 1;
        config.train.ema_decay = Some(0.9);
        config.train.checkpoint_steps = checkpoint_steps;
        config
    };
    Run::new(config(None), data.clone()).fit(&whole).unwrap();

    // The steps of two batches each; the last batch is a step of its own. A checkpoint after each step.
    let mut positions = Vec::new();
    for record in &data.train.records {
        let (path, hidden) = (record.image.path(), folder.path().join("hidden"));
        fs::rename(path, &hidden).unwrap();
        let last = broken.join("checkpoints/last.safetensors");
        let start = if last.exists() { Start::Resume } else { Start::Random };
        let error = Run::new(config(Some(1)), data.clone()).start(start).fit(&broken).unwrap_err();
        assert!(format!("{error:#}").contains(&*path.to_string_lossy()), "{error:#}");
        fs::rename(&hidden, path).unwrap();
        if let Ok(Some(info)) = RunInfo::read(&last) {
            positions.push((info.epoch, info.batches));
        }
    }
    // As a power failure may leave it.
    let path = broken.join("metrics.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.clone() + "{\"epoch\":3,\"split\":\"tr").unwrap();
    Run::new(config(Some(1)), data.clone()).start(Start::Resume).fit(&broken).unwrap();
    println!("went on after (epoch, batches) {positions:?}");
    assert!(positions.is_sorted() && positions.iter().any(|(_, batches)| *batches > 0), "{positions:?}");

    assert_eq!(metrics(&broken), metrics(&whole));
    for file in ["last.safetensors", "best.safetensors", "average-3.safetensors"] {
        assert!(tensors(&broken, file) == tensors(&whole, file), "{file}");
    }
    let checkpoints = fs::read_dir(broken.join("checkpoints")).unwrap().count();
    assert_eq!(checkpoints, 4);
}

#[test]
fn a_run_within_an_epoch_needs_its_numbers_and_as_many_devices() {
    let folder = tempfile::tempdir().unwrap();
    let data = boards(&folder.path().join("boards"));
    let output = folder.path().join("run");
    let mut config = with_epochs(1);
    config.model.norm = NormKind::Group;
    config.train.checkpoint_steps = Some(1);
    // The last of four batches is broken; two batches are a step.
    let loader = Loader::in_order(&data.train.records, 2, 1).shuffled(&config.augment, config.train.seed, 1);
    let last_name = loader.next_epoch().last().unwrap().unwrap().names.remove(0);
    let gone = data.train.records.iter().find(|record| record.name == last_name).unwrap().image.path();
    let bytes = fs::read(gone).unwrap();
    fs::remove_file(gone).unwrap();
    let error = Run::new(config.clone(), data.clone()).fit(&output).unwrap_err();
    fs::write(gone, bytes).unwrap();
    let last = output.join("checkpoints/last.safetensors");
    assert!(last.exists(), "{error:#}");
    let info = RunInfo::read(&last).unwrap().unwrap();
    assert_eq!((info.epoch, info.batches, info.step, info.devices), (0, 2, 1, 1));

    let path = output.join("metrics.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let resume = || Run::new(config.clone(), data.clone()).start(Start::Resume);
    let team = Team::new([Device::flex(), Device::flex()]);
    let error = resume().on(team).fit(&output).unwrap_err().to_string();
    assert!(error.contains("within epoch 1, which 1 devices or workers began: it needs"), "{error}");
    fs::write(&path, text.lines().next().unwrap().to_string() + "\n").unwrap();
    let error = resume().fit(&output).unwrap_err().to_string();
    assert!(error.ends_with("metrics.jsonl: the numbers of step 2 of epoch 1 are missing"), "{error}");
    fs::write(&path, text).unwrap();
    resume().fit(&output).unwrap();
}

#[test]
fn a_run_is_not_resumed_with_other_settings_or_images() {
    let folder = tempfile::tempdir().unwrap();
    let data = boards(&folder.path().join("boards"));
    let output = folder.path().join("run");
    Run::new(with_epochs(1), data.clone()).fit(&output).unwrap();
    let before = fs::read(output.join("metrics.jsonl")).unwrap();

    let error = Run::new(with_epochs(2), data.clone()).fit(&output).unwrap_err().to_string();
    assert!(error.contains("holds a run already"), "{error}");

    let mut other_settings = config();
    other_settings.train.learning_rate = 0.1;
    other_settings.train.schedule = Schedule::Cosine;
    let mut fewer = data.clone();
    fewer.train.records.pop();
    let mut another_order = data.clone();
    another_order.train.records.reverse();
    let mut other_objects = data.clone();
    other_objects.validation.records[0].annotations.pop();
    let changed = data.validation.records[0].name.clone();
    for (config, data, expected) in [
        (other_settings, data.clone(), "train.learning_rate, train.schedule"),
        (with_epochs(2), fewer, "began with 7 training images, there are 6 now"),
        (with_epochs(2), another_order, "began with other training images: image 1 is"),
        (with_epochs(2), other_objects, &format!("began with other validation images: image 1 is {changed}")),
    ] {
        let run = Run::new(config, data).start(Start::Resume);
        let error = run.fit(&output).unwrap_err().to_string();
        let expected = expected.replace(&changed, "");
        assert!(error.contains("last.safetensors: ") && error.contains(&expected), "{error}");
    }
    assert_eq!(fs::read(output.join("metrics.jsonl")).unwrap(), before);
}

/// With AdamW, whose state has two moments, and an average of the weights beside them.
#[test]
fn averaged_weights_are_validated_kept_and_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let data = boards(&folder.path().join("boards"));
    let [whole, resumed] = ["whole", "resumed"].map(|name| folder.path().join(name));
    let averaged = |epochs: usize| {
        let mut config = with_epochs(epochs);
        config.train.optimizer = Optimizer::AdamW;
        config.train.learning_rate = 1e-3;
        config.train.ema_decay = Some(0.9);
        config
    };
    let outcome = Run::new(averaged(2), data.clone()).fit(&whole).unwrap();
    Run::new(averaged(1), data.clone()).fit(&resumed).unwrap();
    Run::new(averaged(2), data.clone()).start(Start::Resume).fit(&resumed).unwrap();

    assert_eq!(metrics(&resumed), metrics(&whole));
    let [last, average] = ["last.safetensors", "average-2.safetensors"].map(|file| tensors(&whole, file));
    assert!(last != average);
    for (file, expected) in [("last.safetensors", &last), ("average-2.safetensors", &average)] {
        assert!(tensors(&resumed, file) == *expected, "{file}");
    }
    assert!(!whole.join("checkpoints/average-1.safetensors").exists());
    // What is validated is what is kept: the best epoch's average.
    let best = tensors(&whole, "best.safetensors");
    assert!(best != last);
    assert!(outcome.best.epoch != 2 || best == average);
    let aps: Vec<Option<f64>> = validations(&whole).iter().map(|line| line["ap"].as_f64()).collect();
    assert_eq!(outcome.evaluation.coco.overall.ap, aps[outcome.best.epoch - 1]);

    let error = Run::new(with_epochs(3), data).start(Start::Resume).fit(&resumed).unwrap_err().to_string();
    assert!(error.contains("train.ema_decay") && error.contains("train.optimizer"), "{error}");
}
