//! DeepPCB's layout, as it is and as people have it.

use std::fs;
use std::path::{Path, PathBuf};

use image::GrayImage;

#[path = "path_tests.rs"]
mod paths;

use super::CLASS_NAMES;
use crate::data::dataset::{Dataset, Split};
use crate::data::formats::Format;
use crate::data::report::Report;
use crate::data::synthetic::{SyntheticConfig, write_synthetic};
use crate::error::Result;
use crate::structures::Annotation;

const SIZE: usize = 128;

/// Boards at `<temporary folder>/PCBData`.
fn boards(images: usize) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("PCBData");
    write_synthetic(&root, images, &SyntheticConfig { size: SIZE, seed: 1 }).unwrap();
    (folder, root)
}

fn label_file(root: &Path, index: usize) -> PathBuf {
    root.join(format!("group00000/00000_not/000000{index}0.txt"))
}

fn image_file(root: &Path, index: usize) -> PathBuf {
    root.join(format!("group00000/00000/000000{index}0_test.jpg"))
}

fn names(data: &Dataset) -> Vec<String> {
    data.records.iter().map(|record| record.file_name().to_string()).collect()
}

fn open(root: &Path) -> Result<Dataset> {
    Format::DeepPcb.open(root)
}

fn open_list(root: &Path, list: &Path) -> Result<Dataset> {
    let (data, report) = Format::DeepPcb.read_list(root, list)?;
    report.into_warnings().map(|_| data)
}

fn check(root: &Path) -> Result<Report> {
    Format::DeepPcb.check(root)
}

fn messages(root: &Path) -> Vec<String> {
    check(root).unwrap().faults.iter().map(|fault| format!("{fault:#}")).collect()
}

/// The warnings of `check`, with paths from `root`.
fn warnings(root: &Path) -> Vec<String> {
    let report = check(root).unwrap();
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    let prefix = format!("{}/", root.display());
    report.warnings.iter().map(|warning| format!("{warning:#}").replace(&prefix, "")).collect()
}

#[test]
fn the_root_may_be_the_folder_that_holds_pcb_data() {
    let (parent, root) = boards(4);
    let Split { train, validation } = open(parent.path()).unwrap().sides(0);
    assert_eq!(names(&train), ["00000000_test.jpg", "00000010_test.jpg", "00000020_test.jpg"]);
    assert_eq!(names(&validation), ["00000030_test.jpg"]);
    assert_eq!(names(&open(&root).unwrap().sides(0).train), names(&train));
    assert!(messages(parent.path()).is_empty());
}

#[test]
fn without_a_test_list_a_tenth_is_held_out_by_seed() {
    let (_folder, root) = boards(30);
    fs::remove_file(root.join("test.txt")).unwrap();
    let Split { train, validation } = open(&root).unwrap().sides(7);
    assert_eq!((train.records.len(), validation.records.len()), (24, 3), "the only list has 27");
    assert_eq!(warnings(&root).len(), 6, "three images and their labels are left out");

    fs::remove_file(root.join("trainval.txt")).unwrap();
    let Split { train, validation } = open(&root).unwrap().sides(7);
    assert_eq!((train.records.len(), validation.records.len()), (27, 3));
    assert!(names(&validation).iter().all(|name| !names(&train).contains(name)));
    assert!(names(&train).is_sorted() && names(&validation).is_sorted());
    assert_eq!(names(&open(&root).unwrap().sides(7).validation), names(&validation));
    assert_ne!(names(&open(&root).unwrap().sides(8).validation), names(&validation));
}

#[test]
fn templates_are_not_images_and_names_without_test_are() {
    let (_folder, root) = boards(3);
    fs::rename(image_file(&root, 1), root.join("group00000/00000/00000010.jpg")).unwrap();
    let all = open(&root).unwrap();
    assert_eq!(names(&all), ["00000000_test.jpg", "00000010.jpg", "00000020_test.jpg"]);
    assert_eq!(names(&open(&root).unwrap().sides(0).train), ["00000000_test.jpg", "00000010.jpg"]);
    assert!(messages(&root).is_empty());
}

