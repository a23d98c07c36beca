//! YOLO's layout as it comes.

use std::fs;
use std::path::Path;

use image::GrayImage;

use crate::data::dataset::{Dataset, Side};
use crate::data::formats::Format;
use crate::structures::Annotation;

fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn image(folder: &Path, name: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    GrayImage::new(40, 20).save(path).unwrap();
}

fn open(path: &Path) -> Dataset {
    Format::Yolo.open(path).unwrap()
}

fn names(data: &Dataset) -> Vec<(&str, Option<Side>)> {
    data.records.iter().map(|record| (record.name.as_str(), record.side)).collect()
}

fn faults(path: &Path) -> Vec<String> {
    match Format::Yolo.read(path) {
        Ok((_, report)) => report.faults.iter().map(|fault| format!("{fault:#}")).collect(),
        Err(error) => vec![format!("{error:#}")],
    }
}

const YAML: &str =
    "path: ../datasets/boards\ntrain: images/train\nval: [images/val]\nnc: 2\nnames: [open, 'pin hole']\n";
const TRAIN: Option<Side> = Some(Side::Train);
const VALIDATION: Option<Side> = Some(Side::Validation);

#[test]
fn folders_labels_and_polygons_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for name in ["train/a.png", "train/sub/b c.png", "train/none.png", "val/a.png"] {
        image(folder, &format!("images/{name}"));
    }
    write(
        folder,
        "labels/train/a.txt",
        "1 0.5 0.5 0.25 0.5\n\n0 0.1 0.1 0.5 0.2 0.3 0.9\n1.0 0.25 0.5 0.5 1\r\n",
    );
    write(folder, "labels/train/sub/b c.txt", "");
    write(folder, "data.yaml", YAML);
    let data = open(folder);
    assert_eq!(data.class_names, ["open", "pin hole"]);
    let expected = [("a.png", TRAIN), ("none.png", TRAIN), ("sub/b c.png", TRAIN), ("a.png", VALIDATION)];
    assert_eq!(names(&data), expected);
    let objects = [
        Annotation::new([15.0, 5.0, 25.0, 15.0], 2),
        Annotation::new([4.0, 2.0, 20.0, 18.0], 1),
        Annotation::new([0.0, 0.0, 20.0, 20.0], 2),
    ];
    assert_eq!(data.records[0].annotations, objects);
    assert!(data.records[1..].iter().all(|record| record.annotations.is_empty()));
    assert_eq!(open(&folder.join("data.yaml")), data);

    let map = YAML.replace("[open, 'pin hole']", "\n  0: open\n  1: 'pin hole'");
    write(folder, "data.yaml", map);
    assert_eq!(open(folder), data);
}

#[test]
fn lists_and_roboflows_paths_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for name in ["train/images/a.png", "valid/images/b.png"] {
        image(folder, name);
    }
    write(folder, "train/labels/a.txt", "0 0.5 0.5 0.25 0.5\n");
    write(folder, "data.yaml", "train: ../train/images\nval: ../valid/images\nnames: {0: open}\n");
    let data = open(folder);
    assert_eq!(names(&data), [("a.png", TRAIN), ("b.png", VALIDATION)]);
    assert_eq!(data.records[0].annotations.len(), 1);

    let absolute = fs::canonicalize(folder).unwrap().join("valid/images/b.png");
    write(folder, "lists/train.txt", format!("train/images/a.png\n{}\n", absolute.display()));
    write(folder, "train/val.txt", "./images/a.png\n");
    write(folder, "data.yaml", "train: lists/train.txt\nval: train/val.txt\nnames: [open]\n");
    let expected =
        [("train/images/a.png", TRAIN), ("valid/images/b.png", TRAIN), ("train/images/a.png", VALIDATION)];
    assert_eq!(names(&open(folder)), expected);

    write(folder, "lists/train.txt", "gone.png\n/etc/passwd\ntrain/images/a.png\ntrain/../../x.png\n");
    let found = faults(folder);
    for (fault, expected) in found.iter().zip([
        "train.txt:1: there is no image `gone.png`",
        "train.txt:2: the path `/etc/passwd` leaves the folder",
        "train.txt:4: the path `train/../../x.png` leaves the folder",
    ]) {
        assert!(fault.contains(expected), "{fault}");
    }
    assert_eq!(found.len(), 3);
}

