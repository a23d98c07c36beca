//! How a run stops: a loss that is not finite, no better epoch, an image that is gone.

use std::error::Error as _;
use std::fs;
use std::io;

use faster_rcnn::NormKind;
use faster_rcnn::train::{Run, RunInfo, Start};
use faster_rcnn::{Error, Losses};

use super::{boards, config, metrics, validations, with_epochs};

#[test]
fn a_loss_that_is_not_finite_stops_the_run_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = boards(&folder.path().join("boards"));
    let output = folder.path().join("run");
    let mut config = with_epochs(1);
    config.train.clip_norm = None;
    config.train.accumulation = 1;
    config.train.warmup_steps = 0;
    config.train.learning_rate = 1e-6;
    Run::new(config.clone(), data.clone()).fit(&output).unwrap();
    // A rate that no network survives.
    config.train.learning_rate = 1e12;
    config.train.epochs = 8;
    let start = Start::weights(output.join("checkpoints/best.safetensors"));
    let run = Run::new(config, data).start(start);
    let error = run.fit(folder.path().join("failed")).unwrap_err();
    assert!(matches!(error, Error::NonFinite(_)), "{error:?}");
    let message = error.to_string();
    let named = Losses::NAMES.iter().any(|name| message.contains(&format!("the loss {name} is")));
    assert!(named && message.contains("_test.jpg") && message.lines().count() == 1, "{message}");
}

#[test]
fn early_stopping_ends_a_run_that_does_not_get_better_also_where_it_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let data = boards(&folder.path().join("boards"));
    let mut config = with_epochs(9);
    config.train.learning_rate = 0.0;
    config.model.norm = NormKind::Group; // keeps no statistics, so nothing changes
    config.train.early_stopping = Some(2);
    let output = folder.path().join("run");
    let outcome = Run::new(config.clone(), data.clone()).fit(&output).unwrap();
    assert_eq!(metrics(&output).pop().unwrap()["epoch"], 3);
    assert_eq!(outcome.best.epoch, 1);
    let written = fs::read(output.join("metrics.jsonl")).unwrap();
    let resumed = Run::new(config.clone(), data.clone()).start(Start::Resume).fit(&output).unwrap();
    assert_eq!((resumed.best, resumed.evaluation), (outcome.best, outcome.evaluation));
    assert_eq!(fs::read(output.join("metrics.jsonl")).unwrap(), written);
    // More patience, which a resumed run may have, makes it go on.
    config.train.early_stopping = Some(3);
    Run::new(config, data).start(Start::Resume).fit(&output).unwrap();
    assert_eq!(metrics(&output).pop().unwrap()["epoch"], 4);
    assert!(fs::read(output.join("metrics.jsonl")).unwrap().starts_with(&written));
}

#[test]
fn without_objects_to_validate_on_the_ap_is_unknown_and_the_last_epoch_is_the_best() {
    let folder = tempfile::tempdir().unwrap();
    let mut data = boards(&folder.path().join("boards"));
    data.validation.records[0].annotations.clear();
    let mut config = with_epochs(2);
    config.train.early_stopping = Some(1);
    let output = folder.path().join("run");
    let outcome = Run::new(config.clone(), data.clone()).fit(&output).unwrap();
    for row in validations(&output) {
        assert!(["ap", "ap50", "map33"].iter().all(|name| row[*name].is_null()), "{row:?}");
    }
    assert_eq!((outcome.best.epoch, outcome.best.ap), (2, None));
    assert!(outcome.best.to_string().contains("the AP is unknown"), "{}", outcome.best);
    config.train.epochs = 3;
    let outcome = Run::new(config, data).start(Start::Resume).fit(&output).unwrap();
    let info = RunInfo::read(output.join("checkpoints/best.safetensors")).unwrap().unwrap();
    assert_eq!((info.epoch, info.best, outcome.best.epoch), (3, outcome.best, 3));
}

#[test]
fn an_image_that_is_gone_is_named_with_its_cause() {
    let folder = tempfile::tempdir().unwrap();
    let data = boards(&folder.path().join("boards"));
    let gone = data.train.records[3].image.path().to_path_buf();
    fs::remove_file(&gone).unwrap();
    let error = Run::new(config(), data).fit(folder.path().join("run")).unwrap_err();
    let text = format!("{error:#}");
    assert_eq!(text.matches(&*gone.to_string_lossy()).count(), 1, "{text}");
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
            return;
        }
        cause = error.source();
    }
    panic!("the cause is not kept: {text}");
}
