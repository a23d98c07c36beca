//! Weight files that are damaged, or made to do harm: each gives an error that names it, in little memory.
//!
//! The last test is a fuzzer, which by default tries a fixed number of mutants of the committed files. For
//! longer: `FUZZ_SECONDS=600 cargo test --release --test hostile_weights fuzz -- --nocapture`, with another
//! `FUZZ_SEED` each time.

#[path = "common/hostile.rs"]
mod hostile;

use std::fs;
use std::io::{Cursor, Seek, SeekFrom, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use burn::tensor::Device;
use faster_rcnn::weights::{self, LoadOptions, NamedTensor, WeightFile};
use faster_rcnn::{Error, FasterRcnn, FasterRcnnConfig, Predictor, ResNetDepth, Result};
use image::RgbImage;
use serde_json::{Value, json};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use hostile::{MIB, measured};

/// What opening a file may take beside a few times its size: instructions of a pickle, entries of a header.
const OPENING: usize = 256 * MIB;

/// What reading one of its tensors may take: the bytes that a small file may claim, in f64 and as f32.
const READING: usize = 1024 * MIB;

/// A folder with one file in it, again and again another one.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("hostile.pth")
    }

    /// Opens a file and reads its tensors; the first error, if there is any, has been looked at.
    fn read(&self, bytes: &[u8]) -> Result<()> {
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
    fn load(&self, bytes: &[u8]) {
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
fn detect(model: FasterRcnn) {
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

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights");
    fs::read(folder.join(name)).unwrap()
}

/// A zip archive as `torch.save` writes them, but for the compression.
fn archive(entries: &[(&str, &[u8])], compression: CompressionMethod) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        let options = SimpleFileOptions::default().compression_method(compression);
        archive.start_file(*name, options).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// An archive with a pickle and a storage of 16 bytes.
fn stored(pickle: &[u8]) -> Vec<u8> {
    archive(&[("a/data.pkl", pickle), ("a/data/0", &[0; 16])], CompressionMethod::Stored)
}

/// A legacy file with a pickle and without storages.
fn legacy(pickle: &[u8]) -> Vec<u8> {
    let header = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}X\x0d\x00\x00\x00little_endian\x88s.";
    [header, pickle, b"\x80\x02]."].concat()
}

fn integers(values: &[i64]) -> Vec<u8> {
    let mut pickle = b"(".to_vec();
    for value in values {
        pickle.extend([&[0x8a, 8][..], &value.to_le_bytes()].concat());
    }
    pickle.push(b't');
    pickle
}

/// A state dict with one tensor, as `torch.save` pickles it.
fn tensor(storage: &str, elements: i64, offset: i64, shape: &[i64], stride: &[i64]) -> Vec<u8> {
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

fn float(elements: i64, offset: i64, shape: &[i64], stride: &[i64]) -> Vec<u8> {
    stored(&tensor("FloatStorage", elements, offset, shape, stride))
}

fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&header.len().to_le_bytes(), header.as_bytes(), data].concat()
}