#[test]
fn a_description_is_not_needed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    image(folder, "images/a.png");
    write(folder, "labels/a.txt", "1 0.5 0.5 0.25 0.5\n");
    assert!(faults(folder)[0].contains("names no classes: expected a `data.yaml` or a `classes.txt`"));
    write(folder, "labels/classes.txt", "open\nshort\n");
    let data = open(folder);
    assert_eq!((names(&data), data.class_names.len()), (vec![("a.png", None)], 2));
    write(folder, "labels/b.txt", "");
    let (_, report) = Format::Yolo.read(folder).unwrap();
    assert!(report.warnings[0].to_string().ends_with("b.txt: left out: no image belongs to it"));
    fs::remove_file(folder.join("labels/a.txt")).unwrap();
    let (_, report) = Format::Yolo.read(folder).unwrap();
    assert!(report.warnings[1].to_string().ends_with("no image has a label file"), "{:?}", report.warnings);
}

#[test]
fn faults_are_named_by_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    image(folder, "images/train/a.png");
    image(folder, "images/val/a.png");
    write(folder, "data.yaml", YAML);
    for (line, expected) in [
        ("2 0.5 0.5 0.1 0.1", "class `2` is not one of 0..2"),
        ("-1 0.5 0.5 0.1 0.1", "class `-1`"),
        ("open 0.5 0.5 0.1 0.1", "class `open`"),
        ("1 0.5 0.5 0.1", "expected `class x y width height`, found 4 fields"),
        ("1 0.5 0.5 0.1 0.1 0.9", "expected `class x y width height`, found 6 fields"),
        ("1 0.5 x 0.1 0.1", "`x` is not a coordinate"),
        ("1 0.5 inf 0.1 0.1", "`inf` is not a coordinate"),
        ("1 0.5 0.5 1.2 0.1", "box `-4 9 44 11` lies outside the image (height 20, width 40)"),
        ("1 0.5 0.5 0 0.1", "box `20 9 20 11` is empty"),
    ] {
        write(folder, "labels/train/a.txt", format!("0 0.5 0.5 1 1\n{line}\n"));
        let found = faults(folder);
        assert!(found.len() == 1 && found[0].contains(&format!("a.txt:2: {expected}")), "{line}: {found:?}");
    }
    fs::remove_file(folder.join("labels/train/a.txt")).unwrap();
    let anchors = (1..30).map(|n| format!("a{n}: &a{n} [*a{}, *a{}]\n", n - 1, n - 1)).collect::<String>();
    let bomb = format!("a0: &a0 [x]\n{anchors}train: images/train\nnames: [open]\nval: *a29\n");
    for (yaml, expected) in [
        ("train: images/train\n".to_string(), "data.yaml: has no `names` of classes"),
        ("names: [a]\n".to_string(), "data.yaml: has no `train`, `val` or `test`"),
        ("names: {0: a, 2: b}\ntrain: images\n".to_string(), "`names` has the class 2 where 1 was expected"),
        ("names: [a]\nnc: 2\ntrain: images\n".to_string(), "`nc` is 2, but there are 1 `names`"),
        ("names: [a, '']\ntrain: images\n".to_string(), "a class of the data set has an empty name"),
        ("names: [a, a]\ntrain: images\n".to_string(), "two classes of the data set are called `a`"),
        ("names: [a]\ntrain: [images\n".to_string(), "data.yaml:"),
        ("names: [a]\ntrain: nowhere\n".to_string(), "there is no folder or list `nowhere`"),
        ("names: [a]\ntrain: /etc\n".to_string(), "the path `/etc` leaves the folder of the data set"),
        ("names: [a]\ntrain: images/../../x\n".to_string(), "leaves the folder of the data set"),
        (bomb, "data.yaml:"),
    ] {
        write(folder, "data.yaml", &yaml);
        let found = faults(folder);
        assert!(found[0].contains(expected), "{yaml}: {found:?}");
    }
}
