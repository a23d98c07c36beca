//! Weight files to be read, and how they are made.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use burn::tensor::Device;
use faster_rcnn::weights::{LoadOptions, WeightFile};
use faster_rcnn::{Error, FasterRcnn, Predictor, Result};
use image::RgbImage;
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::memory::{MIB, measured};

/// What opening a file may take beside a few times its size: instructions of a pickle, entries of a header.
const OPENING: usize = 256 * MIB;

/// What reading one of its tensors may take: the bytes that a small file may claim, in f64 and as f32.
const READING: usize = 1024 * MIB;

/// A folder with one file in it, again and again another one.
pub struct Bench {
    pub folder: TempDir,
}

impl Bench {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("hostile.pth")
    }

    /// Opens a file and reads its tensors; the first error, if there is any, has been looked at.
    pub fn read(&self, bytes: &[u8]) -> Result<()> {
        let path = self.path();
        fs::write(&path, bytes).unwrap();
        let (file, peak) = measured(|| WeightFile::open(&path));
        assert!(peak < OPENING + 8 * bytes.len(), "opening {} bytes took {peak}", bytes.len());
        let result = file.and_then(|file| {
            let mut read = 0;
            for name in file.tensors().keys() {
                // A whole detector would only take time.
                if read > 2 * MIB {
                    break;
                }
                let (data, peak) = measured(|| file.read(name));
                assert!(
                    peak < READING + 8 * bytes.len(),
                    "reading {name} took {peak} of {} bytes",
                    bytes.len()
                );
                let expected: usize = file.tensors()[name].shape.iter().product();
                assert_eq!(data?.num_elements(), expected);
                read += expected;
            }
            Ok(())
        });
        if let Err(error) = &result {
            self.check(error);
        }
        result
    }

    /// Loads a file as a detector and runs it, or looks at the error.
    pub fn load(&self, bytes: &[u8]) {
        fs::write(self.path(), bytes).unwrap();
        // The default size of images would only take time.
        let options = LoadOptions::default().set("transform.min_size=32").set("transform.max_size=32");
        let (result, peak) =
            measured(|| WeightFile::open(self.path()).and_then(|file| file.load(&options, &Device::flex())));
        assert!(peak < READING + 8 * bytes.len(), "loading {} bytes took {peak}", bytes.len());
        match result {
            Ok(model) => detect(model),
            Err(error) => self.check(&error),
        }
    }

    fn check(&self, error: &Error) {
        let text = format!("{error:#}");
        let (Error::File { path, .. } | Error::Tensor { path, .. } | Error::Io { path, .. }) = error else {
            panic!("{text}");
        };
        assert_eq!(*path, self.path(), "{text}");
        assert!(text.len() < 10_000, "an error of {} bytes", text.len());
    }
}

/// Whatever the weights are, the outcome is boxes in the image or an error of its own.
pub fn detect(model: FasterRcnn) {
    let start = Instant::now();
    match Predictor::new(model).detect(&RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8, y as u8, 7]))) {
        Ok(found) => {
            for found in found {
                let [x1, y1, x2, y2] = found.xyxy;
                assert!(
                    0.0 <= x1 && x1 <= x2 && x2 <= 40.0 && 0.0 <= y1 && y1 <= y2 && y2 <= 30.0,
                    "{found:?}"
                );
            }
        }
        Err(Error::NonFinite(_)) => {}
        Err(error) => panic!("{error:#}"),
    }
    assert!(start.elapsed() < Duration::from_secs(120), "{:?}", start.elapsed());
}

pub fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights");
    fs::read(folder.join(name)).unwrap()
}

/// A zip archive as `torch.save` writes them, but for the compression.
pub fn archive(entries: &[(&str, &[u8])], compression: CompressionMethod) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        let options = SimpleFileOptions::default().compression_method(compression);
        archive.start_file(*name, options).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// An archive with a pickle and a storage of 16 bytes.
pub fn stored(pickle: &[u8]) -> Vec<u8> {
    archive(&[("a/data.pkl", pickle), ("a/data/0", &[0; 16])], CompressionMethod::Stored)
}

/// A legacy file with a pickle and without storages.
pub fn legacy(pickle: &[u8]) -> Vec<u8> {
    let header = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}X\x0d\x00\x00\x00little_endian\x88s.";
    [header, pickle, b"\x80\x02]."].concat()
}

pub fn integers(values: &[i64]) -> Vec<u8> {
    let mut pickle = b"(".to_vec();
    for value in values {
        pickle.extend([&[0x8a, 8][..], &value.to_le_bytes()].concat());
    }
    pickle.push(b't');
    pickle
}

/// A state dict with one tensor, as `torch.save` pickles it.
pub fn tensor(storage: &str, elements: i64, offset: i64, shape: &[i64], stride: &[i64]) -> Vec<u8> {
    let integer = |value: i64| [&[0x8a, 8][..], &value.to_le_bytes()].concat();
    [
        &b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\n"
            [..],
        storage.as_bytes(),
        b"\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu",
        &integer(elements),
        b"tQ",
        &integer(offset),
        &integers(shape),
        &integers(stride),
        b"\x89ccollections\nOrderedDict\n)RtRs.",
    ]
    .concat()
}

pub fn float(elements: i64, offset: i64, shape: &[i64], stride: &[i64]) -> Vec<u8> {
    stored(&tensor("FloatStorage", elements, offset, shape, stride))
}

pub fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&header.len().to_le_bytes(), header.as_bytes(), data].concat()
}
