//! Weight files that PyTorch and torchvision wrote (`tests/reference/weight_files.py`), and those written
//! here.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use burn::tensor::Device;
use common::unit;
use faster_rcnn::ResNetDepth;
use faster_rcnn::weights::{
    self, EpsilonSource, Layout, LoadOptions, LoadReport, NamedTensor, WeightFile, WeightFileKind,
};
use faster_rcnn::{Error, FasterRcnn, FasterRcnnConfig, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights").join(name)
}

/// `uniform` of `tests/reference/weights.py`.
fn uniform(name: &str, count: usize) -> Vec<f32> {
    unit(name).take(count).map(|u| (2.0 * u - 1.0) as f32).collect()
}

/// The value that all elements of a tensor have in the fixtures of whole models.
fn constant(name: &str) -> f32 {
    uniform(name, 1)[0]
}

/// The name of a tensor in the v1 file that torchvision publishes.
fn published_name(name: &str) -> String {
    let pyramid = name.contains("inner_blocks") || name.contains("layer_blocks");
    let name =
        if pyramid { name.replace(".0.weight", ".weight").replace(".0.bias", ".bias") } else { name.into() };
    name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
}

/// A detector of 11.2 million weights, most of them the smallest backbone's.
fn tiny(v2: bool) -> FasterRcnnConfig {
    let mut config =
        if v2 { FasterRcnnConfig::resnet50_fpn_v2(4) } else { FasterRcnnConfig::resnet50_fpn(4) };
    config.backbone = ResNetDepth::ResNet18;
    (config.fpn_channels, config.roi_heads.representation_size) = (16, 32);
    config
}

fn load_into(model: &mut FasterRcnn, path: impl AsRef<Path>) -> Result<LoadReport> {
    WeightFile::open(path)?.load_into(model, &LoadOptions::default())
}

