//! What is unexpected is an error, and what is saved comes back.

use crate::*;

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
        second.convert(path("third"), &LoadOptions::default(), Precision::F32).unwrap();
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
