//! Image files of all kinds, against what Pillow reads (`tests/reference/images.py`), and files that are no
//! images.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use faster_rcnn::data::{Record, image_size, load_image};
use faster_rcnn::image::{DynamicImage, ImageFormat, RgbImage};

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// How far a value of the row `y` may be from Pillow's. JPEG leaves two things to the decoder: rounding, and
/// how to enlarge colours that are stored at half the size. At the lower border, where a row of colours is
/// missing, decoders guess it differently. All else is exact.
fn tolerance(path: &Path, y: usize, height: usize) -> u8 {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("jpg") if ["s420", "progressive"].contains(&stem) && y + 1 == height => 8,
        Some("jpg") => 4,
        _ => 0,
    }
}

#[test]
fn pixels_are_those_that_pillow_reads() {
    let files = fixtures();
    assert_eq!(files.len(), 33);
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap().replace('.', "_");
        let expected = path.with_file_name("expected").join(format!("{name}.png"));
        let expected = faster_rcnn::image::open(expected).unwrap().into_rgb8();
        let record = Record::from_image(&path, Vec::new()).unwrap();
        let found = record.load().unwrap();
        assert_eq!(found.dimensions(), expected.dimensions(), "{name}");
        assert_eq!(record.size, (found.height() as usize, found.width() as usize), "{name}");
        let (height, row) = (record.size.0, 3 * record.size.1);
        for (index, (found, expected)) in found.as_raw().iter().zip(expected.as_raw()).enumerate() {
            let (y, difference) = (index / row, found.abs_diff(*expected));
            assert!(difference <= tolerance(&path, y, height), "{name}: {found} for {expected} in row {y}");
        }
    }
}

#[test]
fn a_file_that_is_cut_off_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    for fixture in fixtures() {
        let whole = fs::read(&fixture).unwrap();
        let path = folder.path().join(fixture.file_name().unwrap());
        for length in [0, 3, whole.len() / 2] {
            fs::write(&path, &whole[..length]).unwrap();
            let error = load_image(&path).unwrap_err();
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        }
    }
    let jpeg = fs::read(fixtures().iter().find(|path| path.ends_with("s420.jpg")).unwrap()).unwrap();
    let path = folder.path().join("no_end.jpg");
    fs::write(&path, &jpeg[..jpeg.len() - 2]).unwrap();
    assert!(load_image(&path).unwrap_err().to_string().contains("the file is cut off"));
    fs::write(&path, [&jpeg[..], b"\xFF\xDA\x00\x08 whatever"].concat()).unwrap();
    load_image(&path).unwrap();
}

#[test]
fn what_is_no_image_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 12345\n";
    for (name, content) in
        [("pointer.jpg", pointer), ("page.jpg", "<!DOCTYPE html><html></html>"), ("empty.jpg", "")]
    {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        for error in [load_image(&path).unwrap_err(), image_size(&path).unwrap_err()] {
            let message = format!("{error:#}");
            assert!(
                message.contains(name) && message.contains("format could not be determined"),
                "{message}"
            );
        }
    }
    let missing = load_image(folder.path().join("missing.jpg")).unwrap_err().to_string();
    assert!(missing.contains("missing.jpg"), "{missing}");
}

#[test]
fn images_of_any_shape_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.png");
    for (width, height) in [(1, 1), (3000, 1), (1, 3000), (2000, 20)] {
        RgbImage::from_fn(width, height, |x, y| [x as u8, y as u8, 7].into()).save(&path).unwrap();
        assert_eq!(load_image(&path).unwrap().get_pixel(width - 1, height - 1).0[2], 7);
        assert_eq!(image_size(&path).unwrap(), (height as usize, width as usize));
    }
}

/// Above the image crate's own limit of 512 MiB, and Pillow's of 178,956,970 pixels.
#[test]
fn the_whole_board_of_a_line_scan_camera_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("board.png");
    let (width, height) = (16_000, 12_000);
    DynamicImage::new_luma8(width, height).save_with_format(&path, ImageFormat::Png).unwrap();
    let image = load_image(&path).unwrap();
    assert_eq!(image.dimensions(), (width, height));
}

/// A process of its own, because the limit is read from the environment once.
#[test]
fn the_limit_of_pixels_is_named_and_can_be_set() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("boards");
    let config = faster_rcnn::data::SyntheticConfig { size: 128, seed: 0 };
    faster_rcnn::data::write_synthetic(&root, 1, &config).unwrap();
    let check = |limit: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_faster-rcnn"));
        command.arg("check").arg("--data").arg(&root).env("FASTER_RCNN_MAX_IMAGE_PIXELS", limit);
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    assert!(check("16384").0);
    for (limit, message) in [
        ("16383", "an image of 128 x 128 pixels has more than the 16383 that are read"),
        ("many", "FASTER_RCNN_MAX_IMAGE_PIXELS must be a number of pixels, is \"many\""),
    ] {
        let (success, text) = check(limit);
        assert!(
            !success && text.contains(message) && text.contains("FASTER_RCNN_MAX_IMAGE_PIXELS"),
            "{text}"
        );
    }
}
