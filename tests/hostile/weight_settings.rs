//! Settings in the metadata of weight files.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::panic::{self, AssertUnwindSafe};

use burn::tensor::Device;
use faster_rcnn::weights;
use faster_rcnn::{Error, FasterRcnnConfig, ResNetDepth, Tiles};
use serde_json::{Value, json};

use crate::weight_files::*;

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
    config.tiles = Some(Tiles { size: 32, overlap: 0 });
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
