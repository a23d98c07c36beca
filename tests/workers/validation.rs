//! Validation by all workers.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use faster_rcnn::NormKind;
use faster_rcnn::data::Split;
use faster_rcnn::structures::Annotation;
use faster_rcnn::train::{Compute, Run, RunConfig};
use faster_rcnn::workers::{LocalWorkers, connect};
use faster_rcnn::{FasterRcnn, Predictor};
use serde_json::Value;

use super::{PROGRAM, boards, config};

/// What validation gave, in the last line of `metrics.jsonl`.
fn validated(output: &Path) -> [Option<f64>; 3] {
    let text = fs::read_to_string(output.join("metrics.jsonl")).unwrap();
    let row: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(row["split"], "valid");
    ["ap", "ap50", "map33"].map(|name| row[name].as_f64())
}

/// What a detector finds is what the images show, but for every fourth object.
fn annotate(data: &mut Split, detector: FasterRcnn) {
    let predictor = Predictor::new(detector);
    for record in &mut data.validation.records {
        let found = predictor.detect(&record.load().unwrap()).unwrap();
        let objects = found.iter().enumerate().filter(|(index, _)| index % 4 != 3);
        record.annotations = objects.map(|(_, object)| Annotation::new(object.xyxy, object.label)).collect();
    }
}

/// Five images for three workers. Nothing is learned, so that one process has the same weights.
#[test]
fn all_workers_validate_as_one_process_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut data = boards(&folder.path().join("boards"), 11);
    let moved = data.train.records.split_off(6);
    data.validation.records.extend(moved);
    data.validation.records.truncate(5);
    let settings = |batch_size| -> RunConfig {
        let mut config = config(batch_size, 1);
        config.train.learning_rate = 0.0;
        config
    };
    let workers = LocalWorkers::start(Path::new(PROGRAM), 3).unwrap();
    let team = || Compute::from(connect(workers.addresses(), Some(workers.token())).unwrap());
    let run = |name: &str, config, data: &Split, compute| {
        let output = folder.path().join(name);
        (Run::new(config, data.clone()).on(compute).fit(&output).unwrap(), validated(&output))
    };
    let (outcome, _) = run("first", settings(1), &data, team());
    annotate(&mut data, outcome.model);
    let (outcome, found) = run("second", settings(1), &data, team());
    // The best weights are evaluated by the first worker alone.
    let all = &outcome.evaluation;
    assert_eq!(found, [all.coco.overall.ap, all.coco.overall.ap50, all.deep_pcb.map]);
    assert!(found[0].unwrap() > 0.5, "{found:?}");
    let (_, expected) = run("one", settings(3), &data, Device::flex().into());
    assert_eq!(found, expected);

    let mut refused = settings(1);
    refused.model.norm = NormKind::Batch;
    let error = Run::new(refused, data).on(team()).fit(folder.path().join("batch")).unwrap_err();
    assert!(error.to_string().contains("model.norm=batch"), "{error}");
}
