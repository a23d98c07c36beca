//! Data sets go from any format to any other.

use std::fs;
use std::path::Path;

use image::{GrayImage, Luma};
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Format, Transfer};
use crate::data::dataset::{Dataset, Record, Side};
use crate::structures::Annotation;

/// Parts of names: blanks, quotes, what means something in XML, YAML, JSON and lists, and other scripts.
const PARTS: [&str; 17] =
    ["a", "B", "7", " ", "  ", "'", "\"", "&", "<b>", "#", ": ", "%20", ",", "ü", "板", "-", "{x}"];

fn formats() -> Vec<Format> {
    Format::ALL.into_iter().filter(|format| cfg!(feature = "tables") || *format != Format::Parquet).collect()
}

fn name(rng: &mut impl Rng) -> String {
    let length = rng.random_range(1..6);
    let name: String = (0..length).map(|_| *PARTS.choose(rng).unwrap()).collect();
    // A name of blanks alone is none.
    if name.trim().is_empty() { "b".to_string() + &name } else { name }
}

/// A data set of random boards with random names, in folders or not, and its images below `folder`.
fn random(folder: &Path, seed: u64) -> Dataset {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let mut class_names: Vec<String> = Vec::new();
    while class_names.len() < 4 {
        let name = name(rng);
        if !class_names.contains(&name) {
            class_names.push(name);
        }
    }
    let mut records = Vec::new();
    for index in 0..12 {
        let folders: Vec<String> = (0..rng.random_range(0..3)).map(|_| name(rng)).collect();
        let name = format!("{}{index}.png", [folders, vec![name(rng)]].concat().join("/"));
        let path = folder.join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let (height, width) = (rng.random_range(20..90), rng.random_range(20..90));
        GrayImage::from_pixel(width, height, Luma([index as u8])).save(&path).unwrap();
        let annotations = (0..rng.random_range(0..5)).map(|_| {
            let mut side = |length: u32| {
                let length = length as f32;
                let start = rng.random_range(0.0..length - 4.0);
                (start, rng.random_range(start + 1.5..length))
            };
            let ((x1, x2), (y1, y2)) = (side(width), side(height));
            Annotation::new([x1, y1, x2, y2], 1 + rng.random_range(0..3))
        });
        let annotations = annotations.collect();
        let side = [Side::Train, Side::Train, Side::Validation, Side::Test][index % 4];
        let record = Record::new(path, (height as usize, width as usize), annotations);
        records.push(record.with_name(name).with_side(side));
    }
    Dataset::new(records, class_names)
}

/// Name, size, objects and bytes of an image.
type Content = (String, (usize, usize), Vec<Annotation>, Vec<u8>);

/// The images by name, as they are compared.
fn content(data: &Dataset) -> Vec<Content> {
    let mut content: Vec<_> = data
        .records
        .iter()
        .map(|record| {
            let bytes = record.image.read().unwrap();
            // DeepPCB's images without a folder are in one called `images`.
            let name = record.name.strip_prefix("images/").unwrap_or(&record.name);
            (name.to_string(), record.size, record.annotations.clone(), bytes)
        })
        .collect();
    content.sort_by(|a, b| a.0.cmp(&b.0));
    content
}

/// Fails where the two differ by a thousandth of a pixel.
fn assert_equal(found: &Dataset, expected: &Dataset, what: &str) {
    assert_eq!(found.class_names, expected.class_names, "{what}");
    let (found, expected) = (content(found), content(expected));
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(&expected) {
        let name = &expected.0;
        assert_eq!((&found.0, found.1), (name, expected.1), "{what}");
        assert!(found.3 == expected.3, "{what}: {name}: other bytes");
        assert_eq!(found.2.len(), expected.2.len(), "{what}: {name}");
        for (found, expected) in found.2.iter().zip(&expected.2) {
            assert_eq!(found.label, expected.label, "{what}: {name}");
            let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-3;
            assert!(
                found.xyxy.iter().zip(&expected.xyxy).all(close),
                "{what}: {name}: {found:?} {expected:?}"
            );
        }
    }
}

#[test]
fn boxes_names_and_images_survive_every_pair_of_formats() {
    let folder = tempfile::tempdir().unwrap();
    for seed in 0..4 {
        let root = folder.path().join(seed.to_string());
        let data = random(&root.join("source"), seed);
        for first in formats() {
            let there = root.join(format!("{first}"));
            let images = if first == Format::Parquet { Transfer::Embed } else { Transfer::Copy };
            let warnings = first.write(&data, &there, images).unwrap();
            assert!(warnings.is_empty(), "{first}: {warnings:?}");
            assert_eq!(Format::of(&there).unwrap(), first);
            let once = first.open(&there).unwrap();
            assert_equal(&once, &data, &format!("seed {seed}: {first}"));
            let sides = |data: &Dataset, side| data.records.iter().filter(|r| r.side == Some(side)).count();
            // DeepPCB's lists have two sides.
            let trained = if first == Format::DeepPcb { 9 } else { 6 };
            assert_eq!((sides(&once, Side::Train), sides(&once, Side::Test)), (trained, 3), "{first}");
            for second in formats() {
                let further = root.join(format!("{first} to {second}"));
                let warnings = second.write(&once, &further, Transfer::Copy).unwrap();
                assert!(warnings.is_empty(), "{first} to {second}: {warnings:?}");
                assert_equal(
                    &second.open(&further).unwrap(),
                    &data,
                    &format!("seed {seed}: {first} to {second}"),
                );
            }
        }
    }
}