#[test]
fn hostile_files_give_errors() {
    let bench = Bench::new();
    bench.read(&float(4, 0, &[2, 2], &[2, 1])).unwrap();
    bench.read(&legacy(b"\x80\x02}.")).unwrap();

    // As long as pickles may be: values, and values that are remembered.
    let remembered = (0..170_000_u32).flat_map(|index| [&b"}r"[..], &index.to_le_bytes(), b"0"].concat());
    for middle in [vec![b'N'; 500_000], vec![b']'; 500_000], remembered.collect()] {
        bench.read(&stored(&[&b"\x80\x02"[..], &middle, b"}."].concat())).unwrap();
    }

    let many = vec![b'N'; 2 << 20];
    let pickle = |middle: &[u8]| stored(&[b"\x80\x02}", middle, b"."].concat());
    let deep = [&[b']'; 5000][..], &[b'a'; 4999]].concat();
    let doubled: Vec<u8> = [b"(".to_vec(), b"2\x86".repeat(60), b".".to_vec()].concat();
    let one = |dtype: &str, shape: &str, offsets: &str| {
        safetensors(
            &format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#),
            &[0; 16],
        )
    };
    let huge = 1_i64 << 40;
    let mut tar = legacy(b"\x80\x02}.");
    tar.resize(257, 0);
    tar.extend(b"ustar");
    let cases: &[(&str, Vec<u8>, &str)] = &[
        ("empty", vec![], "the file is empty"),
        ("one byte", vec![0x80], "neither a safetensors nor"),
        ("text", b"these are not weights".to_vec(), "neither a safetensors nor"),
        ("plain pickle", b"\x80\x02}.".to_vec(), "neither a safetensors nor"),
        ("tar", tar, "neither a safetensors nor"),
        ("zip without a pickle", archive(&[("a/b", b"c")], CompressionMethod::Stored), "data.pkl"),
        (
            "zip bomb",
            archive(&[("a/data.pkl", &vec![b'N'; 64 << 20])], CompressionMethod::Deflated),
            "a/data.pkl is compressed",
        ),
        (
            "compressed storage",
            archive(
                &[("a/data.pkl", b"\x80\x02}."), ("a/data/0", &[0; 1 << 20])],
                CompressionMethod::Deflated,
            ),
            "is compressed",
        ),
        ("long pickle", pickle(&many), "more than 524288 instructions"),
        ("long legacy pickle", legacy(&many), "more than 524288 instructions"),
        (
            "string beyond the end",
            pickle(b"\x8d\xff\xff\xff\xff\xff\xff\xff\x3f"),
            "not a whole PyTorch file",
        ),
        ("bytes beyond the end", pickle(b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff"), "not a whole PyTorch file"),
        ("integer beyond the end", pickle(b"\x8b\xff\xff\xff\x7f"), "not a whole PyTorch file"),
        ("unknown instruction", pickle(b"\xff"), "not a whole PyTorch file"),
        ("extension", pickle(b"\x82\x01"), "not a whole PyTorch file"),
        ("empty stack", stored(b"."), "not a whole PyTorch file"),
        ("mark only", stored(b"(."), "not a whole PyTorch file"),
        ("root is no dictionary", stored(b"\x80\x02]."), "Expected a dictionary"),
        ("no end", stored(b"\x80\x02}"), "not a whole PyTorch file"),
        ("deep nesting", stored(&[&deep[..], b"."].concat()), "nesting exceeds"),
        ("doubling", stored(&doubled), "not a whole PyTorch file"),
        ("memo that is not there", pickle(b"h\x07"), "not a whole PyTorch file"),
        (
            "tensor beyond its storage",
            float(4, 1, &[4], &[1]),
            "needs 5 elements, but storage '0' declares 4",
        ),
        ("stride beyond its storage", float(4, 0, &[2, 2], &[3, 1]), "needs 5 elements"),
        ("storage beyond its entry", float(huge, 0, &[huge], &[1]), "above the"),
        ("storage a bit beyond its entry", float(5, 0, &[5], &[1]), "tensor w: "),
        ("offset beyond its entry", float(huge, huge - 1, &[1], &[1]), "tensor w: "),
        ("negative shape", float(4, 0, &[-2, -2], &[2, 1]), "non-negative"),
        ("negative stride", float(4, 3, &[4], &[-1]), "non-negative"),
        ("negative offset", float(4, -1, &[4], &[1]), "non-negative"),
        ("negative storage", float(-4, 0, &[4], &[1]), "non-negative"),
        ("shape that overflows", float(4, 0, &[huge, huge], &[0, 0]), "overflows"),
        ("stride that overflows", float(4, 0, &[3, 3], &[i64::MAX, i64::MAX]), "overflows"),
        ("unequal ranks", float(4, 0, &[2, 2], &[1]), "rank"),
        ("view of 1 TB", float(4, 0, &[huge / 4], &[0]), "above the"),
        (
            "view of 4 GB",
            float(4, 0, &[1 << 30], &[0]),
            "tensor w: claims 4294967296 bytes, the whole file has ",
        ),
        ("complex", stored(&tensor("ComplexFloatStorage", 2, 0, &[2], &[1])), "ComplexFloatStorage"),
        ("integers", stored(&tensor("IntStorage", 4, 0, &[4], &[1])), "tensor w: is i32"),
        ("booleans", stored(&tensor("BoolStorage", 4, 0, &[4], &[1])), "tensor w: is u8"),
        ("header beyond the end", [&(1_u64 << 40).to_le_bytes()[..], b"{}"].concat(), "header claims to end"),
        ("largest header", [&u64::MAX.to_le_bytes()[..], b"{}"].concat(), "header claims to end"),
        ("long header", safetensors(&format!("{{{}}}", " ".repeat(17 << 20)), &[]), "more than the 16777216"),
        ("no JSON", safetensors("{no}", &[]), "not a whole safetensors file"),
        ("deep JSON", safetensors(&r#"{"a":"#.repeat(100_000), &[]), "not a whole safetensors file"),
        ("offsets beyond the end", one("F32", "[5]", "[0,20]"), "header describes"),
        ("offsets before the end", one("F32", "[3]", "[0,12]"), "header describes"),
        ("offsets with a gap", one("F32", "[3]", "[4,16]"), "not a whole safetensors file"),
        ("offsets in reverse", one("F32", "[4]", "[16,0]"), "not a whole safetensors file"),
        ("negative offsets", one("F32", "[4]", "[-16,0]"), "not a whole safetensors file"),
        ("another length", one("F32", "[2]", "[0,16]"), "not a whole safetensors file"),
        (
            "product that overflows",
            one("F32", "[4294967296,4294967296]", "[0,16]"),
            "not a whole safetensors file",
        ),
        ("largest offsets", one("U8", "[18446744073709551615]", "[0,18446744073709551615]"), "not a whole"),
        ("unknown type", one("F31", "[4]", "[0,16]"), "not a whole safetensors file"),
        ("type of 8 bits", one("F8_E4M3", "[16]", "[0,16]"), "tensor w: has elements of type"),
        (
            "two at one place",
            safetensors(
                r#"{"v":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#,
                &[0; 16],
            ),
            "not a whole safetensors file",
        ),
        (
            "broken checksums",
            safetensors(r#"{"__metadata__":{"faster_rcnn_crc32":"[]"}}"#, &[]),
            "faster_rcnn_crc32",
        ),
    ];
    for (name, bytes, expected) in cases {
        let error = format!("{:#}", bench.read(bytes).expect_err(name));
        assert!(error.contains(expected), "{name}: {error}");
        bench.load(bytes);
    }
}

/// The places of all values in JSON, containers included.
fn places(value: &Value, place: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                places(value, format!("{place}/{name}"), found);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                places(value, format!("{place}/{index}"), found);
            }
        }
        _ => {}
    }
    found.push(place);
}

#[test]
fn any_setting_in_a_files_metadata_is_an_error_or_works() {
    const CONFIG: &str = "faster_rcnn_config";
    /// Place of the tensors in the file, so that they are written once only.
    const HEADER: usize = 1 << 17;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.safetensors");
    let mut config =
        FasterRcnnConfig::new(ResNetDepth::ResNet18, 4).with_class_names(&["open", "short", "spur"]);
    (config.fpn_channels, config.roi_heads.representation_size) = (8, 8);
    config = config.with_image_size(32, 48);
    weights::save(&config.init(&Device::flex()), &path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..end]).unwrap();
    let config: Value = serde_json::from_str(header["__metadata__"][CONFIG].as_str().unwrap()).unwrap();
    let mut file = fs::File::create(&path).unwrap();
    file.seek(SeekFrom::Start(HEADER as u64)).unwrap();
    file.write_all(&bytes[end..]).unwrap();
    let mut load = |config: &Value| {
        let mut header = header.clone();
        header["__metadata__"][CONFIG] = config.to_string().into();
        let mut text = header.to_string().into_bytes();
        assert!(text.len() <= HEADER - 8);
        text.resize(HEADER - 8, b' ');
        file.rewind().unwrap();
        file.write_all(&(text.len() as u64).to_le_bytes()).unwrap();
        file.write_all(&text).unwrap();
        weights::load(&path, &Device::flex())
    };
    detect(load(&config).unwrap());

    let mut all = Vec::new();
    places(&config, String::new(), &mut all);
    assert!(all.len() > 50, "{all:?}");
    let replacements = [
        json!(0),
        json!(1),
        json!(1.5),
        json!(-1),
        json!(64),
        json!(16_384),
        json!(100_000),
        json!(1_u64 << 32),
        json!(u64::MAX),
        json!(1e-30),
        json!(1e30),
        json!(1e300),
        json!("text"),
        json!(""),
        json!(null),
        json!(true),
        json!([]),
        json!([1, 1]),
        json!({}),
        json!({ "kind": 1 }),
    ];
    let (mut ran, mut refused) = (0, 0);
    for place in &all {
        for replacement in &replacements {
            // Not more than memory: an image of 16,384 pixels a side is what a user may ask for.
            if place.starts_with("/transform/max_size") && *replacement == json!(16_384) {
                continue;
            }
            let mut config = config.clone();
            *config.pointer_mut(place).unwrap() = replacement.clone();
            let run = || match load(&config) {
                Ok(model) => {
                    ran += 1;
                    detect(model);
                }
                Err(error) => {
                    refused += 1;
                    let (Error::File { path: at, .. } | Error::Tensor { path: at, .. }) = &error else {
                        panic!("{error:#}");
                    };
                    assert_eq!(*at, path, "{error:#}");
                }
            };
            if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(run)) {
                println!("{place} = {replacement}");
                panic::resume_unwind(panic);
            }
        }
    }
    assert!(ran > 50 && refused > 500, "{ran} ran, {refused} were refused");
}

