//! `faster-rcnn tables`, and training from its tables.

#[path = "common/program.rs"]
mod program;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use faster_rcnn::data::{self, Dataset};
use faster_rcnn::train::{RunConfig, TrainConfig};
use serde_json::Value;

use program::{Bench, assert_no_temporary_files, tiny};

/// A data set without its bytes, which are elsewhere.
fn described(data: &Dataset) -> Vec<String> {
    let describe = |record: &data::Record| {
        let data::Record { name, size, annotations, reference, group, side, .. } = record;
        format!("{name} {size:?} {annotations:?} {} {group:?} {side:?}", reference.is_some())
    };
    data.records.iter().map(describe).collect()
}

/// The lines of `metrics.jsonl` without the times, which no two runs share.
fn metrics(path: &Path) -> Vec<BTreeMap<String, Value>> {
    let text = fs::read_to_string(path).unwrap();
    let mut lines: Vec<BTreeMap<_, _>> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &mut lines {
        line.retain(|name: &String, _| name != "step time" && name != "images/s");
    }
    lines
}

#[test]
fn training_from_tables_is_training_from_files() {
    let bench = Bench::new(6);
    let split = data::open(bench.path("boards")).unwrap().sides(0);
    let (training, held_out) = (split.train.records.len(), split.validation.records.len());
    let said = bench.succeed("tables --data boards --output tables");
    assert_eq!(said, format!("tables: {training} images to train on, {held_out} held out\n"));
    let mut names: Vec<_> =
        fs::read_dir(bench.path("tables")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let expected = ["LABELS_TRAIN", "test_data", "train_images_labels", "training_data"];
    assert_eq!(names, expected.map(|name| OsString::from(format!("{name}.parquet"))));

    let (files, tables) =
        (data::open(bench.path("boards")).unwrap(), data::open(bench.path("tables")).unwrap());
    assert_eq!(described(&files), described(&tables));
    assert_eq!((files.class_names, files.corners), (tables.class_names, tables.corners));
    for (file, cell) in files.records.iter().zip(&tables.records) {
        assert_eq!(file.image.read().unwrap(), cell.image.read().unwrap());
        let [file, cell] = [file, cell].map(|record| record.reference.as_ref().unwrap().read().unwrap());
        assert_eq!(file, cell);
    }
    assert_eq!(bench.succeed("check --data tables"), "tables: no faults\n");

    let mut config = RunConfig::new(tiny());
    config.train = TrainConfig { epochs: 2, warmup_steps: 2, sample_pictures: 1, ..config.train };
    bench.write("tiny.toml", config.to_toml());
    for data in ["boards", "tables"] {
        bench.succeed(&format!("train --config tiny.toml --data {data} --output run_{data} --device cpu"));
    }
    let path = |data: &str, file: &str| bench.path(&format!("run_{data}/{file}"));
    let [files, tables] = ["boards", "tables"].map(|data| metrics(&path(data, "metrics.jsonl")));
    assert_eq!(files, tables);
    assert!(files.iter().any(|line| line.contains_key("step")), "{files:?}");
    let last = |data| fs::read(path(data, "checkpoints/last.safetensors")).unwrap();
    assert_eq!(last("boards"), last("tables"));

    // A run goes on with the same data in the other form.
    bench.succeed("train --config tiny.toml --data tables --output run_boards --resume --set train.epochs=3");
    assert!(bench.fail("tables --data boards --output tables").contains("tables: the folder is not empty"));
    assert_no_temporary_files(bench.folder.path());
}

#[test]
fn the_labels_alone_are_a_data_set_beside_the_images() {
    let bench = Bench::new(4);
    bench.succeed("tables --data boards --output tables");
    fs::copy(bench.path("tables/LABELS_TRAIN.parquet"), bench.path("boards/labels.parquet")).unwrap();
    assert!(
        bench.fail("check --data boards").contains("may be of several formats, say which: deep-pcb, parquet")
    );
    let files = data::open(bench.path("tables")).unwrap();
    let labels = data::open(bench.path("boards/labels.parquet")).unwrap();
    assert_eq!(files.records.len(), labels.records.len());
    for (file, label) in files.records.iter().zip(&labels.records) {
        assert_eq!((&file.name, file.size), (&label.name, label.size));
        let names = |data: &Dataset, record: &data::Record| {
            let name =
                |object: &faster_rcnn::Annotation| (object.xyxy, data.class_names[object.label - 1].clone());
            record.annotations.iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(names(&files, file), names(&labels, label));
    }
}
