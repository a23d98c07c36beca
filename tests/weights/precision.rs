//! Weight files with half the bytes.

use half::f16;

use crate::*;

#[test]
fn f16_takes_half_the_space_and_rounds_each_weight() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let model = FasterRcnnConfig::tiny(7).init(&Device::flex());
    let entries = [("run".to_string(), "7".to_string())];
    weights::save_with_metadata(&model, path("full"), &entries).unwrap();
    let full = WeightFile::open(path("full")).unwrap();
    full.convert(path("half"), &LoadOptions::default(), Precision::F16).unwrap();
    let half = WeightFile::open(path("half")).unwrap();
    assert_eq!(half.metadata()["run"], "7");
    let elements: usize = weights::collect(&model).iter().map(|tensor| tensor.values.len()).sum();
    assert!(full.length() - half.length() > 2 * elements as u64 - 1000, "{}", half.length());

    let read = half.load(&LoadOptions::default(), &Device::flex()).unwrap();
    assert_eq!(read.config(), model.config());
    for (whole, rounded) in weights::collect(&model).iter().zip(weights::collect(&read)) {
        assert_eq!((&whole.name, &whole.shape), (&rounded.name, &rounded.shape));
        let expected = whole.values.iter().map(|value| f16::from_f32(*value).to_f32());
        assert!(expected.eq(rounded.values.iter().copied()), "{}", whole.name);
    }
    // What is rounded once is not rounded again.
    half.convert(path("again"), &LoadOptions::default(), Precision::F16).unwrap();
    assert!(fs::read(path("half")).unwrap() == fs::read(path("again")).unwrap());
}

#[test]
fn a_weight_that_f16_cannot_hold_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let model = FasterRcnnConfig::tiny(3).init(&Device::flex());
    let mut tensors = weights::collect(&model);
    let name = tensors[3].name.clone();
    tensors[3].values[1] = 1e6;
    let model = weights::apply(model, tensors).unwrap();
    let path = folder.path().join("large.safetensors");
    let error = weights::save_as(&model, &path, &[], Precision::F16).unwrap_err().to_string();
    assert!(error.contains(&format!("tensor {name}: 1000000 is too large for F16")), "{error}");
    assert!(!path.exists());
}
