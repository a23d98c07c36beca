//! The command line with data sets of other formats: convert, train, evaluate and predict.

#[path = "common/program.rs"]
mod program;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use faster_rcnn::data::{self, Format};
use serde_json::Value;

use program::{Bench, text};

#[test]
fn a_converted_data_set_trains_evaluates_and_predicts_without_settings() {
    let bench = Bench::new(6);
    for format in ["coco", "voc", "yolo"] {
        let said = bench.succeed(&format!("convert --data boards --to {format} --output in-{format}"));
        assert!(said.starts_with(&format!("in-{format}: 6 images, ")), "{said}");
        assert_eq!(bench.succeed(&format!("check --data in-{format}")), format!("in-{format}: no faults\n"));
    }
    // Back again: the same labels, byte for byte.
    bench.succeed("convert --data in-yolo --to voc --output again-voc");
    bench.succeed("convert --data again-voc --to deep-pcb --output again");
    let labels = "group00000/00000_not/00000000.txt";
    let read = |folder: &str| fs::read_to_string(bench.path(folder).join(labels)).unwrap();
    assert_eq!(read("again"), read("boards"));

    let small = "--set model.backbone=resnet18 --set model.fpn_channels=16 --set train.epochs=1 \
        --set model.roi_heads.representation_size=16";
    let output = bench.run(&format!("train --data in-coco --output run {small}"));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let config = fs::read_to_string(bench.path("run/config.toml")).unwrap();
    for line in ["norm = \"group\"", "min_size = 128", "clip_norm = 10.0"] {
        assert!(config.contains(line), "{config}");
    }
    let best = "run/checkpoints/best.safetensors";
    bench.succeed(&format!("evaluate --weights {best} --data in-voc --json voc.json"));
    bench.succeed(&format!("evaluate --weights {best} --data boards --json boards.json"));
    assert_eq!(bench.json("voc.json"), bench.json("boards.json"));
    let output = bench.run("train --data in-coco --output run --resume --set train.epochs=2");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn detections_are_written_in_the_forms_of_others() {
    let bench = Bench::new(3);
    bench.succeed("convert --data boards --to coco --output in-coco");
    let ids = "in-coco/annotations/instances_train.json";
    let images = "in-coco/images/train";
    let said = bench.succeed(&format!(
        "predict --weights tiny.safetensors --json found.json --coco results.json --coco-ids {ids} \
         --csv found.csv --yolo labels --voc xml {images}"
    ));
    assert_eq!(said, "");
    let found = bench.json("found.json");
    let found = found.as_array().unwrap();
    assert_eq!(found.len(), 2);
    let detections: Vec<(&Value, &Value)> = found
        .iter()
        .flat_map(|image| image["detections"].as_array().unwrap().iter().map(move |found| (image, found)))
        .collect();
    assert!(!detections.is_empty());

    let known = bench.json(ids);
    let results = bench.json("results.json");
    let results = results.as_array().unwrap();
    assert_eq!(results.len(), detections.len());
    for (result, (image, found)) in results.iter().zip(&detections) {
        let id = &result["image_id"];
        let named = known["images"].as_array().unwrap().iter().find(|image| image["id"] == *id).unwrap();
        assert!(image["image"].as_str().unwrap().ends_with(named["file_name"].as_str().unwrap()));
        assert_eq!((&result["category_id"], &result["score"]), (&found["label"], &found["score"]));
        let corners: Vec<f64> =
            found["box"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        let bbox: Vec<f64> = result["bbox"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        assert!((bbox[0] + bbox[2] - corners[2]).abs() < 1e-3 && bbox[0] == corners[0], "{result} {found}");
    }
    let csv = fs::read_to_string(bench.path("found.csv")).unwrap();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "image,width,height,x1,y1,x2,y2,label,name,score");
    assert_eq!(lines.len(), detections.len() + 1);

    // What is written as labels is what was found: read as a data set, it is the same boxes.
    fs::create_dir_all(bench.path("again/images")).unwrap();
    for image in found {
        let path = Path::new(image["image"].as_str().unwrap());
        fs::copy(bench.path("").join(path), bench.path("again/images").join(path.file_name().unwrap()))
            .unwrap();
    }
    fs::rename(bench.path("xml"), bench.path("again/Annotations")).unwrap();
    let data = Format::Voc.open(bench.path("again")).unwrap();
    assert_eq!(data.records.iter().map(|record| record.annotations.len()).sum::<usize>(), detections.len());
    for (record, image) in data.records.iter().zip(found) {
        for (object, found) in record.annotations.iter().zip(image["detections"].as_array().unwrap()) {
            let corners =
                found["box"].as_array().unwrap().iter().map(|corner| corner.as_f64().unwrap() as f32);
            assert_eq!(object.xyxy.to_vec(), corners.collect::<Vec<_>>());
            assert_eq!(data.class_names[object.label - 1], found["name"].as_str().unwrap());
        }
    }
    let yolo = fs::read_to_string(bench.path("labels/00000000_test.txt")).unwrap();
    let first: Vec<f64> =
        yolo.lines().next().unwrap().split(' ').map(|field| field.parse().unwrap()).collect();
    assert_eq!((first.len(), first[0] + 1.0), (6, found[0]["detections"][0]["label"].as_f64().unwrap()));
}

#[test]
fn images_may_be_folders_patterns_and_lists() {
    let bench = Bench::new(3);
    let count = |arguments: &str| {
        let found = bench.succeed(&format!("predict --weights tiny.safetensors {arguments}"));
        serde_json::from_str::<Value>(&found).unwrap().as_array().unwrap().len()
    };
    assert_eq!(count("boards"), 6, "boards and their templates");
    assert_eq!(count("boards/group00000/*/*_test.jpg"), 3);
    assert_eq!(count("boards/**/*_temp.jpg"), 3);
    bench.write(
        "boards/some.txt",
        "group00000/00000/00000000_test.jpg\n\ngroup00000/00000/00000020_test.jpg\n",
    );
    assert_eq!(count("--list boards/some.txt"), 2);
    assert_eq!(count(&format!("--list boards/some.txt {}", bench.image(1))), 3);
    bench.write("a[1].jpg", fs::read(bench.path(&bench.image(0))).unwrap());
    assert_eq!(count("a[1].jpg"), 1, "a file is no pattern");
    for (arguments, message) in [
        ("boards/*.png", "boards/*.png: no file has such a name"),
        ("boards/[", "is no pattern"),
        ("--list boards/none.txt", "none.txt"),
        ("empty", "empty: holds no images"),
    ] {
        fs::create_dir_all(bench.path("empty")).unwrap();
        let found = bench.fail(&format!("predict --weights tiny.safetensors {arguments}"));
        assert!(found.contains(message), "{found}");
    }
}

#[test]
fn what_cannot_be_converted_leaves_nothing() {
    let bench = Bench::new(3);
    for (arguments, message) in [
        ("--data nowhere --to coco", "nowhere"),
        ("--data boards --to coco --images embed", "coco keeps images in files: copy them or link to them"),
        ("--data boards --format voc --to coco", "holds no VOC data set: expected a folder `Annotations`"),
        ("--data boards --list boards/test.txt --list-x --to coco", ""),
    ] {
        if message.is_empty() {
            assert_eq!(bench.run(&format!("convert {arguments} --output out")).status.code(), Some(2));
        } else {
            let found = bench.fail(&format!("convert {arguments} --output out"));
            assert!(found.contains(message), "{found}");
        }
        assert!(!bench.path("out").exists());
    }
    assert!(
        bench.fail("convert --data boards --to yolo --output boards").contains("the folder is not empty")
    );
    bench.succeed("convert --data boards --list boards/test.txt --to yolo --output out");
    assert_eq!(data::open(bench.path("out")).unwrap().records.len(), 1);
    bench.write("boards/group00000/00000_not/00000010.txt", "1 2 3\n");
    let message = bench.fail("convert --data boards --to yolo --output more");
    assert!(message.contains("00000010.txt:1: expected `x1 y1 x2 y2 class`"), "{message}");
    program::assert_no_temporary_files(bench.folder.path());
    let output = bench.run("check --data boards --json");
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let faults = found["faults"].as_array().unwrap();
    assert!(faults.len() == 1 && found["warnings"].is_array(), "{found}");
}

/// Class and corners of a box.
type Known = (String, f32, f32, f32, f32);

/// `tests/reference/formats.py --fixtures` has supervision write them.
#[test]
fn what_other_programs_write_is_read() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats");
    let expected = fs::read(fixtures.join("expected.json")).unwrap();
    let expected: BTreeMap<String, Vec<Known>> = serde_json::from_slice(&expected).unwrap();
    assert!(expected.values().any(|boxes| !boxes.is_empty()));
    for format in ["coco", "voc", "yolo"] {
        let path = fixtures.join(format);
        assert_eq!(Format::of(&path).unwrap().name(), format);
        let data = data::open(path).unwrap();
        assert_eq!(data.records.len(), expected.len(), "{format}");
        for record in &data.records {
            let known = &expected[&record.name];
            assert_eq!(record.annotations.len(), known.len(), "{format}: {}", record.name);
            for (object, (class, x1, y1, x2, y2)) in record.annotations.iter().zip(known) {
                assert_eq!(data.class_names[object.label - 1], *class);
                let close = object.xyxy.iter().zip([x1, y1, x2, y2]).all(|(a, b)| (a - b).abs() < 1e-2);
                assert!(close, "{format}: {object:?} {known:?}");
            }
        }
    }
}
