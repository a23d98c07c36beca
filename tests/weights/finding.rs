//! Models in dictionaries and behind wrappers, and settings that a file cannot say.

use crate::*;

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
        weights::write_safetensors(&path, BTreeMap::new(), tensors, Precision::F32).unwrap();
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
    file.convert(&converted, &options, Precision::F32).unwrap();
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