fn names(tensors: &[NamedTensor]) -> Vec<&str> {
    tensors.iter().map(|tensor| tensor.name.as_str()).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn every_layout_type_and_stride_gives_the_values_that_were_saved() {
    for (name, layout) in [
        ("layouts_zip.pth", Layout::PytorchZip),
        ("layouts_21_characters.pth", Layout::PytorchZip),
        ("layouts_legacy.pth", Layout::PytorchLegacy),
        ("layouts.safetensors", Layout::Safetensors),
    ] {
        let file = WeightFile::open(fixture(name)).unwrap();
        assert_eq!((file.layout(), file.tensors().len()), (layout, 11), "{name}");
        let read = |tensor: &str| file.read(tensor).unwrap().try_into_vec::<f32>().unwrap();
        for (tensor, shape) in [
            ("contiguous", &[4, 3, 2, 2][..]),
            ("transposed", &[5, 3]),
            ("channels_last", &[4, 3, 2, 2]),
            ("scalar", &[]),
            ("parameter", &[7]),
            ("double", &[2, 2]),
        ] {
            assert_eq!(file.tensors()[tensor].shape, shape, "{name}: {tensor}");
            assert_eq!(read(tensor), uniform(tensor, shape.iter().product()), "{name}: {tensor}");
        }
        let whole = uniform("slice", 6 * 8);
        let slice: Vec<f32> = (1..4).flat_map(|y| [0, 2, 4, 6].map(|x| whole[8 * y + x])).collect();
        assert_eq!((&file.tensors()["slice"].shape[..], read("slice")), (&[3, 4][..], slice), "{name}");
        assert_eq!((&file.tensors()["empty"].shape[..], read("empty")), (&[0, 3][..], vec![]), "{name}");
        // Half precision keeps 11 bits of the significand, bfloat16 keeps 8.
        for (tensor, bits) in [("half", 11), ("bfloat", 8)] {
            let tolerance = 0.5_f32.powi(bits);
            for (read, exact) in read(tensor).into_iter().zip(uniform(tensor, 9)) {
                assert!((read - exact).abs() <= tolerance * exact.abs(), "{name}: {tensor} {read} {exact}");
                assert_eq!(read.to_bits() << (8 + bits), 0, "{name}: {tensor} {read} has more bits");
            }
        }
        let error = file.read("counter").unwrap_err();
        assert!(matches!(&error, Error::Tensor { tensor, .. } if tensor == "counter"), "{error}");
        assert!(error.to_string().ends_with("is i64, not of a floating-point type"), "{error}");
        assert!(file.read("nonsense").unwrap_err().to_string().ends_with("tensor nonsense: is missing"));
    }
}

#[test]
fn detectors_of_every_layout_load_whole() {
    let same = |name: &str| name.to_string();
    let old: &dyn Fn(&str) -> String = &published_name;
    let v1 = FasterRcnnConfig::resnet50_fpn;
    let mut published = v1(91);
    published.frozen_epsilon = 0.0;
    for (name, mut expected, stored) in [
        ("v1_published.pth", published.clone(), old),
        ("v1_published_legacy.pth", published, old),
        ("v1.pth", v1(91), &same),
        ("v1_checkpoint.pth", v1(7), &same),
        ("v1_checkpoint_legacy.pth", v1(91), &same),
        ("v2.pth", FasterRcnnConfig::resnet50_fpn_v2(91), &same),
        ("v2_legacy.pth", FasterRcnnConfig::resnet50_fpn_v2(91), &same),
    ] {
        let model = weights::load(fixture(name), &Device::flex()).unwrap();
        let class_names = &model.config().class_names;
        if expected.num_classes == 91 {
            assert_eq!(
                (class_names.len(), class_names[0].as_str(), class_names[89].as_str()),
                (90, "person", "toothbrush")
            );
            expected.class_names.clone_from(class_names);
        }
        assert_eq!(*model.config(), expected, "{name}");
        for NamedTensor { name: tensor, values, .. } in weights::collect(&model) {
            let expected = constant(&stored(&tensor));
            assert!(
                values.iter().all(|value| *value == expected),
                "{name}: {tensor} {} {expected}",
                values[0]
            );
        }
    }
}

/// A detector with the smallest heads, a class and the background, to load classifiers into.
fn with_backbone(depth: ResNetDepth) -> FasterRcnn {
    let mut config = FasterRcnnConfig::new(depth, 2);
    (config.fpn_channels, config.roi_heads.representation_size) = (1, 1);
    config.init(&Device::flex())
}

#[test]
fn classifiers_of_every_depth_become_the_backbone() {
    for (name, depth, norms) in [
        ("resnet18.pth", ResNetDepth::ResNet18, 20),
        ("resnet18_legacy.pth", ResNetDepth::ResNet18, 20),
        ("resnet34.pth", ResNetDepth::ResNet34, 36),
        ("resnet50.pth", ResNetDepth::ResNet50, 53),
        ("resnet101.pth", ResNetDepth::ResNet101, 104),
    ] {
        let mut model = with_backbone(depth);
        let before: BTreeMap<_, _> =
            weights::collect(&model).into_iter().map(|tensor| (tensor.name, tensor.values)).collect();
        let report = load_into(&mut model, fixture(name)).unwrap();
        let LoadReport { applied, missing, unused, reshaped, left_out, kept, frozen_epsilon, .. } = &report;
        assert_eq!((missing.len(), unused.len(), reshaped.len()), (0, 0, 0), "{name}: {report}");
        assert_eq!(*frozen_epsilon, 1e-5, "{name}");
        // Each norm has four tensors, and the kernel before it is the fifth.
        assert_eq!((applied.len(), left_out.len()), (5 * norms, norms + 2), "{name}");
        let (counters, last): (Vec<&str>, Vec<&str>) =
            left_out.iter().map(String::as_str).partition(|name| name.ends_with(".num_batches_tracked"));
        assert_eq!((counters.len(), last), (norms, vec!["fc.bias", "fc.weight"]), "{name}");
        let applied: BTreeSet<&String> = applied.iter().collect();
        let kept: BTreeSet<&String> = kept.iter().collect();
        for NamedTensor { name: tensor, values, .. } in weights::collect(&model) {
            match tensor.strip_prefix("backbone.body.") {
                Some(rest) => {
                    assert!(applied.contains(&tensor), "{name}: {tensor}");
                    assert!(values.iter().all(|value| *value == constant(rest)), "{name}: {tensor}");
                }
                None => {
                    assert!(kept.contains(&tensor), "{name}: {tensor}");
                    assert_eq!(values, before[&tensor], "{name}: {tensor}");
                }
            }
        }
        let text = report.to_string();
        assert!(
            text.contains("left out: ") && text.contains("not in a classifier, kept as they were: "),
            "{text}"
        );

        let error = weights::load(fixture(name), &Device::flex()).unwrap_err();
        assert!(
            matches!(error, Error::File { .. }) && error.to_string().contains("a classifier, not a detector")
        );
        // Another depth, both ways.
        let other =
            if depth == ResNetDepth::ResNet18 { ResNetDepth::ResNet34 } else { ResNetDepth::ResNet18 };
        let error = load_into(&mut with_backbone(other), fixture(name)).unwrap_err();
        assert!(matches!(error, Error::Tensor { .. }), "{name}: {error}");
    }
}

#[test]
fn another_number_of_classes_keeps_the_fresh_predictor_and_says_so() {
    let fresh = FasterRcnnConfig::resnet50_fpn(7).init(&Device::flex());
    let predictor = |model: &FasterRcnn| -> Vec<NamedTensor> {
        weights::collect(model).into_iter().filter(|tensor| tensor.name.contains("box_predictor")).collect()
    };
    for (name, epsilon) in [("v1_published.pth", 0.0), ("v1.pth", 1e-5), ("v1_checkpoint_legacy.pth", 1e-5)] {
        let mut model = fresh.clone();
        let report = load_into(&mut model, fixture(name)).unwrap();
        assert_eq!(report.applied.len(), names(&weights::collect(&model)).len() - 4);
        assert!(report.missing.is_empty() && report.unused.is_empty() && report.kept.is_empty(), "{report}");
        let reshaped: Vec<&str> = report.reshaped.iter().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(reshaped, names(&predictor(&model)));
        assert_eq!((&report.reshaped[0].file, &report.reshaped[0].model), (&vec![91, 1024], &vec![7, 1024]));
        assert_eq!(predictor(&model), predictor(&fresh));
        assert_eq!((report.frozen_epsilon, model.config().frozen_epsilon), (epsilon, epsilon), "{name}");
        assert_eq!(model.config().num_classes, 7);
        let text = report.to_string();
        let line = "reshaped, kept as initialised: roi_heads.box_predictor.cls_score.weight is [7, 1024], in the file [91, 1024]";
        assert!(text.lines().any(|written| written == line), "{text}");
    }
    // With its own number of classes nothing is reshaped; v2 does not fit.
    let mut model = fresh.clone();
    let report = load_into(&mut model, fixture("v1_checkpoint.pth")).unwrap();
    assert!(report.reshaped.is_empty() && report.left_out.is_empty() && report.unused.is_empty(), "{report}");
    let before = weights::collect(&model);
    let error = load_into(&mut model, fixture("v2.pth")).unwrap_err();
    assert!(matches!(error, Error::Tensor { .. }), "{error}");
    assert!(weights::collect(&model) == before, "the failed file left something behind");
}

/// A file of `save`'s and ways to break it.
struct Saved {
    folder: TempDir,
    header: Value,
    data: Vec<u8>,
}

const BIAS: &str = "roi_heads.box_head.fc7.bias";

impl Saved {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("whole.safetensors");
        weights::save(&tiny(false).init(&Device::flex()), &path).unwrap();
        let bytes = fs::read(path).unwrap();
        let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header = serde_json::from_slice(&bytes[8..end]).unwrap();
        Self { folder, header, data: bytes[end..].to_vec() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, header: &Value, data: &[u8]) -> PathBuf {
        let (path, header) = (self.path("broken.safetensors"), header.to_string());
        fs::write(&path, [&header.len().to_le_bytes(), header.as_bytes(), data].concat()).unwrap();
        path
    }

    /// The file after a change of its header.
    fn edited(&self, edit: impl FnOnce(&mut Value)) -> PathBuf {
        let mut header = self.header.clone();
        edit(&mut header);
        self.write(&header, &self.data)
    }

    fn renamed(&self, from: &str, to: &str) -> PathBuf {
        self.edited(|header| {
            let header = header.as_object_mut().unwrap();
            let entry = header.remove(from).unwrap();
            header.insert(to.to_string(), entry);
        })
    }
}

#[test]
fn what_is_unexpected_is_an_error_that_names_the_tensor() {
    let saved = Saved::new();
    let fresh = tiny(false).init(&Device::flex());
    type Edit<'a> = (&'a dyn Fn() -> PathBuf, &'a str, &'a str);
    let cases: [Edit; 6] = [
        (&|| saved.renamed(BIAS, "roi_heads.mask_head.bias"), BIAS, "is missing"),
        (
            &|| saved.edited(|header| header[BIAS]["shape"] = json!([4, 8])),
            BIAS,
            "has shape [4, 8], expected [32]",
        ),
        (
            &|| saved.edited(|header| header[BIAS]["dtype"] = json!("I32")),
            BIAS,
            "is i32, not of a floating-point type",
        ),
        (
            &|| {
                let mut data = saved.data.clone();
                *data.last_mut().unwrap() ^= 1;
                saved.write(&saved.header, &data)
            },
            "roi_heads.box_predictor.bbox_pred.bias",
            "is damaged: its checksum differs",
        ),
        (
            &|| saved.renamed("backbone.body.conv1.weight", "backbone.body.conv0.weight"),
            "backbone.body.conv1.weight",
            "neither a detector nor a ResNet; its names begin with \"backbone.body.\", \"backbone.fpn.\", ",
        ),
        (
            &|| saved.renamed(BIAS, "rpn.head.conv.bias"),
            "rpn.head.conv.bias",
            "stands for rpn.head.conv.0.0.bias a second time",
        ),
    ];
    for (file, tensor, expected) in cases {
        let path = file();
        let mut model = fresh.clone();
        for error in
            [weights::load(&path, &Device::flex()).unwrap_err(), load_into(&mut model, &path).unwrap_err()]
        {
            let text = error.to_string();
            assert!(
                matches!(&error, Error::Tensor { tensor: named, path: at, .. } if named == tensor && *at == path),
                "{tensor}: {text}"
            );
            assert!(text.contains(expected), "{tensor}: {text}");
        }
        assert!(weights::collect(&model) == weights::collect(&fresh), "{tensor}: the detector has changed");
    }
}

