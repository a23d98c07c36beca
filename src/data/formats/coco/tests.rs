//! COCO's JSON as it comes.

use std::fs;
use std::path::{Path, PathBuf};

use image::GrayImage;
use serde_json::{Value, json};

use crate::data::dataset::Side;
use crate::data::formats::Format;
use crate::structures::Annotation;

/// A folder with images of 40 x 30 pixels and files of JSON.
fn folder(images: &[&str], files: &[(&str, Value)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let create = |name: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    for image in images {
        GrayImage::new(40, 30).save(create(image)).unwrap();
    }
    for (name, json) in files {
        fs::write(create(name), json.to_string()).unwrap();
    }
    folder
}

fn image(id: i64, name: &str) -> Value {
    json!({"id": id, "file_name": name, "width": 40, "height": 30})
}

fn messages(path: &Path) -> (Vec<String>, Vec<String>) {
    let (_, report) = Format::Coco.read(path).unwrap();
    let text = |errors: Vec<crate::error::Error>| errors.iter().map(|error| format!("{error:#}")).collect();
    (text(report.faults), text(report.warnings))
}

#[test]
fn ids_have_gaps_and_any_order_and_masks_are_left_alone() {
    let file = json!({
        "info": {"year": 2017}, "licenses": [],
        "annotations": [
            {"id": 9, "image_id": 70, "category_id": 90, "bbox": [1.5, 2, 10, 20.25], "area": 33.5, "iscrowd": 0,
             "segmentation": [[1, 2, 3, 4, 5, 6]]},
            {"id": 2, "image_id": 3, "category_id": 1, "bbox": [0, 0, 40, 30], "area": 7, "iscrowd": 1,
             "segmentation": {"counts": [1, 2], "size": [30, 40]}},
            {"id": 5, "image_id": 70, "category_id": 18, "bbox": [5, 5, 5, 5], "iscrowd": true},
            {"id": 6, "image_id": 70, "category_id": 18, "bbox": [5, 5, 0, 5]},
        ],
        "images": [image(70, "b.png"), image(3, "a.png"), image(4, "empty.png")],
        "categories": [
            {"id": 90, "name": "short", "supercategory": "x"}, {"id": 1, "name": "open"}, {"id": 18, "name": "spur"}
        ],
    });
    let folder = folder(
        &["val2017/a.png", "val2017/b.png", "val2017/empty.png"],
        &[("annotations/instances_val2017.json", file), ("annotations/captions_val2017.json", json!({}))],
    );
    let data = Format::Coco.open(folder.path()).unwrap();
    assert_eq!(data.class_names, ["open", "spur", "short"]);
    let names: Vec<&str> = data.records.iter().map(|record| record.name.as_str()).collect();
    assert_eq!(names, ["b.png", "a.png", "empty.png"]);
    assert!(
        data.records.iter().all(|record| record.side == Some(Side::Validation) && record.size == (30, 40))
    );
    let first = Annotation { area: Some(33.5), ..Annotation::new([1.5, 2.0, 11.5, 22.25], 3) };
    let second = Annotation { crowd: true, ..Annotation::new([5.0, 5.0, 10.0, 10.0], 2) };
    assert_eq!(data.records[0].annotations, [first, second]);
    let crowd = Annotation { crowd: true, area: Some(7.0), ..Annotation::new([0.0, 0.0, 40.0, 30.0], 1) };
    assert_eq!(data.records[1].annotations, [crowd]);
    assert!(data.records[2].annotations.is_empty());
    let (faults, warnings) = messages(folder.path());
    assert!(faults.is_empty() && warnings.len() == 1, "{faults:?} {warnings:?}");
    assert!(warnings[0].ends_with("val2017.json: annotation 6: left out: its box is 0 wide and 5 high"));
}

#[test]
fn images_are_found_where_people_put_them() {
    let file = |name: &str| json!({"images": [image(1, name)], "categories": [{"id": 1, "name": "x"}]});
    for (image, json, side) in [
        ("images/a.png", "annotations/instances_default.json", None),
        ("images/train/a.png", "annotations/instances_train.json", Some(Side::Train)),
        ("a.png", "boards.json", None),
        ("images/a.png", "_annotations.coco.json", None),
        ("test/a.png", "test/_annotations.coco.json", Some(Side::Test)),
        ("valid/a.png", "valid/_annotations.coco.json", Some(Side::Validation)),
        ("train2017/a.png", "annotations/person_train2017.json", Some(Side::Train)),
    ] {
        // A name with a folder of its own.
        let name = if json.contains("person") { "train2017/a.png" } else { "a.png" };
        let folder = folder(&[image], &[(json, file(name))]);
        let data = Format::Coco.open(folder.path()).unwrap();
        assert_eq!(data.records[0].side, side, "{json}");
        assert_eq!(data.records[0].load().unwrap().dimensions(), (40, 30), "{json}");
        let alone = Format::Coco.open(folder.path().join(json)).unwrap();
        assert_eq!(alone.records[0].name, data.records[0].name);
        assert_eq!(Format::of(folder.path()).unwrap(), Format::Coco);
        assert_eq!(Format::of(folder.path().join(json)).unwrap(), Format::Coco);
    }
}

#[test]
fn every_fault_is_named_by_annotation_or_image() {
    let annotation = |id: i64, image: i64, category: i64, bbox: Value| json!({"id": id, "image_id": image, "category_id": category, "bbox": bbox});
    let file = json!({
        "images": [
            image(1, "a.png"), image(1, "a.png"), image(2, "gone.png"), image(3, "../a.png"),
            json!({"id": 4, "file_name": "a.png", "width": 0, "height": 30}),
        ],
        "annotations": [
            annotation(1, 9, 1, json!([1, 1, 2, 2])),
            annotation(2, 1, 7, json!([1, 1, 2, 2])),
            annotation(3, 1, 1, json!([])),
            annotation(4, 1, 1, json!([30, 1, 11, 2])),
            annotation(5, 1, 1, json!([3, 1, -2, 2])),
            json!({"id": 6, "image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], "area": -1}),
        ],
        "categories": [{"id": 1, "name": "x"}],
    });
    let folder = folder(&["a.png"], &[("a.json", file)]);
    let path = folder.path().join("a.json");
    let (faults, _) = messages(&path);
    let place = format!("{}: ", path.display());
    let expected = [
        "two images have the id 1",
        "annotation 1: image 9 is not among the file's images",
        "annotation 2: category 7 is not among the file's categories",
        "annotation 3: has no `bbox`",
        "annotation 4: box `30 1 41 3` lies outside the image (height 30, width 40)",
        "annotation 5: box `3 1 1 3` is empty: x1 < x2 and y1 < y2 must hold",
        "annotation 6: area -1 is negative",
        "image 2: there is no file",
        "image 3: the path `../a.png` leaves the folder of the data set",
        "image 4: a size of 0 x 30 has no pixels",
    ];
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (fault, expected) in faults.iter().zip(expected) {
        assert!(fault.starts_with(&format!("{place}{expected}")), "{fault}");
    }
    assert!(Format::Coco.open(&path).unwrap_err().to_string().contains("two images have the id 1"));
}

#[test]
fn what_is_no_coco_is_named_with_its_place() {
    let cases: [(&str, &str); 6] = [
        ("", "is not COCO's JSON: EOF while parsing a value at line 1"),
        ("[1]", "is not COCO's JSON"),
        ("{\"images\": [\n{\"id\": 1}]}", "missing field `file_name` at line 2 column 9"),
        (
            "{\"images\": [], \"annotations\": [{\"id\": 1, \"image_id\": 1, \"category_id\": 1, \"bbox\": [1, 2]}]}",
            "invalid length 2, expected [x, y, width, height]",
        ),
        (
            "{\"images\": [], \"annotations\": [{\"id\": 1, \"image_id\": 1, \"category_id\": 1, \"iscrowd\": \"no\"}]}",
            "expected 0, 1, false or true",
        ),
        (
            "{\"images\": [], \"categories\": [{\"id\": 1, \"name\": \"a\"}, {\"id\": 1, \"name\": \"b\"}]}",
            "two categories have the id 1",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("a.json");
    for (text, expected) in cases {
        fs::write(&path, text).unwrap();
        let error = format!("{:#}", Format::Coco.open(&path).unwrap_err());
        assert!(error.contains("a.json") && error.contains(expected), "{error}");
    }
    let files = ["train", "val"].map(|side| {
        let categories = json!([{"id": 1, "name": side}]);
        (format!("annotations/instances_{side}.json"), json!({"images": [], "categories": categories}))
    });
    fs::create_dir(folder.path().join("annotations")).unwrap();
    for (name, json) in &files {
        fs::write(folder.path().join(name), json.to_string()).unwrap();
    }
    let error = Format::Coco.open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("instances_val.json: its categories are not those of"), "{error}");
}