#[test]
fn a_board_may_have_no_defects() {
    let (_folder, root) = boards(2);
    fs::write(label_file(&root, 0), "").unwrap();
    fs::write(label_file(&root, 1), "\n  \r\n").unwrap();
    let all = open(&root).unwrap();
    assert!(all.records.iter().all(|record| record.annotations.is_empty()));
    assert!(messages(&root).is_empty());
}

#[test]
fn a_malformed_label_is_named_by_file_line_and_value() {
    let (_folder, root) = boards(2);
    let labels = label_file(&root, 0);
    let cases = [
        ("1 2 30 40", "found 4 fields: `1 2 30 40`"),
        ("1 2 30 40 5 6", "found 6 fields"),
        ("1,2,30,40,5", "found 1 fields: `1,2,30,40,5`"),
        ("1 2 x30 40 5", "`x30` is not a coordinate"),
        ("1 2 NaN 40 5", "`NaN` is not a coordinate"),
        ("1 2 30 40 0", "class `0` is not one of 1..=6"),
        ("1 2 30 40 7", "class `7`"),
        ("1 2 30 40 open", "class `open`"),
        ("30 2 30 40 5", "box `30 2 30 40` is empty"),
        ("1 40 30 2 5", "box `1 40 30 2` is empty"),
        ("-1 2 30 40 5", "box `-1 2 30 40` lies outside the image (height 128, width 128)"),
        ("1 2 30 129 5", "box `1 2 30 129` lies outside"),
    ];
    for (line, message) in cases {
        fs::write(&labels, format!("0 0 128 128 1\n\n{line}\n5 5 9 9 6\n")).unwrap();
        let expected_start = format!("{}:3: ", labels.display());
        for found in [messages(&root).join("; "), open(&root).unwrap_err().to_string()] {
            assert!(found.starts_with(&expected_start) && found.contains(message), "{line}: {found}");
        }
    }
}

#[test]
fn check_finds_everything_at_once_and_in_order() {
    let (_folder, root) = boards(8);
    fs::write(label_file(&root, 0), "1 2 3\n5 5 9 9 6\n5 5 9 9 8\n").unwrap();
    fs::remove_file(label_file(&root, 1)).unwrap();
    fs::remove_file(image_file(&root, 2)).unwrap();
    let whole = fs::read(image_file(&root, 3)).unwrap();
    fs::write(image_file(&root, 3), &whole[..whole.len() / 2]).unwrap();
    fs::write(image_file(&root, 4), "not an image").unwrap();
    fs::write(label_file(&root, 4), "5 5 9 9 9\n").unwrap();
    let list = root.join("trainval.txt");
    let listed = fs::read_to_string(&list).unwrap();
    fs::write(&list, format!("{listed}only-one-field.jpg\n")).unwrap();

    let found = messages(&root);
    let expected = [
        (label_file(&root, 0), ":1: "),
        (label_file(&root, 0), ":3: "),
        (label_file(&root, 1), ": "),
        (image_file(&root, 2), ": "),
        (image_file(&root, 4), ": "),
        (label_file(&root, 4), ":1: "),
        (list, ":8: expected an image and a label file, found `only-one-field.jpg`"),
        (image_file(&root, 3), ": the file is cut off"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, (path, rest)) in found.iter().zip(expected) {
        assert!(found.contains(&format!("{}{rest}", path.display())), "{found}");
    }
}

#[test]
fn a_root_without_images_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("nowhere");
    for error in [open(&missing).unwrap_err(), check(&missing).unwrap_err()] {
        assert!(error.to_string().contains("nowhere"), "{error}");
    }
    for error in [open(folder.path()).unwrap_err(), check(folder.path()).unwrap_err()] {
        assert!(error.to_string().contains("holds no images"), "{error}");
    }
    fs::write(folder.path().join("trainval.txt"), "\n").unwrap();
    for error in [open(folder.path()).unwrap_err(), check(folder.path()).unwrap_err()] {
        assert!(error.to_string().contains("lists no images"), "{error}");
    }
}

#[test]
fn what_is_listed_to_test_is_never_trained_on() {
    let (_folder, root) = boards(30);
    fs::remove_file(root.join("trainval.txt")).unwrap();
    let Split { train, validation } = open(&root).unwrap().sides(7);
    assert_eq!((train.records.len(), validation.records.len()), (0, 3));
    assert_eq!(train.class_names, CLASS_NAMES);
}

