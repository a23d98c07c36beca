//! VOC's layout as it comes.

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
    GrayImage::new(40, 30).save(path).unwrap();
}

fn document(file_name: &str, objects: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\n<annotation>\n<folder>VOC2012</folder>\n<filename>{file_name}</filename>\n\
         <size><width>40</width><height>30</height><depth>3</depth></size>\n<segmented>0</segmented>\n\
         {objects}</annotation>\n"
    )
}

const OBJECT: &str = "<object>\n<name>person</name><pose>Left</pose><truncated>1</truncated>\
    <difficult>0</difficult>\n<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>40</xmax><ymax>30.5</ymax></bndbox>\n\
    <part><name>head</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></part>\n\
    </object>\n";

fn open(folder: &Path) -> Dataset {
    Format::Voc.open(folder).unwrap()
}

fn names(data: &Dataset) -> Vec<(&str, Option<Side>)> {
    data.records.iter().map(|record| (record.name.as_str(), record.side)).collect()
}

#[test]
fn corners_count_from_1_and_parts_are_no_objects() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    image(folder, "JPEGImages/a.png");
    let hard =
        OBJECT.replace("<difficult>0", "<difficult>1").replace("person", " a &amp; &#98;<![CDATA[ <c>]]> ");
    write(folder, "Annotations/a.xml", document("a.png", &(OBJECT.to_string() + &hard)));
    let data = open(folder);
    assert_eq!(data.class_names, ["a & b <c>", "person"]);
    let whole = Annotation::new([0.0, 0.0, 40.0, 30.0], 2);
    // Half a pixel over the border is clipped.
    assert_eq!(data.records[0].annotations, [whole, Annotation { difficult: true, label: 1, ..whole }]);
    assert_eq!(data.records[0].size, (30, 40));
}

#[test]
fn lists_say_what_images_are_for() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for name in ["a", "b c", "d", "e"] {
        image(folder, &format!("JPEGImages/{name}.png"));
        write(folder, &format!("Annotations/{name}.xml"), document(&format!("{name}.png"), ""));
    }
    assert_eq!(names(&open(folder)).len(), 4);
    write(folder, "ImageSets/Main/trainval.txt", "a\nb c\n");
    write(folder, "ImageSets/Main/test.txt", "d\n");
    let (train, test) = (Some(Side::Train), Some(Side::Test));
    assert_eq!(names(&open(folder)), [("a.png", train), ("b c.png", train), ("d.png", test)]);
    write(folder, "ImageSets/Main/train.txt", "a\n");
    write(folder, "ImageSets/Main/val.txt", "\"b c\"\ne\n");
    write(folder, "ImageSets/Main/person_train.txt", "a  1\n");
    let validation = Some(Side::Validation);
    let expected = [("a.png", train), ("b c.png", validation), ("d.png", test), ("e.png", validation)];
    assert_eq!(names(&open(folder)), expected);

    write(folder, "ImageSets/Main/test.txt", "d\ngone\na\n");
    let (_, report) = Format::Voc.read(folder).unwrap();
    let fault = report.faults[0].to_string();
    assert!(fault.ends_with("Main/test.txt:2: there is no annotation `gone`"), "{fault}");
    let warning = report.warnings[0].to_string();
    assert!(
        warning.contains("test.txt:3: `a` is listed at ") && warning.contains("train.txt:1, too"),
        "{warning}"
    );
}

/// HRIPCB, also known as PKU-Market-PCB.
#[test]
fn a_folder_a_class_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for class in ["Missing_hole", "Short"] {
        image(folder, &format!("images/{class}/01.png"));
        let object = OBJECT.replace("person", &class.to_lowercase());
        write(folder, &format!("Annotations/{class}/01.xml"), document("01.png", &object));
    }
    let data = open(folder);
    assert_eq!(names(&data), [("Missing_hole/01.png", None), ("Short/01.png", None)]);
    assert_eq!(data.class_names, ["missing_hole", "short"]);
    assert_eq!(data.records[1].annotations[0].label, 2);
    assert_eq!(Format::of(folder).unwrap(), Format::Voc);
}

#[test]
fn sizes_and_names_that_are_missing_are_looked_up() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    image(folder, "JPEGImages/a.png");
    image(folder, "JPEGImages/other.png");
    let without_size = document("x.jpg", OBJECT).replace("<width>40", "<width>0");
    write(folder, "Annotations/a.xml", without_size);
    write(folder, "Annotations/b.xml", document("other.png", ""));
    let data = open(folder);
    assert_eq!(names(&data), [("a.png", None), ("other.png", None)]);
    assert_eq!(data.records[0].size, (30, 40));
    image(folder, "JPEGImages/extra.png");
    let (_, report) = Format::Voc.read(folder).unwrap();
    assert!(report.warnings[0].to_string().ends_with("extra.png: left out: no annotation belongs to it"));
    write(folder, "classes.txt", "dog\n");
    let (_, report) = Format::Voc.read(folder).unwrap();
    let fault = report.faults[0].to_string();
    assert!(fault.ends_with("a.xml:7: class `person` is not in classes.txt"), "{fault}");
}

#[test]
fn faults_are_named_by_line_and_nothing_is_expanded() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    image(folder, "JPEGImages/a.png");
    let with = |from: &str, to: &str| document("a.png", &OBJECT.replace(from, to));
    let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;\">]>\n<annotation>\n<filename>&b;</filename>";
    let deep = "<a>".repeat(100_000);
    let cases: [(String, &str); 11] = [
        (with("<xmin>1<", "<xmin>one<"), ":7: `one` is not a coordinate"),
        (with("<xmin>1</xmin>", ""), ":7: the object has no `xmin`"),
        (with("<name>person</name>", ""), ":7: the object has no `name`"),
        (with("<xmax>40<", "<xmax>41<"), ":7: box `0 0 41 30.5` lies outside the image"),
        (with("<xmax>40<", "<xmax>0<"), ":7: box `0 0 0 30.5` is empty"),
        (with("<difficult>0<", "<difficult>maybe<"), ":7: difficult `maybe` is neither 0 nor 1"),
        (document("a.png", "").replace("<width>40", "<width>wide"), ":5: `wide` is not a number of pixels"),
        (
            document("a.png", OBJECT).split("</object>").next().unwrap().to_string(),
            "the file is cut off: `annotation/object",
        ),
        (document("a.png", "</object>"), ":7: "),
        (bomb.to_string(), ":3: the entity `b` is not expanded"),
        (deep, ":1: elements are nested too deeply"),
    ];
    for (text, expected) in cases {
        write(folder, "Annotations/a.xml", &text);
        let (_, report) = Format::Voc.read(folder).unwrap();
        let faults: Vec<String> = report.faults.iter().map(|fault| format!("{fault:#}")).collect();
        assert!(faults.len() == 1 && faults[0].contains(expected), "{expected}: {faults:?}");
        assert!(faults[0].contains("a.xml"), "{faults:?}");
    }
    write(folder, "Annotations/a.xml", document("../../secret.png", "").replace("a.png", "b.png"));
    fs::rename(folder.join("Annotations/a.xml"), folder.join("Annotations/b.xml")).unwrap();
    let (_, report) = Format::Voc.read(folder).unwrap();
    assert!(
        report.faults[0].to_string().contains("has no image `b` or `../../secret.png`"),
        "{:?}",
        report.faults
    );
}
