//! ONNX files: what is written, and what is refused. Leaves small detectors, their input and what they find
//! in the folder for temporary files, for the runtimes of `tests/onnx`.

mod common;
#[path = "common/program.rs"]
mod program;

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use common::{Fixture, fill, image};
use faster_rcnn::export::{OnnxOptions, Pixels, onnx};
use faster_rcnn::structures::{Detection, Image};
use faster_rcnn::weights::{self, NamedTensor, collect};
use faster_rcnn::{BoxHeadKind, Error, FasterRcnn, FasterRcnnConfig, NormKind, ReferenceInput, ResNetDepth};
use program::{Bench, assert_no_temporary_files, text};
use serde_json::{Value, json};

/// The settings of the detector `resnet18` of `reference/models_v2.py`.
fn small_config() -> FasterRcnnConfig {
    let mut config = FasterRcnnConfig::new(ResNetDepth::ResNet18, 7)
        .with_norm(NormKind::Batch)
        .with_fpn_norm(Some(NormKind::Batch))
        .with_box_head(BoxHeadKind::FourConv)
        .with_fpn_channels(64)
        .with_representation_size(128)
        .with_image_size(96, 160)
        .with_score_thresh(0.3);
    config.rpn.conv_depth = 2;
    config.rpn.post_nms_top_n_test = 100;
    config
}

/// With the weights of the detector `resnet18`.
fn small(config: FasterRcnnConfig) -> FasterRcnn {
    fill(config.init(&Device::flex()), 24)
}

fn tiny() -> FasterRcnn {
    FasterRcnnConfig::tiny(3).with_class_names(&["open", "short"]).init(&Device::flex())
}

fn bytes(model: &FasterRcnn, options: &OnnxOptions) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    onnx(model, options).unwrap().save(&path).unwrap();
    assert_no_temporary_files(folder.path());
    fs::read(path).unwrap()
}

/// Writes what `tests/onnx` reads: the detector for two images, them, and what it is to find there.
/// `expected` is in pixels of the images as they are.
fn leave(name: &str, model: &FasterRcnn, images: &[Image], expected: &[Vec<Detection>]) {
    let transform = &model.config().transform;
    let batch = transform.batch(images, &Device::flex());

    // The pixels before they were normalised.
    let (height, width) = batch.padded_size();
    let plane = height * width;
    let mut pixels: Vec<f32> = batch.tensor.clone().into_data().try_into_vec().unwrap();
    for (index, value) in pixels.iter_mut().enumerate() {
        let channel = index / plane % 3;
        *value = *value * transform.image_std[channel] + transform.image_mean[channel];
    }
    let sizes: Vec<usize> = batch.resized_sizes.iter().flat_map(|&(height, width)| [height, width]).collect();
    let of_image = |(index, found): (usize, &Vec<Detection>)| {
        let (resized, original) = (batch.resized_sizes[index], batch.original_sizes[index]);
        let scale = [resized.1 as f32 / original.1 as f32, resized.0 as f32 / original.0 as f32];
        let side = |(side, value): (usize, f32)| value * scale[side % 2];
        let boxes: Vec<f32> =
            found.iter().flat_map(|one| one.xyxy.into_iter().enumerate().map(side)).collect();
        let scores: Vec<f32> = found.iter().map(|one| one.score).collect();
        let labels: Vec<usize> = found.iter().map(|one| one.label).collect();
        json!({"boxes": boxes, "scores": scores, "labels": labels})
    };
    let case = json!({
        "images": {"shape": [2, 3, height, width], "values": pixels},
        "sizes": {"shape": [2, 2], "values": sizes},
        "expected": expected.iter().enumerate().map(of_image).collect::<Vec<_>>(),
    });
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("export");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("{name}.json")), case.to_string()).unwrap();
    let options = OnnxOptions::default().with_batch(2).with_size((height, width));
    onnx(model, &options).unwrap().save(folder.join(format!("{name}.onnx"))).unwrap();
}

fn two_images() -> [Image; 2] {
    [image("image3", 80, 117), image("image2", 180, 144)]
}

#[test]
fn a_small_detector_is_left_for_the_runtimes() {
    let fixture = Fixture::open("model_v2");
    let recorded = &fixture.json["models"]["resnet18"];
    assert_eq!(recorded["config"]["seed"], 24);
    let of_image = |found: &Value| {
        let columns = fixture.boxes(&found["boxes"]).into_iter().zip(fixture.floats(&found["scores"]));
        let columns = columns.zip(fixture.indices(&found["labels"]));
        columns.map(|((xyxy, score), label)| Detection { xyxy, label, score }).collect()
    };
    let expected: Vec<Vec<Detection>> =
        recorded["eval"]["detections"].as_array().unwrap().iter().map(of_image).collect();
    leave("torchvision", &small(small_config()), &two_images(), &expected);
}