/// `group00001/00001/NAME` with labels in `00001_not`, no lists.
fn own_boards(images: &[&str], labels: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("own");
    for image in images {
        write_board(&root, "group00001/00001", image, labels);
    }
    (folder, root)
}

/// An image, another one for each name, and its labels.
fn write_board(root: &Path, folder: &str, image: &str, labels: &[u8]) {
    let image = root.join(folder).join(image);
    let stem = image.file_stem().unwrap().to_str().unwrap();
    let label_folder = root.join(format!("{folder}_not"));
    fs::create_dir_all(image.parent().unwrap()).unwrap();
    fs::create_dir_all(&label_folder).unwrap();
    let pixel = image::Luma([stem.bytes().fold(0, u8::wrapping_add)]);
    let format = image::ImageFormat::from_path(&image).unwrap();
    GrayImage::from_pixel(128, 128, pixel).save_with_format(&image, format).unwrap();
    let name = stem.strip_suffix("_test").unwrap_or(stem);
    fs::write(label_folder.join(format!("{name}.txt")), labels).unwrap();
}

const ONE: &[u8] = b"10 10 40 40 1\n60 60 90 100 3\n";

#[test]
fn images_have_any_extension_and_what_is_left_out_is_named() {
    let images =
        ["0_test.jpg", "1_test.JPG", "2_test.jpeg", "3_test.png", "4.BMP", "5_test.tif", "6_test.webp"];
    let (_folder, root) = own_boards(&images, ONE);
    let folder = root.join("group00001/00001");
    fs::copy(folder.join("3_test.png"), folder.join("3_temp.png")).unwrap();
    let all = open(&root).unwrap();
    assert_eq!(names(&all), images);
    assert!(all.records.iter().all(|record| record.annotations.len() == 2));
    assert_eq!(all.records[3].reference, Some(folder.join("3_temp.png").into()));
    assert!(warnings(&root).is_empty());

    GrayImage::new(8, 8).save(folder.join("3.png")).unwrap();
    fs::write(folder.join("notes.gif"), "").unwrap();
    fs::write(root.join("group00001/00001_not/9.txt"), "").unwrap();
    assert_eq!(names(&open(&root).unwrap()), images);
    assert_eq!(
        warnings(&root),
        [
            "group00001/00001/3.png: left out: no list names it, or another image has its labels",
            "group00001/00001/notes.gif: left out: images are called \
             .jpg, .jpeg, .png, .bmp, .tif, .tiff, .webp",
            "group00001/00001_not/9.txt: left out: no image belongs to it",
        ]
    );
    fs::write(root.join("group00001/00001_not/1.txt"), "1 2 3\n").unwrap();
    assert!(messages(&root)[0].contains("1.txt:1: expected `x1 y1 x2 y2 class`"));
}

#[test]
fn images_outside_the_folders_of_the_layout_are_named() {
    let (_folder, root) = own_boards(&["0_test.jpg"], ONE);
    let others = ["5.jpg", "group00001/6.png", "more/00001/8_test.jpg", "more/7.jpg"];
    for other in others.iter().chain(&["5_temp.jpg", ".hidden/9.jpg", "more/1/2/3.jpg", "more/notes.txt"]) {
        fs::create_dir_all(root.join(other).parent().unwrap()).unwrap();
        fs::write(root.join(other), other).unwrap();
    }
    let mut named = warnings(&root);
    named.sort();
    let reason = "left out: no list names it, and it is not in a folder `group*/X`";
    assert_eq!(named, others.map(|other| format!("{other}: {reason}")));
}