#[test]
fn a_pickle_never_runs() {
    let bench = Bench::new();
    let mark = bench.folder.path().join("ran");
    let argument = format!("touch {}", mark.display());
    let length = [argument.len() as u8];
    // A call by REDUCE, by INST, by OBJ, by NEWOBJ and BUILD, and one with a name from the stack.
    let call =
        |before: &[u8], after: &[u8]| [before, b"X", &length, b"\0\0\0", argument.as_bytes(), after].concat();
    let calls = [
        call(b"cos\nsystem\n(", b"tR"),
        call(b"cposix\nsystem\n", b"\x85R"),
        call(b"(", b"ios\nsystem\n"),
        call(b"(cos\nsystem\n", b"o"),
        call(b"cbuiltins\nexec\n", b"\x85\x81"),
        call(b"X\x02\0\0\0osX\x06\0\0\0system\x93", b"\x85R"),
        call(b"cbuiltins\neval\n)R", b"b"),
    ];
    for call in calls {
        let inside = [b"\x80\x04}X\x01\x00\x00\x00w", &call[..], b"s."].concat();
        let before = [b"\x80\x04", &call[..], b"0}."].concat();
        for pickle in [inside, before] {
            for bytes in [stored(&pickle), legacy(&pickle)] {
                // Whatever is beside the weights, such as a run's arguments, may be any object.
                let _ = bench.read(&bytes);
                assert!(!mark.exists(), "{call:?}");
            }
        }
    }
}

