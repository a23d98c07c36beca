//! Made-up boards in DeepPCB's style and layout, for tests and for a first training without a download.
//!
//! A board is drawn without defects (`layout`), then up to twelve defects are added (`defects`). Their boxes
//! are known from the pixels that changed. Each board has a random generator of its own, keyed by seed and
//! index, so it depends neither on the number of boards nor on the number of threads.

mod canvas;
mod defects;
mod layout;

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use image::{GrayImage, codecs::jpeg::JpegEncoder, imageops};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::random::RandomKey;
use crate::error::{Error, Result};
use crate::files::{write_folder_atomically, write_new};
use crate::structures::Annotation;

/// Allowed sides. A smaller image has no room for a defect and its surroundings; a larger one has no use.
const SIZES: RangeInclusive<usize> = 128..=1024;
/// That of DeepPCB's files, by their quantisation tables.
const JPEG_QUALITY: u8 = 75;
const MOST_DEFECTS: usize = 12;
/// Of a reference against its board, in pixels.
const LARGEST_SHIFT: f32 = 1.0;
/// Standard deviation of a reference's noise, in grey values of 256.
const NOISE: f32 = 4.0;
const BOARDS_PER_GROUP: usize = 100;
/// One board in this many goes to the validation list.
const HELD_OUT: usize = 10;

/// What boards to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntheticConfig {
    /// Height and width in pixels, 128..=1024. Default 640, as in DeepPCB; a smaller image is a smaller
    /// window at the same scale, with fewer defects.
    pub size: usize,
    /// Same seed, same boards. Default 0.
    pub seed: u64,
}

impl Default for SyntheticConfig {
    fn default() -> Self {
        Self { size: 640, seed: 0 }
    }
}

impl SyntheticConfig {
    /// Checks that such boards can be made.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a size outside 128..=1024.
    pub fn validate(&self) -> Result<()> {
        if SIZES.contains(&self.size) {
            return Ok(());
        }
        let (low, high) = (SIZES.start(), SIZES.end());
        Err(Error::Config(format!("size must be in {low}..={high}, is {}", self.size)))
    }
}

/// One board: `(with defects, without, defects)`. Both images are `size` x `size` and hold 0 (copper) and
/// 255 (bare board) only; they differ inside the defects' boxes alone. There are 1 to 12 defects, boxes
/// inside the image and apart from each other, with DeepPCB's margin of 10 pixels around what changed.
///
/// # Panics
///
/// Where [`SyntheticConfig::validate`] would have returned an error.
pub fn board(config: &SyntheticConfig, index: u64) -> (GrayImage, GrayImage, Vec<Annotation>) {
    if let Err(error) = config.validate() {
        panic!("{error}");
    }
    let mut key = [0; 32];
    key[..8].copy_from_slice(&config.seed.to_le_bytes());
    key[8..16].copy_from_slice(&index.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);

    // The sum of two dice resembles DeepPCB's number of defects on 640x640 pixels: 2 to 12, most often 7.
    let on_real_side = rng.random_range(1..=6) + rng.random_range(1..=6);
    let area = (config.size as f32 / layout::REAL_SIDE).powi(2);
    let count = ((on_real_side as f32 * area).round() as usize).clamp(1, MOST_DEFECTS);
    loop {
        let template = layout::template(config.size, &mut rng);
        let (board, annotations) = defects::add(&template, count, &mut rng);
        // A small window may have no place for a defect; then draw another one.
        if !annotations.is_empty() {
            return (board, template, annotations);
        }
    }
}

/// Writes `images` boards to the folder `output` in DeepPCB's layout, which [`open`](super::open) reads: per
/// board the image, its template without defects and its labels, in groups of a hundred. The template is
/// slightly shifted and has noise, as another photograph. One board in ten (at least one of two) goes to
/// `test.txt`, the others to `trainval.txt`.
///
/// `output` must not exist yet, or be an empty folder, which is replaced. Everything is first written to a
/// hidden folder beside it, which is renamed in the end. So a folder with that name holds the whole data set.
///
/// # Errors
///
/// [`Error::Config`] for a bad `config` or no images, [`Error::File`] where `output` holds something
/// already (nothing is overwritten), [`Error::Io`] and [`Error::Image`] where it cannot be written.
pub fn write_synthetic(output: impl AsRef<Path>, images: usize, config: &SyntheticConfig) -> Result<()> {
    config.validate()?;
    if images == 0 {
        return Err(Error::Config("at least 1 image must be made".to_string()));
    }
    write_folder_atomically(output.as_ref(), |folder| write_boards(folder, images, config))
}

