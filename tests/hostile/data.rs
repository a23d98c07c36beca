//! Data sets that are damaged, or made to do harm: each is read, or gives faults that name its files, in
//! little memory.

use std::fs;
use std::path::{Path, PathBuf};

use faster_rcnn::data::{Dataset, Format, Record, Side, Transfer};
use faster_rcnn::{Annotation, Error};
use image::GrayImage;
use tempfile::TempDir;

use crate::memory::{MIB, measured};
use crate::mutants::fuzz;

/// What reading a data set may take beside four times the size of its files.
const READING: usize = MIB / 2;

/// What decoding its images may take: they have a few pixels, and a mutant may claim more, up to the limit
/// that the test sets.
const DECODING: usize = 64 * MIB;

/// A small data set in some format, of which one file is another one each time.
struct Bench {
    format: Format,
    folder: TempDir,
    changing: PathBuf,
}

impl Bench {
    /// `changing` is the file, below the data set's folder, that mutants replace.
    fn new(format: Format, changing: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        fs::create_dir(&source).unwrap();
        let record = |index: usize| {
            let path = source.join(format!("b & <{index}>.png"));
            GrayImage::new(30 + index as u32, 40).save(&path).unwrap();
            let boxes = [[1.0, 2.0, 10.5, 20.25], [3.0, 3.0, 28.0, 39.0]];
            let objects = boxes.iter().zip(1..).map(|(xyxy, label)| Annotation::new(*xyxy, label)).collect();
            let record = Record::new(path, (40, 30 + index), objects);
            let side = if index == 0 { Side::Train } else { Side::Test };
            record.with_side(side).with_name(format!("b{index}.png"))
        };
        let data = Dataset::new((0..3).map(record).collect(), ["open", "pin & hole"]);
        let there = folder.path().join("data");
        format.write(&data, &there, Transfer::Copy).unwrap();
        let changing = there.join(changing);
        assert!(changing.is_file(), "{changing:?}");
        Self { format, folder, changing }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn original(&self) -> Vec<u8> {
        fs::read(&self.changing).unwrap()
    }

    /// Reads the data set with another content of the file.
    fn read(&self, content: &[u8]) {
        fs::write(&self.changing, content).unwrap();
        let size: usize = size_of(&self.root());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
        // The allocations of one thread are counted.
        let (result, peak) = match pool {
            Ok(pool) => measured(|| pool.install(|| self.format.read(self.root()))),
            // The thread is in a pool already.
            Err(_) => measured(|| self.format.read(self.root())),
        };
        assert!(peak < 4 * size + READING, "reading {size} bytes took {peak}");
        match result {
            Ok((data, report)) => {
                report.faults.iter().chain(&report.warnings).for_each(|error| self.check(error));
                data.validate().unwrap();
                let inside = fs::canonicalize(self.root()).unwrap();
                for record in &data.records {
                    let path = fs::canonicalize(record.image.path()).unwrap();
                    assert!(path.starts_with(&inside), "{path:?} leaves the data set");
                    let (_, peak) = measured(|| record.load());
                    assert!(peak < DECODING, "decoding took {peak}");
                }
            }
            Err(error) => self.check(&error),
        }
    }

    /// An error names a file of the data set and is short enough to be read.
    fn check(&self, error: &Error) {
        let text = format!("{error:#}");
        assert!(text.contains(&*self.root().to_string_lossy()), "{text}");
        assert!(text.len() < 20_000, "an error of {} bytes", text.len());
    }

    fn fuzz(&self, mutants: usize) {
        // SAFETY: all tests of this file set the same value, and nothing else reads it before.
        unsafe { std::env::set_var("FASTER_RCNN_MAX_IMAGE_PIXELS", (1 << 20).to_string()) };
        let original = self.original();
        self.read(&original);
        let other = String::from_utf8_lossy(&original).replace('1', "99999999999").into_bytes();
        fuzz(mutants, &[original, other], |_, bytes| self.read(bytes));
    }
}

fn size_of(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| if path.is_dir() { size_of(&path) } else { path.metadata().unwrap().len() as usize })
        .sum()
}

#[test]
fn mutants_of_coco() {
    Bench::new(Format::Coco, "annotations/instances_test.json").fuzz(5_000);
}

#[test]
fn mutants_of_voc() {
    Bench::new(Format::Voc, "Annotations/b1.xml").fuzz(3_000);
    Bench::new(Format::Voc, "ImageSets/Main/test.txt").fuzz(500);
    Bench::new(Format::Voc, "classes.txt").fuzz(500);
}

#[test]
fn mutants_of_yolo() {
    Bench::new(Format::Yolo, "data.yaml").fuzz(3_000);
    Bench::new(Format::Yolo, "labels/test/b1.txt").fuzz(1_000);
}

#[test]
fn mutants_of_deep_pcb() {
    Bench::new(Format::DeepPcb, "images_not/b1.txt").fuzz(1_000);
    Bench::new(Format::DeepPcb, "test.txt").fuzz(1_000);
}

#[test]
fn mutants_of_images() {
    Bench::new(Format::Yolo, "images/test/b1.png").fuzz(2_000);
}

#[test]
fn many_objects_of_one_image_take_time_and_memory_in_proportion() {
    let bench = Bench::new(Format::Yolo, "labels/test/b1.txt");
    let start = std::time::Instant::now();
    bench.read("0 0.500000 0.500000 0.100000 0.100000\n".repeat(200_000).as_bytes());
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}