#[test]
fn a_file_that_ends_early_is_an_error_wherever_it_ends() {
    let bench = Bench::new();
    for name in ["layouts_zip.pth", "layouts_legacy.pth", "layouts.safetensors"] {
        let bytes = fixture(name);
        for length in 0..bytes.len() {
            let error = bench.read(&bytes[..length]).expect_err(name);
            assert!(
                !error.to_string().contains("tensor counter"),
                "{name}: {length} of {} bytes",
                bytes.len()
            );
        }
    }
    for name in ["v1_published.pth", "v1_checkpoint_legacy.pth", "v2_legacy.pth", "resnet101.pth"] {
        let bytes = fixture(name);
        for length in (0..bytes.len()).step_by(499) {
            bench.read(&bytes[..length]).expect_err(name);
        }
    }
}

#[test]
fn a_flipped_bit_is_no_panic_and_no_other_values_where_there_are_checksums() {
    let bench = Bench::new();
    let path = bench.folder.path().join("own.safetensors");
    let values: Vec<f32> = (0..64).map(|value| value as f32).collect();
    let own = ["a", "b", "c"].map(|name| NamedTensor {
        name: name.into(),
        shape: vec![8, 8],
        values: values.clone(),
    });
    weights::write_safetensors(&path, Default::default(), &own).unwrap();
    let own = fs::read(path).unwrap();
    let data = own.len() - 3 * 4 * values.len();
    for (name, bytes) in [
        ("layouts_zip.pth", fixture("layouts_zip.pth")),
        ("layouts_legacy.pth", fixture("layouts_legacy.pth")),
        ("layouts.safetensors", fixture("layouts.safetensors")),
        ("own", own),
    ] {
        let mut flipped = bytes.clone();
        for index in 0..bytes.len() {
            flipped[index] ^= 1 << (index % 8);
            let result = bench.read(&flipped);
            assert!(
                name != "own" || index < data || matches!(result, Err(Error::Tensor { .. })),
                "byte {index}"
            );
            flipped[index] = bytes[index];
        }
    }
    for name in ["v1_published.pth", "v1_checkpoint_legacy.pth", "v2_legacy.pth"] {
        let mut bytes = fixture(name);
        for index in (0..bytes.len()).step_by(bytes.len() / 30) {
            bytes[index] ^= 1 << (index % 8);
            bench.load(&bytes);
            bytes[index] ^= 1 << (index % 8);
        }
    }
}

