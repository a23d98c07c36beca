use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::thread;

use image::{ImageFormat, RgbImage};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use tempfile::TempDir;

use super::write::write_parts;
use crate::data::dataset::{Dataset, Record, Side};
use crate::data::formats::Format;
use crate::data::formats::writer::{Placed, Transfer};
use crate::data::image_source::ImageSource;
use crate::data::report::Report;
use crate::data::table_file::TableFile;
use crate::structures::{Annotation, Corners};

/// Names that programs stumble over.
const NAMES: [&str; 8] = [
    "plain.png",
    "with blanks .png",
    "deep/er/plain.png",
    "Ünï/日本.png",
    "quote\"d 'and' #1;,.png",
    "two\nlines.png",
    "..dots..png",
    "no extension",
];

const CLASSES: [&str; 3] = ["b", "a \"class\"", "日本, with Ünicode"];

fn image(size: (usize, usize), seed: u8) -> Vec<u8> {
    let pixels = RgbImage::from_fn(size.1 as u32, size.0 as u32, |x, y| image::Rgb([x as u8, y as u8, seed]));
    let mut file = Cursor::new(Vec::new());
    let format = if seed < 128 { ImageFormat::Png } else { ImageFormat::Jpeg };
    pixels.write_to(&mut file, format).unwrap();
    file.into_inner()
}

fn object(size: (usize, usize), rng: &mut ChaCha8Rng) -> Annotation {
    let mut ends = |length: usize| {
        let (a, b): (f32, f32) = (rng.random(), rng.random());
        let (low, high) = (a.min(b) * length as f32, a.max(b) * length as f32);
        if low < high { (low, high) } else { (0.0, length as f32) }
    };
    let ((x1, x2), (y1, y2)) = (ends(size.1), ends(size.0));
    Annotation {
        crowd: rng.random_range(0..4) == 0,
        difficult: rng.random_range(0..4) == 0,
        area: rng.random_bool(0.5).then(|| rng.random_range(0.0..1000.0)),
        ..Annotation::new([x1, y1, x2, y2], rng.random_range(1..=CLASSES.len()))
    }
}

/// Images in a folder, in the order in which they will be read.
fn random(folder: &Path, seed: u64) -> Dataset {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut records = Vec::new();
    for side in [Some(Side::Train), Some(Side::Validation), Some(Side::Test), None] {
        for name in NAMES {
            let size = (rng.random_range(1..50), rng.random_range(1..50));
            let file = |rng: &mut ChaCha8Rng| {
                let path = folder.join(format!("{}", rng.next_u64()));
                fs::write(&path, image(size, rng.random())).unwrap();
                path
            };
            let annotations = (0..rng.random_range(0..5)).map(|_| object(size, &mut rng)).collect();
            let record = Record::new(file(&mut rng), size, annotations).with_name(name);
            let reference = rng.random_bool(0.5).then(|| file(&mut rng).into());
            let group = rng.random_bool(0.5).then(|| format!("group {name}"));
            records.push(Record { reference, group, side, ..record });
        }
    }
    Dataset::new(records, CLASSES)
}

fn read_all(path: &Path) -> Dataset {
    let (data, report) = Format::Parquet.read(path).unwrap();
    // Random boxes may be thin, which is a warning.
    assert!(report.faults.is_empty(), "{report:?}");
    data
}

#[test]
fn what_corners_are_stands_beside_the_rows_and_is_the_same_in_all_tables() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    fs::create_dir(&images).unwrap();
    let edges = random(&images, 5);
    let pixels = Dataset { corners: Corners::Pixels, ..edges.clone() };
    for (name, data) in [("edges", &edges), ("pixels", &pixels)] {
        let there = folder.path().join(name);
        Format::Parquet.write(data, &there, Transfer::Embed).unwrap();
        assert_eq!(read_all(&there).corners, data.corners);
        // The images do not lie beside the table of boxes.
        let (boxes, _) = Format::Parquet.read(there.join("boxes/train.parquet")).unwrap();
        assert_eq!(boxes.corners, data.corners);
    }
    let table = |name: &str| folder.path().join(name).join("train.parquet");
    fs::rename(table("pixels"), table("edges")).unwrap();
    let error = Format::Parquet.read(folder.path().join("edges")).unwrap_err().to_string();
    assert!(error.contains("of another kind than those of the tables before"), "{error}");
}