#[test]
fn what_is_allowed_is_reported() {
    let saved = Saved::new();
    let mut model = tiny(false).init(&Device::flex());
    let path = saved.renamed(BIAS, "roi_heads.mask_head.bias");
    let only_one = LoadOptions::default().allow("roi_heads.box_head.");
    let error = WeightFile::open(&path).unwrap().load_into(&mut model, &only_one).unwrap_err().to_string();
    assert!(error.ends_with("tensor roi_heads.mask_head.bias: does not belong to this detector"), "{error}");
    let report = WeightFile::open(&path)
        .unwrap()
        .load_into(&mut model, &only_one.allow("roi_heads.mask_head."))
        .unwrap();
    assert_eq!(
        (&report.missing[..], &report.unused[..]),
        (&[BIAS.to_string()][..], &["roi_heads.mask_head.bias".to_string()][..])
    );
    assert!(
        report.to_string().contains("missing, kept as they were: 1 (roi_heads.box_head.fc7.bias)"),
        "{report}"
    );
    assert!(report.to_string().contains("unused: 1 (roi_heads.mask_head.bias)"), "{report}");

    let path = saved.edited(|header| header[BIAS]["shape"] = json!([4, 8]));
    let report =
        WeightFile::open(&path).unwrap().load_into(&mut model, &LoadOptions::default().allow(BIAS)).unwrap();
    assert_eq!((&report.reshaped[0].file, &report.reshaped[0].model), (&vec![4, 8], &vec![32]));
}