#[test]
fn a_detector_whose_classes_exclude_each_other_is_left_for_the_runtimes() {
    let images = two_images();
    let model = small(small_config().with_score_thresh(0.1).with_exclusive_iou(0.2));
    let together = small(small_config().with_score_thresh(0.1)).forward(&images);
    let expected = model.forward(&images);
    for (expected, together) in expected.iter().zip(&together) {
        assert!(expected.len() < together.len(), "some scores fall below the threshold");
        let changed = |one: &&Detection| !together.contains(one);
        assert!(expected.iter().filter(changed).count() > 0, "others fall, and stay");
    }
    leave("exclusive", &model, &images, &expected);
}

#[test]
fn the_same_detector_gives_the_same_bytes() {
    let model = tiny();
    let options = OnnxOptions::default();
    let first = bytes(&model, &options);
    assert!(first == bytes(&model, &options));
    let half = bytes(&model, &options.clone().with_half(true));
    assert!(half.len() < first.len() * 11 / 20, "{} of {} bytes", half.len(), first.len());
    assert!(first != bytes(&model, &options.with_pixels(Pixels::U8)));
}

#[test]
fn weights_of_their_own_file_are_found_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let save = |model: &FasterRcnn| {
        onnx(model, &OnnxOptions::default().with_external_data(true)).unwrap().save(&path).unwrap();
    };
    let files = || -> Vec<String> {
        let entries = fs::read_dir(folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    save(&tiny());
    let data: Vec<String> = files().into_iter().filter(|name| name.ends_with(".data")).collect();
    let [data] = data.as_slice() else { panic!("{data:?}") };
    let graph = fs::read(&path).unwrap();
    assert!(graph.windows(data.len()).any(|window| window == data.as_bytes()), "the graph names {data}");
    assert!(graph.len() < 1 << 20);
    save(&tiny());
    assert_eq!(files().len(), 2, "the same weights are in the same file");
    save(&FasterRcnnConfig::tiny(3).with_seed(1).init(&Device::flex()));
    assert_eq!(files().len(), 3, "other weights leave those of the old graph alone");
}

/// The host has to know what goes into the three channels.
#[test]
fn a_file_says_whether_its_detector_takes_a_reference() {
    let with_reference = FasterRcnnConfig::tiny(3).with_reference(ReferenceInput::Difference);
    for (model, expected) in [(tiny(), "none"), (with_reference.init(&Device::flex()), "difference")] {
        let file = bytes(&model, &OnnxOptions::default());
        let entry = [b"reference".as_slice(), &[0x12, expected.len() as u8], expected.as_bytes()].concat();
        assert!(file.windows(entry.len()).any(|window| window == entry), "{expected}");
    }
}

#[test]
fn what_cannot_be_exported_is_an_error() {
    let model = tiny();
    let error = |options: OnnxOptions| onnx(&model, &options).unwrap_err().to_string();
    let said = error(OnnxOptions::default().with_size((650, 640)));
    assert_eq!(said, "the height of the input must be a multiple of 32, is 650: choose 672");
    let said = error(OnnxOptions::default().with_batch(0));
    assert_eq!(said, "the batch must be in 1..=65536, is 0");

    let broken = |value: f32| {
        let change = |mut tensor: NamedTensor| {
            if tensor.name == "roi_heads.box_predictor.cls_score.weight" {
                tensor.values[0] = value;
            }
            tensor
        };
        weights::apply(tiny(), collect(&model).into_iter().map(change).collect()).unwrap()
    };
    let result = onnx(&broken(f32::NAN), &OnnxOptions::default());
    let Err(Error::NonFinite(said)) = result else { panic!("{result:?}") };
    assert_eq!(said, "tensor roi_heads.box_predictor.cls_score.weight has a value of NaN");
    let large = broken(1e5);
    onnx(&large, &OnnxOptions::default()).unwrap();
    let said = onnx(&large, &OnnxOptions::default().with_half(true)).unwrap_err().to_string();
    let expected =
        "tensor roi_heads.box_predictor.cls_score.weight has a value of 100000, and f16 ends at 65504";
    assert_eq!(said, expected);
}

#[test]
fn the_program_exports() {
    let bench = Bench::new(1);
    let said =
        bench.succeed("export --weights tiny.safetensors --output new/model.onnx --size 128x128 --batch 1");
    assert!(said.starts_with("new/model.onnx: ") && said.ends_with(" nodes\n"), "{said}");
    let file = fs::read(bench.path("new/model.onnx")).unwrap();
    let has = |word: &str| file.windows(word.len()).any(|window| window == word.as_bytes());
    assert!(has("backbone.body.layer1.0.conv1.weight") && has("class_names") && has("mousebite"));

    bench.write("model.onnx", "old");
    let said = bench.fail("export --weights tiny.safetensors --output model.onnx --size 100x128");
    assert!(said.contains("the height of the input must be a multiple of 32"), "{said}");
    let said = bench.fail("export --weights tiny.safetensors --output tiny.safetensors");
    assert!(said.contains("tiny.safetensors: is read, so it is not written"), "{said}");
    assert_eq!(fs::read(bench.path("model.onnx")).unwrap(), b"old");
    for wrong in ["--size 128", "--batch x", "--input f64"] {
        let output = bench.run(&format!("export --weights tiny.safetensors --output model.onnx {wrong}"));
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    }
    assert_no_temporary_files(bench.folder.path());
}