/// With the bytes of the images in the place of these.
fn assert_same(read: &Dataset, data: &Dataset) {
    assert_eq!(read.class_names, data.class_names);
    assert_eq!(read.records.len(), data.records.len());
    let bytes = |source: &ImageSource| source.read().unwrap();
    for (read, record) in read.records.iter().zip(&data.records) {
        assert_eq!(bytes(&read.image), bytes(&record.image), "{}", record.name);
        assert_eq!(read.reference.as_ref().map(bytes), record.reference.as_ref().map(bytes));
        let known = |record: &Record| {
            let Record { name, size, annotations, group, side, .. } = record.clone();
            (name, size, annotations, group, side)
        };
        assert_eq!(known(read), known(record));
    }
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
        .into_iter()
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

fn written(data: &Dataset, placed: Option<&[Placed]>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_parts(data, folder.path(), placed, &|| ()).unwrap();
    folder
}

#[test]
fn what_is_written_is_read_and_the_same_bytes_are_written_again() {
    let images = tempfile::tempdir().unwrap();
    for seed in 0..4 {
        let data = random(images.path(), seed);
        let folder = written(&data, None);
        assert_same(&read_all(folder.path()), &data);
        let again = written(&data, None);
        for part in ["", "boxes"] {
            let [one, other] = [&folder, &again].map(|folder| {
                let content = files(&folder.path().join(part)).into_iter().map(|(_, content)| content);
                content.collect::<Vec<_>>()
            });
            assert_eq!(one.len(), if part.is_empty() { 5 } else { 4 });
            assert_eq!(one, other);
        }
        // A single file.
        let validation: Vec<Record> =
            data.records.iter().filter(|record| record.side == Some(Side::Validation)).cloned().collect();
        let part = read_all(&folder.path().join("validation.parquet"));
        assert_same(&part, &Dataset::new(validation, CLASSES));
    }
}

#[test]
fn images_may_be_files_beside_the_tables() {
    let images = tempfile::tempdir().unwrap();
    let data = random(images.path(), 7);
    let folder = tempfile::tempdir().unwrap();
    let mut copied = 0;
    let mut copy = |source: &ImageSource| {
        copied += 1;
        let path = format!("image files/{copied} ü.png");
        fs::create_dir_all(folder.path().join("image files")).unwrap();
        fs::write(folder.path().join(&path), source.read().unwrap()).unwrap();
        path
    };
    let mut placed = Vec::new();
    for record in &data.records {
        placed.push(Placed {
            name: record.name.clone(),
            path: copy(&record.image),
            reference: record.reference.as_ref().map(&mut copy),
        });
    }
    write_parts(&data, folder.path(), Some(&placed), &|| ()).unwrap();
    let read = read_all(folder.path());
    assert_same(&read, &data);
    assert!(read.records.iter().all(|record| matches!(record.image, ImageSource::File(_))));

    fs::remove_file(folder.path().join(&placed[1].path)).unwrap();
    let (rest, report) = Format::Parquet.read(folder.path()).unwrap();
    assert_eq!(rest.records.len(), data.records.len() - 1);
    let fault = report.faults[0].to_string();
    assert!(fault.contains("train.parquet: row 2: there is no file"), "{fault}");
}

#[test]
fn a_row_is_read_from_many_threads() {
    let images = tempfile::tempdir().unwrap();
    let data = random(images.path(), 3);
    let folder = written(&data, None);
    let read = read_all(folder.path());
    let expected: Vec<Vec<u8>> = data.records.iter().map(|record| record.image.read().unwrap()).collect();
    thread::scope(|scope| {
        for start in 0..8 {
            let (read, expected) = (&read.records, &expected);
            scope.spawn(move || {
                for step in 0..200 {
                    let index = (start * 5 + step * 7) % read.len();
                    assert_eq!(read[index].image.read().unwrap(), expected[index]);
                }
            });
        }
    });
    assert_eq!(read.records[1].image.place(), folder.path().join("train.parquet: row 2"));
    assert_eq!(read.records[1].image, read_all(folder.path()).records[1].image);
    assert_ne!(read.records[1].image, read.records[2].image);
}

#[test]
fn row_groups_are_bounded_and_each_image_has_its_page() {
    const MIB: usize = 1 << 20;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.png");
    fs::write(&path, vec![1; 15 * MIB]).unwrap();
    let mut records = vec![Record::new(path.as_path(), (1, 1), vec![]); 9];
    let small = folder.path().join("small.png");
    fs::write(&small, vec![2; 100_000]).unwrap();
    records.extend(vec![Record::new(small.as_path(), (1, 1), vec![]); 20]);
    let tables = written(&Dataset::new(records, ["a"]), None);
    let table = TableFile::open(&tables.path().join("data.parquet")).unwrap();
    let groups = table.metadata().row_groups();
    assert_eq!(groups.iter().map(|group| group.num_rows()).collect::<Vec<_>>(), [4, 4, 21]);
    assert!(groups.iter().all(|group| group.total_byte_size() <= 64 * MIB as i64));
    for group in groups {
        let bytes =
            group.columns().iter().find(|column| column.column_path().string() == "image.bytes").unwrap();
        assert_eq!(table.pages(bytes, 64 * MIB).unwrap().len() as i64, group.num_rows());
    }
    let read = read_all(tables.path());
    assert_eq!(read.records[8].image.read().unwrap().len(), 15 * MIB);
    assert_eq!(read.records[28].image.read().unwrap(), vec![2; 100_000]);
}

#[test]
fn faults_name_the_row_and_the_object() {
    let folder = tempfile::tempdir().unwrap();
    let image_of = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let good = image_of("good.png", &image((20, 30), 2));
    let inside = Annotation::new([1.0, 2.0, 3.0, 4.0], 1);
    let records = vec![
        Record::new(good.as_path(), (20, 30), vec![inside]),
        Record::new(good.as_path(), (20, 30), vec![inside, Annotation::new([1.0, 2.0, 33.0, 4.0], 1)]),
        Record::new(good.as_path(), (20, 30), vec![inside]).with_name("../out.png"),
        Record::new(good.as_path(), (21, 30), vec![]),
        Record::new(image_of("bad.png", b"no image"), (20, 30), vec![]),
    ];
    let tables = written(&Dataset::new(records, ["a"]), None);
    let table = tables.path().join("data.parquet");
    let (data, Report { faults, warnings, .. }) = Format::Parquet.read(&table).unwrap();
    assert!(warnings.is_empty());
    assert_eq!(data.records.len(), 4);
    let expected = |places: &[&str]| {
        places.iter().map(|place| format!("{}: {place}", table.display())).collect::<Vec<_>>()
    };
    let of_reading = expected(&[
        "row 3: the path `../out.png` leaves the folder of the data set",
        "row 2, object 2: box `1 2 33 4` lies outside the image (height 20, width 30)",
    ]);
    let said = |faults: &[crate::Error]| faults.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(said(&faults), of_reading);
    let checked = said(&Format::Parquet.check(&table).unwrap().faults);
    let of_images = expected(&[
        "row 4: the image has 30 x 20 pixels, its annotations say 30 x 21",
        "row 5: unusable image",
    ]);
    assert_eq!(checked, [of_reading, of_images].concat());

    let boxes = tables.path().join("boxes");
    fs::remove_file(&table).unwrap();
    let (data, report) = Format::Parquet.read(tables.path()).unwrap();
    assert!(data.records.is_empty());
    let misses = |fault: &crate::Error| fault.to_string().ends_with("boxes/good.png");
    assert!(report.faults.iter().any(misses), "the labels have no images beside them");
    fs::remove_dir_all(boxes).unwrap();
    let error = Format::of(tables.path()).unwrap_err().to_string();
    assert!(error.contains("no data set is recognised"), "{error}");
}

#[test]
fn tables_of_other_programs_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tables");
    let expected: Value = serde_json::from_slice(&fs::read(folder.join("expected.json")).unwrap()).unwrap();
    for (name, images) in expected["tables"].as_object().unwrap() {
        let data = read_all(&folder.join(name));
        let classes: Vec<&str> = match name.as_str() {
            "datasets_structures.parquet" | "datasets_lists.parquet" => {
                expected["declared"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
            }
            "pandas.parquet" => vec!["0", "1", "2"],
            _ => expected["classes"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect(),
        };
        assert_eq!(data.class_names, classes, "{name}");
        assert_eq!(data.records.len(), images.as_array().unwrap().len(), "{name}");
        for (record, image) in data.records.iter().zip(images.as_array().unwrap()) {
            assert_eq!(record.name, image["name"].as_str().unwrap(), "{name}");
            let size: (usize, usize) = serde_json::from_value(image["size"].clone()).unwrap();
            assert_eq!((record.size, record.image.size().unwrap()), (size, size), "{name}");
            assert_eq!(record.load().unwrap().dimensions(), (size.1 as u32, size.0 as u32));
            let objects = image["objects"].as_array().unwrap();
            assert_eq!(record.annotations.len(), objects.len(), "{name}");
            for (found, object) in record.annotations.iter().zip(objects) {
                let corners: [f64; 4] = serde_json::from_value(object["xyxy"].clone()).unwrap();
                for (found, expected) in found.xyxy.into_iter().zip(corners) {
                    assert!((f64::from(found) - expected).abs() < 1e-5, "{name}: {found} is not {expected}");
                }
                assert_eq!(data.class_names[found.label - 1], object["class"].as_str().unwrap(), "{name}");
                assert_eq!(found.crowd, object["crowd"].as_bool().unwrap(), "{name}");
            }
        }
    }
}