#[test]
fn references_groups_and_ignored_objects_go_where_there_is_a_place_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let image = |name: &str, shade: u8| {
        let path = folder.path().join(name);
        GrayImage::from_pixel(40, 30, Luma([shade])).save(&path).unwrap();
        path
    };
    let (board, reference) = (image("1.png", 1), image("good.png", 200));
    let object = Annotation { area: Some(12.0), ..Annotation::new([1.0, 2.0, 10.0, 20.0], 1) };
    let crowd = Annotation { crowd: true, ..Annotation::new([3.0, 3.0, 30.0, 20.0], 1) };
    let difficult = Annotation { difficult: true, ..Annotation::new([5.0, 5.0, 9.0, 9.0], 1) };
    let record = Record::new(board, (30, 40), vec![object, crowd, difficult]);
    let record = record.with_reference(reference).with_group("plate 7").with_side(Side::Train);
    let data = Dataset::new(vec![record], ["hole"]);
    let reference = data.records[0].reference.as_ref().unwrap().read().unwrap();

    for format in formats() {
        let there = folder.path().join(format.name());
        let warnings = format.write(&data, &there, Transfer::Copy).unwrap();
        let found = format.open(&there).unwrap();
        let found = &found.records[0];
        assert_eq!(found.reference.as_ref().unwrap().read().unwrap(), reference, "{format}");
        let (kept, lost) = match format {
            Format::Coco | Format::Parquet => (3, 0),
            Format::Voc => (2, 1),
            Format::Yolo | Format::DeepPcb => (1, 2),
        };
        assert_eq!((found.annotations.len(), warnings.len()), (kept, lost), "{format}: {warnings:?}");
        let flags = |annotations: &[Annotation]| -> Vec<(bool, bool)> {
            annotations.iter().map(|object| (object.crowd, object.difficult)).collect()
        };
        let expected: Vec<(bool, bool)> = flags(&data.records[0].annotations)
            .into_iter()
            .filter(|(crowd, difficult)| !(lost > 0 && *crowd || lost > 1 && *difficult))
            .collect();
        assert_eq!(flags(&found.annotations), expected, "{format}");
        if lost == 0 {
            assert_eq!(found.annotations[0].area, Some(12.0), "{format}");
        }
        if matches!(format, Format::Coco | Format::Voc | Format::Parquet) {
            assert_eq!(found.group.as_deref(), Some("plate 7"), "{format}");
        }
    }
}

#[cfg(unix)]
#[test]
fn images_can_be_linked_and_nothing_half_done_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let data = random(&folder.path().join("source"), 9);
    for format in formats() {
        let linked = folder.path().join(format.name());
        format.write(&data, &linked, Transfer::Link).unwrap();
        assert_equal(&format.open(&linked).unwrap(), &data, format.name());
        if format != Format::Parquet {
            let error = format.write(&data, folder.path().join("x"), Transfer::Embed).unwrap_err();
            assert!(error.to_string().contains("keeps images in files"), "{error}");
        }
        let error = format.write(&data, &linked, Transfer::Copy).unwrap_err();
        assert!(error.to_string().contains("the folder is not empty"), "{error}");
    }
    let mut broken = data.clone();
    broken.records[11].image = folder.path().join("gone.png").into();
    for format in formats() {
        let error = format.write(&broken, folder.path().join("new"), Transfer::Copy).unwrap_err();
        assert!(error.to_string().contains("gone.png"), "{error}");
        assert!(!folder.path().join("new").exists());
    }
    let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.map(|name| name.into_string().unwrap()).all(|name| !name.starts_with('.')));
}

#[test]
fn images_that_would_share_a_label_file_get_other_names_and_names_stay_inside() {
    let folder = tempfile::tempdir().unwrap();
    let mut records = Vec::new();
    for (index, name) in ["1.png", "1.bmp", "x/1.png", "no extension"].iter().enumerate() {
        let path = folder.path().join("source").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let image = GrayImage::from_pixel(30, 30, Luma([index as u8]));
        let format = if name.ends_with("bmp") { image::ImageFormat::Bmp } else { image::ImageFormat::Png };
        image.save_with_format(&path, format).unwrap();
        records.push(Record::new(path, (30, 30), vec![]).with_name(*name).with_side(Side::Train));
    }
    let mut data = Dataset::new(records, ["hole"]);
    for format in [Format::Coco, Format::Voc, Format::Yolo] {
        let there = folder.path().join(format.name());
        let warnings = format.write(&data, &there, Transfer::Copy).unwrap();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        let found = format.open(&there).unwrap();
        let mut names: Vec<&str> = found.records.iter().map(|record| record.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["1.png", "1_2.bmp", "no extension.png", "x/1.png"]);
    }
    data.records[0].name = "../../outside.png".to_string();
    for format in formats() {
        let error = format.write(&data, folder.path().join("new"), Transfer::Copy).unwrap_err().to_string();
        assert!(error.contains("leaves the folder of the data set"), "{format}: {error}");
    }
}

#[test]
fn what_is_not_recognised_or_is_several_formats_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = Format::of(folder.path().join("nowhere")).unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
    let error = Format::of(folder.path()).unwrap_err();
    assert!(error.to_string().contains("no data set is recognised here"), "{error}");
    fs::write(folder.path().join("trainval.txt"), "").unwrap();
    fs::write(folder.path().join("data.yaml"), "").unwrap();
    let error = Format::of(folder.path()).unwrap_err();
    assert!(error.to_string().contains("several formats, say which: yolo, deep-pcb"), "{error}");
}