#[test]
fn a_round_trip_changes_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // Quiet and signalling NaNs with payloads, infinities, zeros of both signs, the smallest numbers.
    let odd = [0x7fc0_0001, 0xffc1_2345, 0x7f80_0001, 0xff80_0000, 0x8000_0000, 1, 0x8000_0001, 0x3eaa_aaab];
    let config = |v2: bool| {
        let mut config = tiny(v2).with_class_names(&["open", "short"]);
        (config.frozen_epsilon, config.seed) = (0.0, 1 << 60);
        config
    };
    for v2 in [false, true] {
        let model = config(v2).init(&Device::flex());
        let mut tensors = weights::collect(&model);
        for (index, tensor) in tensors.iter_mut().enumerate() {
            for (value, bits) in tensor.values.iter_mut().zip(odd.iter().cycle().skip(index)) {
                *value = f32::from_bits(*bits);
            }
        }
        let bits = |tensors: &[NamedTensor]| -> Vec<u32> {
            tensors.iter().flat_map(|tensor| &tensor.values).map(|value| value.to_bits()).collect()
        };
        let expected = bits(&tensors);
        let model = weights::apply(model, tensors).unwrap();
        assert!(bits(&weights::collect(&model)) == expected);

        let entries = [("run".to_string(), "7".to_string())];
        weights::save_with_metadata(&model, path("first"), &entries).unwrap();
        let file = WeightFile::open(path("first")).unwrap();
        let read = file.load(&LoadOptions::default(), &Device::flex()).unwrap();
        assert_eq!((read.config(), file.metadata()["run"].as_str()), (&config(v2), "7"));
        assert!(bits(&weights::collect(&read)) == expected);
        weights::save_with_metadata(&read, path("second"), &entries).unwrap();
        let second = WeightFile::open(path("second")).unwrap();
        second.convert(path("third"), &LoadOptions::default()).unwrap();
        let first = fs::read(path("first")).unwrap();
        assert!(first == fs::read(path("second")).unwrap(), "v2 {v2}");
        assert!(first == fs::read(path("third")).unwrap(), "v2 {v2}: convert");

        // Another detector takes them over, too.
        let mut other = tiny(v2);
        other.num_classes = 3;
        let mut other = other.init(&Device::flex());
        load_into(&mut other, path("first")).unwrap();
        assert!(bits(&weights::collect(&other)) == expected);
        assert_eq!(other.config().frozen_epsilon, 0.0);
        let left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 3, "{left:?}");
    }
}