fn write_boards(folder: &Path, images: usize, config: &SyntheticConfig) -> Result<()> {
    for group in 0..images.div_ceil(BOARDS_PER_GROUP) {
        let board = BoardPath::of(group * BOARDS_PER_GROUP);
        for path in [folder.join(board.images()), folder.join(board.labels())] {
            fs::create_dir_all(&path).map_err(Error::io(&path))?;
        }
    }
    (0..images).into_par_iter().try_for_each(|index| write_board(folder, index, config))?;

    let is_held_out =
        |index: usize| index % HELD_OUT == HELD_OUT - 1 || (images < HELD_OUT && index + 1 == images);
    let list = |held_out: bool| -> String {
        (0..images).filter(|index| (images > 1 && is_held_out(*index)) == held_out).map(list_line).collect()
    };
    write_new(&folder.join("trainval.txt"), list(false).as_bytes())?;
    if images > 1 {
        write_new(&folder.join("test.txt"), list(true).as_bytes())?;
    }
    Ok(())
}

/// Where the files of a board are within the data set: `groupX/X` and `groupX/X_not`, `NAME`.
struct BoardPath {
    group: String,
    name: String,
}

impl BoardPath {
    /// DeepPCB's first seven digits are the plate that a board was cut from. Each of these boards is a plate
    /// of its own.
    fn of(index: usize) -> Self {
        let (group, member) = (index / BOARDS_PER_GROUP, index % BOARDS_PER_GROUP);
        Self { group: format!("{group:05}"), name: format!("{group:05}{member:02}0") }
    }

    fn images(&self) -> String {
        format!("group{0}/{0}", self.group)
    }

    fn labels(&self) -> String {
        format!("group{0}/{0}_not", self.group)
    }
}

fn list_line(index: usize) -> String {
    let board = BoardPath::of(index);
    format!("{}/{name}.jpg {}/{name}.txt\n", board.images(), board.labels(), name = board.name)
}

fn write_board(folder: &Path, index: usize, config: &SyntheticConfig) -> Result<()> {
    let path = BoardPath::of(index);
    let (with_defects, template, annotations) = board(config, index as u64);
    let reference = photograph(&template, config.seed, index as u64);
    for (kind, image) in [("test", with_defects), ("temp", reference)] {
        let path = folder.join(path.images()).join(format!("{}_{kind}.jpg", path.name));
        let mut bytes = Vec::new();
        let encoder = JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY);
        image.write_with_encoder(encoder).map_err(Error::image(&path))?;
        write_new(&path, &bytes)?;
    }
    let labels: String = annotations
        .iter()
        .map(|Annotation { xyxy: [x1, y1, x2, y2], label, .. }| format!("{x1} {y1} {x2} {y2} {label}\n"))
        .collect();
    write_new(&folder.join(path.labels()).join(format!("{}.txt", path.name)), labels.as_bytes())
}

