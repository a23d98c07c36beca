//! Exported detectors through tract: they must find what torchvision found with the same weights, or this
//! crate.
//!
//! One is committed. The others are what `tests/export.rs` left in the folder for temporary files; run that
//! test first.

use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use onnx_tests::with_roi_align;
use serde_json::Value;
use tract_onnx::prelude::*;

/// Pixels and score: what another runtime may differ by.
const TOLERANCE: (f32, f32) = (0.05, 1e-4);

/// Written by `reference/exported_detector.py`.
#[test]
fn tract_finds_what_torchvision_finds_in_the_committed_file() -> TractResult<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/onnx");
    let unpacked = |name: &str| -> TractResult<Vec<u8>> {
        let mut bytes = Vec::new();
        GzDecoder::new(fs::File::open(folder.join(name))?).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let model = unpacked("detector.onnx.gz")?;
    check(
        with_roi_align(tract_onnx::onnx()).model_for_read(&mut model.as_slice())?,
        &serde_json::from_slice(&unpacked("case.json.gz")?)?,
    )
}

#[test]
fn tract_finds_what_torchvision_finds_in_a_file_of_today() -> TractResult<()> {
    check_left("torchvision")
}

#[test]
fn tract_finds_what_the_crate_finds_where_classes_exclude_each_other() -> TractResult<()> {
    check_left("exclusive")
}

fn check_left(name: &str) -> TractResult<()> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("export");
    let case = fs::read(folder.join(format!("{name}.json"))).expect("run `cargo test --test export` first");
    check(
        with_roi_align(tract_onnx::onnx()).model_for_path(folder.join(format!("{name}.onnx")))?,
        &serde_json::from_slice(&case)?,
    )
}

fn check(model: InferenceModel, case: &Value) -> TractResult<()> {
    let model = model.into_optimized()?.into_runnable()?;

    let images = tensor(&case["images"], &floats(&case["images"]["values"]))?;
    let sizes = tensor(&case["sizes"], &whole(&case["sizes"]["values"]))?;
    let found = model.run(tvec![images.into(), sizes.into()])?;
    // tract keeps whole numbers in a type of its own.
    let [counts, labels] = [0, 3].map(|output| found[output].cast_to::<i64>().expect("whole numbers"));
    let (counts, labels) = (counts.to_plain_array_view::<i64>()?, labels.to_plain_array_view::<i64>()?);
    let [boxes, scores] = [1, 2].map(|output| found[output].to_plain_array_view::<f32>().expect("f32"));

    let expected = case["expected"].as_array().expect("a list of images");
    assert_eq!(counts.len(), expected.len());
    for (image, expected) in expected.iter().enumerate() {
        let (scores_here, labels_here) = (floats(&expected["scores"]), whole(&expected["labels"]));
        let boxes_here = floats(&expected["boxes"]);
        assert!(!scores_here.is_empty());
        assert_eq!(counts[image], scores_here.len() as i64, "image {image}");
        for row in 0..scores.shape()[1] {
            let there = scores_here.get(row).is_some();
            let score = scores_here.get(row).copied().unwrap_or(0.0);
            assert!((scores[[image, row]] - score).abs() <= TOLERANCE.1, "score {row} of image {image}");
            assert_eq!(
                labels[[image, row]],
                if there { labels_here[row] } else { 0 },
                "label {row} of {image}"
            );
            for side in 0..4 {
                let expected = if there { boxes_here[row * 4 + side] } else { 0.0 };
                let actual = boxes[[image, row, side]];
                assert!((actual - expected).abs() <= TOLERANCE.0, "box {row} of image {image}: {actual}");
            }
        }
    }
    Ok(())
}

fn tensor<T: Datum + Copy>(entry: &Value, values: &[T]) -> TractResult<Tensor> {
    let shape: Vec<usize> = whole(&entry["shape"]).into_iter().map(|side| side as usize).collect();
    Tensor::from_shape(&shape, values)
}

fn floats(list: &Value) -> Vec<f32> {
    let list = list.as_array().expect("a list");
    list.iter().map(|value| value.as_f64().expect("a number") as f32).collect()
}

fn whole(list: &Value) -> Vec<i64> {
    list.as_array().expect("a list").iter().map(|value| value.as_i64().expect("a whole number")).collect()
}
