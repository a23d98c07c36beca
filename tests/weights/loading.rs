//! Files of every layout become detectors and backbones.

use crate::*;

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