#[test]
fn a_model_is_found_in_any_dictionary_and_behind_any_wrapper() {
    let saved = Saved::new();
    let expected =
        weights::collect(&weights::load(saved.path("whole.safetensors"), &Device::flex()).unwrap());
    for prefix in [
        "_orig_mod.",
        "module._orig_mod.",
        "state_dict.model.",
        "net.",
        "model_ema.module.",
        "checkpoint.best.student.detector.",
    ] {
        let path = saved.edited(|header| {
            let tensors = std::mem::take(header.as_object_mut().unwrap());
            let renamed = tensors.into_iter().map(|(name, entry)| match name.as_str() {
                "__metadata__" => (name, json!({})),
                _ => (format!("{prefix}{name}"), entry),
            });
            *header = Value::Object(renamed.collect());
        });
        let file = WeightFile::open(&path).unwrap();
        assert_eq!(file.inspect(&LoadOptions::default()).unwrap().prefix, prefix);
        let model = file.load(&LoadOptions::default(), &Device::flex()).unwrap();
        assert!(weights::collect(&model) == expected, "{prefix}");
    }
    for (name, prefix) in
        [("v1_lightning.ckpt", "state_dict.model."), ("v1_compiled.pth", "net.module._orig_mod.")]
    {
        let found = WeightFile::open(fixture(name)).unwrap().inspect(&LoadOptions::default()).unwrap();
        let config = found.config.unwrap();
        assert_eq!((found.prefix.as_str(), config.num_classes), (prefix, 7), "{name}");
    }
}

#[test]
fn one_of_several_models_is_chosen_and_none_is_guessed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("both.safetensors");
    let write = |tensors: &[NamedTensor]| {
        weights::write_safetensors(&path, BTreeMap::new(), tensors).unwrap();
        WeightFile::open(&path).unwrap()
    };
    let behind = |prefix: &str, seed: u64| {
        let mut config = tiny(false);
        config.seed = seed;
        let mut tensors = weights::collect(&config.init(&Device::flex()));
        for tensor in &mut tensors {
            tensor.name = format!("{prefix}{}", tensor.name);
        }
        tensors
    };
    let averaged = behind("model_ema.module.", 2);
    let file = write(&[behind("model.", 1), averaged.clone()].concat());
    let error = file.load(&LoadOptions::default(), &Device::flex()).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::File { .. }), "{text}");
    assert!(
        text.contains("2 detectors, with names that begin with \"model.\" and \"model_ema.module.\""),
        "{text}"
    );
    let chosen = LoadOptions::default().prefix("model_ema.module.");
    let model = weights::collect(&file.load(&chosen, &Device::flex()).unwrap());
    assert!(model.iter().zip(&averaged).all(|(model, averaged)| model.values == averaged.values));
    let wrong = LoadOptions::default().prefix("ema.");
    let error = file.load(&wrong, &Device::flex()).unwrap_err().to_string();
    assert!(
        error.contains("is missing behind \"ema.\"") && error.contains("\"model_ema.module.\""),
        "{error}"
    );

    // A ResNet inside another architecture is no classifier.
    let layer = |name: &str| NamedTensor { name: name.to_string(), shape: vec![1, 1], values: vec![0.0] };
    let resnet =
        ["conv1.weight", "layer1.0.conv1.weight"].map(|name| layer(&format!("state_dict.backbone.{name}")));
    let file = write(&[&resnet[..], &[layer("state_dict.rpn_head.rpn_conv.weight")]].concat());
    let error = file.inspect(&LoadOptions::default()).unwrap_err().to_string();
    let begin = "neither a detector nor a ResNet; its names begin with \"state_dict.backbone.\", \"state_dict.rpn_head.\"";
    assert!(error.contains(begin), "{error}");
    let error = write(&resnet).inspect(&LoadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("backbone.body.bn1.weight: is missing"), "{error}");
}

