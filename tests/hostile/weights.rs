//! Weight files that are damaged, or made to do harm: each gives an error that names it, in little memory.

use std::fs;

use faster_rcnn::Error;
use faster_rcnn::weights::{self, NamedTensor, Precision};
use zip::CompressionMethod;

use crate::mutants::fuzz;
use crate::weight_files::*;

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
    weights::write_safetensors(&path, Default::default(), &own, Precision::F32).unwrap();
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
fn mutants_of_weight_files() {
    let bench = Bench::new();
    fuzz(5_000, &seeds(), |tried, bytes| {
        if tried % 16 == 0 {
            bench.load(bytes);
        } else {
            let _ = bench.read(bytes);
        }
    });
}