#[test]
fn a_byte_order_mark_is_no_character_and_utf_16_is_named() {
    let mark = b"\xEF\xBB\xBF";
    let (_folder, root) = own_boards(&["0_test.jpg", "1_test.jpg"], &[mark, ONE].concat());
    assert_eq!(open(&root).unwrap().records[0].annotations.len(), 2);
    let labels = root.join("group00001/00001_not");
    fs::write(labels.join("1.txt"), [&mark[..], b"\r\n"].concat()).unwrap();
    assert!(open(&root).unwrap().records[1].annotations.is_empty());
    let list = root.join("trainval.txt");
    fs::write(&list, [&mark[..], b"group00001/00001/0.jpg group00001/00001_not/0.txt\r\n"].concat()).unwrap();
    assert_eq!(names(&open_list(&root, &list).unwrap()), ["0_test.jpg"]);

    let utf16: Vec<u8> =
        [0xFEFF].into_iter().chain("1 2 9 9 1".encode_utf16()).flat_map(u16::to_le_bytes).collect();
    fs::write(labels.join("0.txt"), &utf16).unwrap();
    assert!(messages(&root)[0].ends_with("0.txt: the text is encoded as UTF-16: save it as UTF-8"));
}

#[test]
fn boxes_a_rounding_over_the_border_are_clipped() {
    let labels = b"60.000064 10 128.000064 40 1\n-0.000064 10 30 40 1\n100 100 128.5 128 2\n";
    let (_folder, root) = own_boards(&["0_test.jpg"], labels);
    let annotations = &open(&root).unwrap().records[0].annotations;
    let boxes: Vec<_> = annotations.iter().map(|annotation| annotation.xyxy).collect();
    let expected = [[60.000064, 10.0, 128.0, 40.0], [0.0, 10.0, 30.0, 40.0], [100.0, 100.0, 128.0, 128.0]];
    assert_eq!(boxes, expected);
    assert!(warnings(&root).is_empty());
}

#[test]
fn classes_are_those_of_their_file() {
    let (_folder, root) = own_boards(&["0_test.jpg", "1_test.jpg"], b"10 10 40 40 8\n");
    assert!(messages(&root)[0].ends_with("class `8` is not one of 1..=6"));
    let classes = root.join("classes.txt");
    fs::write(&classes, "\u{FEFF}a\nb c\nd\ne\nf\ng\nh\nlast\n\n").unwrap();
    let data = open(&root).unwrap().sides(0).train;
    assert_eq!(data.class_names, ["a", "b c", "d", "e", "f", "g", "h", "last"]);
    assert_eq!(data.records[0].annotations, [Annotation::new([10.0, 10.0, 40.0, 40.0], 8)]);
    assert!(warnings(&root).is_empty());

    for (text, message) in
        [("a\nb\na\n", "classes.txt:3: the class `a` is named in line 1, too"), ("\n", "names no classes")]
    {
        fs::write(&classes, text).unwrap();
        for error in [open(&root).unwrap_err(), check(&root).unwrap_err()] {
            assert!(error.to_string().contains(message), "{error}");
        }
    }
}

#[test]
fn what_is_hardly_meant_is_named() {
    let (_folder, root) = boards(5);
    let line =
        |index| format!("group00000/00000/000000{index}0.jpg group00000/00000_not/000000{index}0.txt\n");
    let lines = |indices: &[usize]| indices.iter().map(|index| line(*index)).collect::<String>();
    fs::write(root.join("trainval.txt"), lines(&[0, 1, 2, 1])).unwrap();
    fs::write(root.join("test.txt"), lines(&[3, 0, 4])).unwrap();
    fs::copy(image_file(&root, 0), image_file(&root, 3)).unwrap();
    fs::write(label_file(&root, 2), "10 10 10.4 40 1\n20 20 60 60 2\n20 20 60 60 2\n20 20 60 60 3\n")
        .unwrap();
    let image = "group00000/00000/000000";
    assert_eq!(
        warnings(&root),
        [
            "group00000/00000_not/00000020.txt:1: box `10 10 10.4 40` is thinner than a pixel".to_string(),
            "group00000/00000_not/00000020.txt:3: the same object as in line 2".to_string(),
            format!("trainval.txt:4: {image}10_test.jpg is listed in line 2, too"),
            format!("test.txt:2: {image}00_test.jpg is trained on: it is listed at trainval.txt:1, too"),
            format!(
                "{image}30_test.jpg: the file has the same content as {image}00_test.jpg: it is trained on and \
                 tested on"
            ),
        ]
    );
    let data = open(&root).unwrap().sides(0);
    assert_eq!(data.train.records[2].annotations.len(), 4, "all of it is read");
}