/// A board as another photograph has it: shifted by up to [`LARGEST_SHIFT`] pixels along each axis, where
/// values at the border go on outside, and with noise.
fn photograph(template: &GrayImage, seed: u64, index: u64) -> GrayImage {
    let mut rng = RandomKey { seed, epoch: 0, image: index }.generator();
    let [x, y] = [(); 2].map(|()| rng.random_range(-LARGEST_SHIFT..=LARGEST_SHIFT));
    let (right, bottom) = ((template.width() - 1) as f32, (template.height() - 1) as f32);
    GrayImage::from_fn(template.width(), template.height(), |to_x, to_y| {
        let (from_x, from_y) = ((to_x as f32 + x).clamp(0.0, right), (to_y as f32 + y).clamp(0.0, bottom));
        let value =
            imageops::interpolate_bilinear(template, from_x, from_y).map_or(0.0, |pixel| f32::from(pixel[0]));
        let noise: f32 = rng.sample(rand_distr::StandardNormal);
        [(value + NOISE * noise).round().clamp(0.0, 255.0) as u8].into()
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::data::dataset::Split;
    use crate::data::formats::deep_pcb::CLASS_NAMES;
    use crate::data::formats::{Format, open};
    use crate::structures::intersection;

    fn small(seed: u64) -> SyntheticConfig {
        SyntheticConfig { size: 192, seed }
    }

    /// All files below a folder with their contents, by relative path.
    fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        let mut folders = vec![folder.to_path_buf()];
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.push((path.strip_prefix(folder).unwrap().to_path_buf(), fs::read(&path).unwrap()));
                }
            }
        }
        files.sort();
        files
    }

    #[test]
    fn every_box_is_around_a_change_and_every_change_is_in_a_box() {
        let mut seen = [0; CLASS_NAMES.len()];
        for (size, boards) in [(128, 20), (640, 6), (1024, 2)] {
            for index in 0..boards {
                let (board, template, annotations) = board(&SyntheticConfig { size, seed: 5 }, index);
                assert_eq!(board.dimensions(), (size as u32, size as u32));
                assert_eq!(board.dimensions(), template.dimensions());
                assert!(board.pixels().all(|pixel| pixel[0] == 0 || pixel[0] == 255));
                assert!((1..=MOST_DEFECTS).contains(&annotations.len()));

                let mut changes = vec![0; annotations.len()];
                for ((x, y, after), before) in board.enumerate_pixels().zip(template.pixels()) {
                    if after == before {
                        continue;
                    }
                    let pixel = [x as f32, y as f32, x as f32 + 1.0, y as f32 + 1.0];
                    let owners: Vec<usize> = (0..annotations.len())
                        .filter(|i| intersection(&annotations[*i].xyxy, &pixel) == 1.0)
                        .collect();
                    assert_eq!(owners.len(), 1, "pixel ({x}, {y}) of board {index}");
                    changes[owners[0]] += 1;
                    // Labels 1, 3 and 6 take copper away, 2, 4 and 5 add some.
                    let takes_away = matches!(annotations[owners[0]].label, 1 | 3 | 6);
                    assert_eq!(*after == canvas::BARE, takes_away);
                }
                for (annotation, changed) in annotations.iter().zip(changes) {
                    assert!(changed >= 20, "{annotation:?} of board {index} changes {changed} pixels");
                    assert!(annotation.xyxy.iter().all(|v| (0.0..=size as f32).contains(v)));
                    seen[annotation.label - 1] += 1;
                }
            }
        }
        assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("new").join("boards");
        write_synthetic(&output, 11, &small(3)).unwrap();

        let report = Format::DeepPcb.check(&output).unwrap();
        assert!(report.faults.is_empty() && report.warnings.is_empty(), "{report:?}");
        let Split { train, validation } = open(&output).unwrap().sides(0);
        assert_eq!((train.records.len(), validation.records.len()), (10, 1));
        assert_eq!(open(&output).unwrap().records.len(), 11);
        for (index, record) in train.records.iter().take(3).enumerate() {
            let (expected, _, annotations) = board(&small(3), index as u64);
            assert_eq!(record.file_name(), format!("000000{index}0_test.jpg"));
            assert_eq!(record.size, (192, 192));
            assert_eq!(record.annotations, annotations);
            // Black stays dark and white stays bright in the JPEG.
            let same = record
                .load()
                .unwrap()
                .pixels()
                .zip(expected.pixels())
                .all(|(read, drawn)| read.0.iter().all(|channel| (*channel > 127) == (drawn[0] > 127)));
            assert!(same, "{}", record.file_name());
        }
    }

    #[test]
    fn a_board_depends_on_seed_and_index_alone() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, images: usize, seed: u64| {
            let output = folder.path().join(name);
            write_synthetic(&output, images, &small(seed)).unwrap();
            contents(&output)
        };
        let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let five = write("five", 5, 1);
        assert_eq!(five, one_thread.install(|| write("again", 5, 1)));
        let is_list = |(path, _): &&(PathBuf, Vec<u8>)| {
            path.extension().is_some_and(|extension| extension == "txt") && path.components().count() == 1
        };
        let two = write("two", 2, 1);
        assert!(two.iter().filter(|file| !is_list(file)).all(|file| five.contains(file)));
        assert!(!write("other", 2, 2).iter().filter(|file| !is_list(file)).any(|file| five.contains(file)));
    }

    #[test]
    fn two_boards_are_one_for_each_list_and_one_board_has_no_test_list() {
        let folder = tempfile::tempdir().unwrap();
        for (images, expected) in [(1, (1, 0)), (2, (1, 1)), (9, (8, 1))] {
            let output = folder.path().join(images.to_string());
            write_synthetic(&output, images, &SyntheticConfig { size: 128, seed: 0 }).unwrap();
            let Split { train, validation } = open(&output).unwrap().sides(0);
            assert_eq!((train.records.len(), validation.records.len()), expected);
        }
    }

    #[test]
    fn a_folder_that_holds_something_is_left_alone_whatever_it_is_called() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["notes.md", "unfinished/thesis.md", ".hidden"] {
            let output = folder.path().join("boards");
            let path = output.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "mine").unwrap();
            let message = write_synthetic(&output, 2, &small(0)).unwrap_err().to_string();
            assert!(message.contains("not empty"), "{message}");
            assert_eq!(contents(folder.path()), [(Path::new("boards").join(file), b"mine".to_vec())]);
            fs::remove_dir_all(&output).unwrap();
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for (images, size) in [(0, 128), (2, 127), (2, 1025)] {
            let output = folder.path().join("none");
            let error = write_synthetic(&output, images, &SyntheticConfig { size, seed: 0 }).unwrap_err();
            assert!(matches!(error, Error::Config(_)), "{error}");
            assert!(!output.exists());
        }
    }
}