/// Files to start from, small ones more often.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![
        float(4, 0, &[2, 2], &[2, 1]),
        stored(&tensor("HalfStorage", 8, 1, &[2, 3], &[1, 2])),
        legacy(b"\x80\x02}X\x01\x00\x00\x00aK\x01s."),
    ];
    for name in [
        "layouts_zip.pth",
        "layouts_legacy.pth",
        "layouts.safetensors",
        "v1_checkpoint_legacy.pth",
        "v1_published_legacy.pth",
        "v2_legacy.pth",
        "v1.pth",
        "resnet18_legacy.pth",
    ] {
        seeds.push(fixture(name));
    }
    // A pickle in an archive is behind a checksum, of which 0 means that there is none.
    for seed in seeds.clone() {
        if seed.starts_with(b"PK") {
            seeds.push(without_checksums(seed));
        }
    }
    seeds
}

/// The archive with 0 for each checksum, as `torch.save` writes it if told to compute none.
fn without_checksums(mut archive: Vec<u8>) -> Vec<u8> {
    for (signature, at) in [(b"PK\x03\x04", 14), (b"PK\x01\x02", 16)] {
        for start in 0..archive.len().saturating_sub(at + 4) {
            if archive[start..].starts_with(signature) {
                archive[start + at..][..4].fill(0);
            }
        }
    }
    archive
}

#[test]
fn fuzz() {
    let bench = Bench::new();
    hostile::fuzz(&seeds(), 5_000, |tried, bytes| {
        if tried % 16 == 0 {
            bench.load(bytes);
        } else {
            let _ = bench.read(bytes);
        }
    });
}