#[test]
fn other_files_of_pytorch_are_called_what_they_are() {
    for (name, expected) in [
        (
            "torchscript.pt",
            "a TorchScript program, not weights: save them in Python with torch.save(torch.jit.load(",
        ),
        (
            "exported.pt2",
            "an exported program, not weights: save them in Python with torch.save(torch.export.load(",
        ),
    ] {
        let error = WeightFile::open(fixture(name)).unwrap_err();
        assert!(matches!(error, Error::File { .. }) && error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn what_is_set_holds_over_what_a_file_says() {
    let folder = tempfile::tempdir().unwrap();
    let set = |settings: &[&str]| settings.iter().copied().fold(LoadOptions::default(), LoadOptions::set);
    let anchors = "anchors.sizes=[8, 16, 32, 64, 128]";
    let file = WeightFile::open(fixture("v1_checkpoint.pth")).unwrap();
    let options = set(&[anchors, "frozen_epsilon=0", "class_names=[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\"]"]);
    let model = file.load(&options, &Device::flex()).unwrap();
    let mut expected = FasterRcnnConfig::resnet50_fpn(7).with_class_names(&["a", "b", "c", "d", "e", "f"]);
    expected.anchors.sizes = [8.0, 16.0, 32.0, 64.0, 128.0];
    expected.frozen_epsilon = 0.0;
    assert_eq!(*model.config(), expected);
    let found = file.inspect(&options).unwrap();
    assert_eq!((found.config.as_ref(), found.epsilon_source), (Some(&expected), EpsilonSource::Setting));

    // The converted file has them, and they can be set again.
    let converted = folder.path().join("converted.safetensors");
    file.convert(&converted, &options).unwrap();
    assert_eq!(*weights::load(&converted, &Device::flex()).unwrap().config(), expected);
    let converted = WeightFile::open(&converted).unwrap();
    let found = converted.inspect(&LoadOptions::default()).unwrap();
    assert_eq!((found.config.as_ref(), found.epsilon_source), (Some(&expected), EpsilonSource::Metadata));
    let again = converted.inspect(&set(&["frozen_epsilon=1e-5"])).unwrap();
    assert_eq!((again.config.unwrap().frozen_epsilon, again.epsilon_source), (1e-5, EpsilonSource::Setting));

    for (setting, expected) in [
        ("anchors.size=[8]", "anchors.size=[8]: unknown field `size`"),
        ("anchor.sizes=[8]", "there is no table `anchor`"),
        ("anchors.sizes=[8]", "anchors.sizes=[8]: invalid length 1"),
        ("roi_heads.score_thresh=2", "roi_heads.score_thresh must be in 0..=1"),
        ("class_names=[\"a\"]", "class_names must name each class"),
        ("fpn_channels=64", "has shape [256, 256, 1, 1], expected [64, 256, 1, 1]"),
        (
            "anchors.aspect_ratios=[0.25, 0.5, 1, 2, 4]",
            "anchors.aspect_ratios says how many anchors a cell has",
        ),
    ] {
        let error = file.load(&set(&[setting]), &Device::flex()).unwrap_err().to_string();
        assert!(error.contains(expected), "{setting}: {error}");
    }
    let classifier = WeightFile::open(fixture("resnet18.pth")).unwrap();
    let error = classifier.inspect(&set(&[anchors])).unwrap_err().to_string();
    assert!(error.contains("anchors.sizes=[8, 16, 32, 64, 128]: the file holds a classifier"), "{error}");
}

#[test]
fn the_epsilon_of_a_detector_that_training_starts_from() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own.safetensors");
    let mut config = tiny(false);
    config.frozen_epsilon = 1e-3;
    weights::save(&config.init(&Device::flex()), &own).unwrap();
    let default = tiny(false);
    let v1 = FasterRcnnConfig::resnet50_fpn(91);
    let (zero, small) = (Some("frozen_epsilon=0"), Some("frozen_epsilon=0.00001"));
    for (path, config, in_config, setting, expected) in [
        (fixture("v1.pth"), &v1, 1e-5, None, (1e-5, EpsilonSource::Default)),
        (fixture("v1.pth"), &v1, 1e-5, zero, (0.0, EpsilonSource::Setting)),
        (fixture("v1.pth"), &v1, 0.0, None, (0.0, EpsilonSource::Detector)),
        (fixture("v1_published.pth"), &v1, 1e-5, None, (0.0, EpsilonSource::OldNames)),
        (fixture("v1_published.pth"), &v1, 1e-5, small, (1e-5, EpsilonSource::Setting)),
        (own.clone(), &default, 1e-5, None, (1e-3, EpsilonSource::Metadata)),
        (own.clone(), &default, 2e-3, None, (2e-3, EpsilonSource::Detector)),
        (own, &default, 2e-3, zero, (0.0, EpsilonSource::Setting)),
    ] {
        let mut config = config.clone();
        config.frozen_epsilon = in_config;
        let mut model = config.init(&Device::flex());
        let options = setting.into_iter().fold(LoadOptions::default(), LoadOptions::set);
        let report = WeightFile::open(&path).unwrap().load_into(&mut model, &options).unwrap();
        assert_eq!((report.frozen_epsilon, report.epsilon_source), expected, "{}", path.display());
        assert_eq!(model.config().frozen_epsilon, expected.0);
    }
    // What only a new detector can have is refused by name.
    let mut model = default.init(&Device::flex());
    let file = WeightFile::open(folder.path().join("own.safetensors")).unwrap();
    let (same, other) = ("anchors.sizes=[32, 64, 128, 256, 512]", "anchors.sizes=[8, 16, 32, 64, 128]");
    file.load_into(&mut model, &LoadOptions::default().set(same)).unwrap();
    let error = file.load_into(&mut model, &LoadOptions::default().set(other)).unwrap_err().to_string();
    assert!(error.starts_with("anchors.sizes: "), "{error}");
}

/// The program; what it prints where it succeeds.
fn run(arguments: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_faster-rcnn"));
    // Whoever has a proxy for the internet cannot reach it by this one.
    command.env("HTTPS_PROXY", "http://127.0.0.1:9").env("https_proxy", "http://127.0.0.1:9");
    command.arg("weights").args(arguments).output().unwrap()
}

fn succeed(arguments: &[&Path]) -> String {
    let output = run(arguments);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{arguments:?}");
    text(&output.stdout)
}

fn fail(arguments: &[&Path]) -> String {
    let output = run(arguments);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
    assert!(message.starts_with("error: ") && message.lines().count() == 1, "{arguments:?}: {message}");
    message
}

#[test]
fn the_command_line_lists_and_says_what_to_do_offline() {
    let list = succeed(&["list".as_ref()]);
    for file in weights::published() {
        let line = list.lines().find(|line| line.split_whitespace().next() == Some(&file.name)).unwrap();
        assert!(line.contains(&file.figures) && line.contains(&file.license), "{line}");
        assert!(line.contains(&file.kind.to_string()), "{line}");
    }
    assert!(list.contains("cache: ") && list.contains("faster-rcnn"), "{list}");

    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("new/cache");
    let message = fail(&["fetch".as_ref(), "resnet18".as_ref(), "--folder".as_ref(), &cache]);
    let by_hand =
        format!("download it elsewhere and put it at {}", cache.join("resnet18-f37072fd.pth").display());
    assert!(
        message.contains("error: https://download.pytorch.org/models/resnet18-f37072fd.pth: "),
        "{message}"
    );
    assert!(message.contains(&by_hand), "{message}");
    fs::write(cache.join("resnet18-f37072fd.pth"), "something else").unwrap();
    let message = fail(&["fetch".as_ref(), "resnet18".as_ref(), "--folder".as_ref(), &cache]);
    assert!(message.contains("not the published file"), "{message}");

    let unknown = run(&["fetch".as_ref(), "resnet19".as_ref()]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("none of resnet18, resnet34, "), "{}", text(&unknown.stderr));
    for command in ["", "list", "fetch", "inspect", "convert"] {
        let arguments: Vec<&Path> =
            [command, "--help"].into_iter().filter(|part| !part.is_empty()).map(Path::new).collect();
        assert!(succeed(&arguments).contains("  faster-rcnn weights "), "{command}");
    }
}

#[test]
fn the_command_line_inspects_and_converts() {
    let folder = tempfile::tempdir().unwrap();
    let inspect = |path: &Path| succeed(&["inspect".as_ref(), path]);
    let said = inspect(&fixture("v1_published.pth"));
    for part in [
        "(PyTorch, zip, 0.0 MiB)",
        "tensors:  295 (295 f32)",
        "detector, ResNet-50, frozen batch norm, epsilon 0e0",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.contains("classes:  90 and the background: person, bicycle, "), "{said}");
    let said = inspect(&fixture("v2_legacy.pth"));
    assert!(
        said.contains("PyTorch, legacy")
            && said.contains("ResNet-50, batch norm;")
            && said.contains("box head of four convolutions"),
        "{said}"
    );
    let said = succeed(&["inspect".as_ref(), "--tensors".as_ref(), &fixture("resnet34.pth")]);
    assert!(
        said.contains("model:    classifier, ResNet-34") && said.contains("  fc.weight: f32 [1000, 512]\n"),
        "{said}"
    );
    let said = run(&["inspect".as_ref(), &fixture("layouts_zip.pth")]);
    assert!(
        text(&said.stdout).contains("tensors:  11 (1 bf16, 1 f16, 7 f32, 1 f64, 1 i64)"),
        "{}",
        text(&said.stdout)
    );
    assert!(text(&said.stderr).contains("neither a detector nor a ResNet") && said.status.code() == Some(1));

    let target = folder.path().join("new/model.safetensors");
    let convert = |from: &Path| succeed(&["convert".as_ref(), from, &target]);
    assert!(convert(&fixture("v1_checkpoint.pth")).ends_with("model.safetensors: a detector\n"));
    let same = |a: &Path, b: &Path| {
        let load = |path| weights::load(path, &Device::flex()).unwrap();
        let (a, b) = (load(a), load(b));
        assert_eq!(a.config(), b.config());
        assert!(weights::collect(&a) == weights::collect(&b));
    };
    same(&fixture("v1_checkpoint.pth"), &target);
    let said = inspect(&target);
    assert!(said.contains("metadata: faster_rcnn_config\n"), "{said}");
    assert!(said.contains("epsilon:  1e-5: as the file's metadata has it\n"), "{said}");

    let other = folder.path().join("other.safetensors");
    let set =
        ["--set", "model.frozen_epsilon=0", "--set", "model.anchors.sizes=[8,16,32,64,128]"].map(Path::new);
    let from = fixture("v1_checkpoint.pth");
    let with_settings =
        |command: &[&Path]| -> String { succeed(&command.iter().copied().chain(set).collect::<Vec<_>>()) };
    with_settings(&["convert".as_ref(), &from, &other]);
    for said in [with_settings(&["inspect".as_ref(), &from]), inspect(&other)] {
        assert!(
            said.contains("anchors:  sizes [8.0, 16.0, 32.0, 64.0, 128.0], ratios [0.5, 1.0, 2.0]\n"),
            "{said}"
        );
        assert!(said.contains("epsilon 0e0"), "{said}");
    }
    let said = inspect(&fixture("v1_lightning.ckpt"));
    assert!(said.contains("names:    begin with state_dict.model.\n"), "{said}");
    assert!(said.contains("epsilon:  1e-5: the file cannot tell"), "{said}");
    let message = fail(&["convert".as_ref(), &other, &other]);
    assert!(message.contains("is read, so it is not written"), "{message}");
    for setting in ["train.epochs=3", "model.=3", "model.seed"] {
        let output = run(&["inspect".as_ref(), &other, "--set".as_ref(), setting.as_ref()]);
        assert_eq!(output.status.code(), Some(2), "{setting}");
        assert!(text(&output.stderr).contains("model.KEY=VALUE"), "{}", text(&output.stderr));
    }

    assert!(convert(&fixture("resnet18.pth")).ends_with("model.safetensors: a classifier\n"));
    let (from, to) = (WeightFile::open(fixture("resnet18.pth")).unwrap(), WeightFile::open(&target).unwrap());
    let found = to.inspect(&LoadOptions::default()).unwrap();
    assert_eq!(
        (found.kind, found.backbone, found.config),
        (WeightFileKind::Classifier, ResNetDepth::ResNet18, None)
    );
    let floats = from.tensors().iter().filter(|(_, tensor)| tensor.dtype.is_float());
    for (name, tensor) in floats.clone() {
        assert_eq!(to.tensors()[name].shape, tensor.shape, "{name}");
        assert_eq!(to.read(name).unwrap(), from.read(name).unwrap(), "{name}");
    }
    assert_eq!(to.tensors().len(), floats.count());

    let before = fs::read(&target).unwrap();
    let message = fail(&["convert".as_ref(), &fixture("layouts_zip.pth"), &target]);
    assert!(message.contains("layouts_zip.pth: tensor backbone.body.conv1.weight: is missing"), "{message}");
    assert!(fs::read(&target).unwrap() == before);
    assert!(fail(&["inspect".as_ref(), "nowhere.pth".as_ref()]).contains("nowhere.pth: No such file"));
}
