//! The command line from end to end: `predict` and `evaluate`.

#[path = "common/program.rs"]
mod program;

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use faster_rcnn::data::deep_pcb::CLASS_NAMES;
use faster_rcnn::weights;
use serde_json::{Value, json};

use program::{Bench, SIZE, assert_no_temporary_files, keys, text, tiny};

#[test]
fn predict_writes_json_and_pictures() {
    let bench = Bench::new(2);
    let (first, second) = (bench.image(0), bench.image(1));
    let arguments = format!("predict --weights tiny.safetensors {first} {second}");
    let printed: Value = serde_json::from_str(&bench.succeed(&arguments)).unwrap();
    assert_eq!(bench.succeed(&format!("{arguments} --json found.json --draw pictures")), "");
    assert_eq!(bench.json("found.json"), printed);
    assert_no_temporary_files(bench.folder.path());

    for (entry, image) in printed.as_array().unwrap().iter().zip([&first, &second]) {
        assert_eq!(keys(entry), ["detections", "height", "image", "width"]);
        assert_eq!(
            (&entry["image"], &entry["width"], &entry["height"]),
            (&json!(image), &json!(SIZE), &json!(SIZE))
        );
        let detections = entry["detections"].as_array().unwrap();
        assert!(!detections.is_empty());
        let mut last = 1.0;
        for found in detections {
            assert_eq!(keys(found), ["box", "label", "name", "score"]);
            let label = found["label"].as_u64().unwrap() as usize;
            assert_eq!(found["name"], CLASS_NAMES[label - 1]);
            let xyxy: [f64; 4] = serde_json::from_value(found["box"].clone()).unwrap();
            assert!(0.0 <= xyxy[0] && xyxy[0] < xyxy[2] && xyxy[2] <= SIZE as f64, "{xyxy:?}");
            assert!(0.0 <= xyxy[1] && xyxy[1] < xyxy[3] && xyxy[3] <= SIZE as f64, "{xyxy:?}");
            let score = found["score"].as_f64().unwrap();
            assert!(0.05 < score && score <= last);
            last = score;
        }
        let name = Path::new(image).with_extension("png");
        let picture = image::open(bench.path("pictures").join(name.file_name().unwrap()));
        assert!(picture.unwrap().width() >= SIZE as u32);
    }

    // Threshold and size are the weights' own unless they are given.
    let none = bench.succeed(&format!("{arguments} --score-threshold 1"));
    assert!(serde_json::from_str::<Value>(&none).unwrap()[0]["detections"].as_array().unwrap().is_empty());
    let same = bench.succeed(&format!("{arguments} --score-threshold 0.05 --min-size 128"));
    assert_eq!(same, bench.succeed(&arguments));
    assert_ne!(bench.succeed(&format!("{arguments} --min-size 96")), bench.succeed(&arguments));
    assert!(
        bench.run(&format!("{arguments} --min-size 800")).status.code() == Some(2),
        "the long side is 128"
    );

    let mut nameless = tiny();
    nameless.class_names.clear();
    weights::save(&nameless.init(&Device::flex()), bench.path("nameless.safetensors")).unwrap();
    let found = bench.succeed(&format!("predict --weights nameless.safetensors {first}"));
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found[0]["detections"][0]["name"], Value::Null);
}

#[test]
fn pictures_overwrite_neither_each_other_nor_an_image() {
    let bench = Bench::new(2);
    fs::create_dir(bench.path("pictures")).unwrap();
    for (index, name) in ["board.jpg", "pictures/board.png", "pictures/board_2.png"].iter().enumerate() {
        fs::copy(bench.path(&bench.image(index % 2)), bench.path(name)).unwrap();
    }
    let before =
        ["pictures/board.png", "pictures/board_2.png"].map(|name| fs::read(bench.path(name)).unwrap());
    let images = "board.jpg pictures/board.png pictures/../pictures/board_2.png board.jpg";
    bench.succeed(&format!("predict --weights tiny.safetensors --json p.json --draw pictures {images}"));
    let after =
        ["pictures/board.png", "pictures/board_2.png"].map(|name| fs::read(bench.path(name)).unwrap());
    assert!(before == after);
    let mut names: Vec<String> = fs::read_dir(bench.path("pictures"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = ["board.png", "board_2.png", "board_2_2.png", "board_3.png", "board_4.png", "board_5.png"];
    assert_eq!(names, expected);
}

#[test]
fn a_broken_image_does_not_stop_the_others() {
    let bench = Bench::new(2);
    bench.write("broken.jpg", "not an image");
    let whole = fs::read(bench.path(&bench.image(0))).unwrap();
    bench.write("cut.jpg", &whole[..whole.len() * 2 / 3]);
    let good = bench.image(1);
    let arguments = "predict --weights tiny.safetensors --json found.json --draw pictures";
    let message = bench.fail(&format!("{arguments} broken.jpg cut.jpg missing.jpg {good}"));
    assert!(
        message.contains("3 of 4 images")
            && message.contains("broken.jpg: ")
            && message.contains("cut.jpg: the file is cut off"),
        "{message}"
    );
    assert!(
        message.contains("missing.jpg: No such file") && message.matches("missing.jpg").count() == 1,
        "{message}"
    );
    let found = bench.json("found.json");
    assert_eq!((found.as_array().unwrap().len(), &found[0]["image"]), (1, &json!(good)));
    assert!(bench.path("pictures/00000010_test.png").exists());
    let message = bench.fail(&format!("predict --weights tiny.safetensors --json boards {good}"));
    assert!(message.contains("boards: is a folder"), "{message}");
    bench.succeed(&format!("predict --weights tiny.safetensors --json new/folder/p.json {good}"));
    assert_eq!(bench.json("new/folder/p.json"), found);
}

#[test]
fn weights_that_are_none_are_named() {
    let bench = Bench::new(2);
    let image = bench.image(0);
    bench.write("empty.pth", "");
    bench.write("text.pth", "these are not weights");
    let whole = fs::read(bench.path("tiny.safetensors")).unwrap();
    bench.write("cut.safetensors", &whole[..whole.len() / 2]);
    for file in ["empty.pth", "text.pth", "cut.safetensors", "missing.pth", "boards"] {
        for command in [format!("predict {image}"), "evaluate --data boards".to_string()] {
            let message = bench.fail(&format!("{command} --weights {file}"));
            assert_eq!(message.matches(&format!("{file}: ")).count(), 1, "{message}");
        }
    }

    let model = tiny().init(&Device::flex());
    for tensor in ["backbone.body.conv1.weight", "roi_heads.box_predictor.bbox_pred.bias"] {
        let mut tensors = weights::collect(&model);
        let broken = tensors.iter_mut().find(|broken| broken.name == tensor).unwrap();
        broken.values.fill(f32::NAN);
        let broken = weights::apply(model.clone(), tensors).unwrap();
        weights::save(&broken, bench.path("nan.safetensors")).unwrap();
        let message = bench.fail(&format!("predict --weights nan.safetensors {image}"));
        assert!(message.contains(&image) && message.contains("NaN"), "{tensor}: {message}");
        let message = bench.fail("evaluate --weights nan.safetensors --data boards");
        assert!(message.contains("00000010_test.jpg: ") && message.contains("NaN"), "{tensor}: {message}");
    }

    let mut classes = tiny();
    (classes.num_classes, classes.class_names) = (3, Vec::new());
    weights::save(&classes.init(&Device::flex()), bench.path("two.safetensors")).unwrap();
    let message = bench.fail("evaluate --weights two.safetensors --data boards");
    assert!(
        message.contains("two.safetensors: detects 2 classes, the data set has 6 (open, short,"),
        "{message}"
    );

    // As many classes, but others.
    let mut names = CLASS_NAMES;
    names.swap(0, 1);
    weights::save(&tiny().with_class_names(&names).init(&Device::flex()), bench.path("other.safetensors"))
        .unwrap();
    let message = bench.fail("evaluate --weights other.safetensors --data boards");
    assert!(
        message.contains("detects 6 classes (short, open, mousebite")
            && message.contains("6 (open, short, mouse"),
        "{message}"
    );
    let mut nameless = tiny();
    nameless.class_names.clear();
    weights::save(&nameless.init(&Device::flex()), bench.path("nameless.safetensors")).unwrap();
    assert!(bench.succeed("evaluate --weights nameless.safetensors --data boards").contains("pin-hole"));
}

#[test]
fn predictions_evaluate_as_their_weights_do() {
    let bench = Bench::new(12);
    let table = bench.succeed("evaluate --weights tiny.safetensors --data boards --json direct.json");
    let list = fs::read_to_string(bench.path("boards/test.txt")).unwrap();
    let images: Vec<String> = list
        .lines()
        .map(|line| "boards/".to_string() + line.split_once(".jpg").unwrap().0 + "_test.jpg")
        .collect();
    bench.succeed(&format!("predict --weights tiny.safetensors --json p.json {}", images.join(" ")));
    assert_eq!(bench.succeed("evaluate --detections p.json --data boards --json json.json"), table);
    assert_eq!(bench.json("direct.json"), bench.json("json.json"));

    // On a list of one's own, too.
    let lines: Vec<&str> = list.lines().collect();
    let train = fs::read_to_string(bench.path("boards/trainval.txt")).unwrap();
    bench.write("own.txt", format!("{}\n{}\n", lines[0], train.lines().next().unwrap()));
    let both = bench.succeed("evaluate --weights tiny.safetensors --data boards --list own.txt");
    assert_ne!(both, table);
    assert!(
        bench.fail("evaluate --weights tiny.safetensors --data boards --list no.txt").contains("no.txt: ")
    );
}

#[test]
fn a_perfect_prediction_evaluates_to_1() {
    let bench = Bench::new(3);
    bench.write("perfect.json", bench.perfect().to_string());
    let table =
        bench.succeed("evaluate --detections perfect.json --data boards --json out.json --plots plots");
    assert!(table.contains("mAP 1.000") && table.contains("pin-hole"), "{table}");
    let out = bench.json("out.json");
    assert_eq!(keys(&out), ["coco", "deep_pcb", "thresholds"]);
    let coco =
        ["ap", "ap50", "ap75", "ap_large", "ap_medium", "ap_small", "ar1", "ar10", "ar100", "per_class"];
    assert_eq!(keys(&out["coco"]), coco);
    let deep_pcb = ["class_mean_ap", "f_score", "map", "per_class", "precision", "recall", "threshold"];
    assert_eq!(keys(&out["deep_pcb"]), deep_pcb);
    for name in ["ap", "ap50", "ap75", "ar100"] {
        assert_eq!(out["coco"][name], 1.0, "{name}");
    }
    for name in ["map", "class_mean_ap", "f_score", "precision", "recall"] {
        assert_eq!(out["deep_pcb"][name], 1.0, "{name}");
    }
    assert_eq!(keys(&out["coco"]["per_class"]).len(), 6);
    for chart in ["precision_recall.png", "confusion_matrix.png"] {
        assert!(image::open(bench.path("plots").join(chart)).is_ok(), "{chart}");
    }
    let mistakes = bench.path("plots").join("mistakes.png");
    assert!(!mistakes.exists() && image::open(bench.path("plots/hits.png")).is_ok());
    let mut missed = bench.perfect();
    assert!(missed[0]["detections"].as_array_mut().unwrap().pop().is_some());
    bench.write("missed.json", missed.to_string());
    bench.succeed("evaluate --detections missed.json --data boards --plots plots");
    assert!(image::open(mistakes).is_ok());
}

#[test]
fn detections_that_cannot_be_are_named() {
    let bench = Bench::new(3);
    let perfect = bench.perfect();
    let change = |pointer: &str, value: Value| {
        let mut changed = perfect.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        changed.to_string()
    };
    let (one, name) = (perfect[0].clone(), perfect[0]["image"].as_str().unwrap());
    let mut unknown = one.clone();
    unknown["image"] = json!("folder/unknown.jpg");
    let cases = [
        ("\u{FEFF}".to_string(), "EOF while parsing"),
        ("".to_string(), "EOF while parsing"),
        ("{}".to_string(), "expected a sequence at line 1"),
        ("[]".to_string(), "has no entry for image group00000/00000/00000020_test.jpg"),
        (json!([one, unknown]).to_string(), "image folder/unknown.jpg is not in the data set"),
        (
            json!([one, one]).to_string(),
            "two entries are for an image called group00000/00000/00000020_test.jpg",
        ),
        (change("/0/width", json!(64)), "is 64 x 128 pixels here and 128 x 128 in the data set"),
        (change("/0/detections/0/label", json!(0)), "detection 1: label 0 is not one of 1..=6"),
        (change("/0/detections/0/label", json!(7)), "detection 1: label 7 is not one of 1..=6"),
        (change("/0/detections/0/label", json!(-1)), "invalid value: integer `-1`"),
        (change("/0/detections/0/name", json!("scratch")), "is called `scratch` here and `"),
        (change("/0/detections/0/box", json!([1, 2, 3])), "invalid length 3"),
        (change("/0/detections/0/box", json!([9, 9, 5, 20])), "box [9.0, 9.0, 5.0, 20.0] is not"),
        (change("/0/detections/0/box", json!([1, 2, 1e300, 4])), "number out of range"),
        (change("/0/detections/0/score", json!(1.5)), "detection 1: score 1.5 is not in 0..=1"),
        (change("/0/detections/0/score", json!(null)), "invalid type: null"),
        (change("/0/detections/0/score", json!("NUMBER")).replace("\"NUMBER\"", "NaN"), "at line 1 column"),
        (change("/0/detections", json!(null)), "invalid type: null"),
    ];
    for (content, expected) in cases {
        bench.write("p.json", &content);
        let message = bench.fail("evaluate --detections p.json --data boards");
        assert!(message.contains("p.json: ") && message.contains(expected), "{content}: {message}");
        assert!(!message.contains("detection 1") || message.contains(name), "{message}");
    }
}

#[test]
fn a_byte_order_mark_is_no_character_of_the_json_and_utf_16_is_named() {
    let bench = Bench::new(3);
    let mut perfect = bench.perfect();
    for found in perfect
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .flat_map(|image| image["detections"].as_array_mut().unwrap())
    {
        found["name"] = Value::Null;
    }
    bench.write("p.json", format!("\u{FEFF}{perfect}"));
    assert!(bench.succeed("evaluate --detections p.json --data boards").contains("mAP 1.000"));
    let utf_16: Vec<u8> = format!("\u{FEFF}{perfect}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    bench.write("p.json", utf_16);
    let message = bench.fail("evaluate --detections p.json --data boards");
    assert!(message.contains("p.json") && message.contains("UTF-16"), "{message}");
}

#[test]
fn what_is_read_is_never_written() {
    let bench = Bench::new(3);
    let image = bench.image(0);
    bench.write("p.json", bench.perfect().to_string());
    let list = fs::read_to_string(bench.path("boards/test.txt")).unwrap();
    bench.write("list.txt", &list);
    for (arguments, input) in [
        (format!("predict --weights tiny.safetensors --json {image} {image}"), image.as_str()),
        (
            format!("predict --weights tiny.safetensors --json boards/../tiny.safetensors {image}"),
            "tiny.safetensors",
        ),
        ("evaluate --detections p.json --data boards --json ./p.json".to_string(), "p.json"),
        (
            "evaluate --weights tiny.safetensors --data boards --list list.txt --json list.txt".to_string(),
            "list.txt",
        ),
        (
            "evaluate --weights tiny.safetensors --data boards --json tiny.safetensors".to_string(),
            "tiny.safetensors",
        ),
    ] {
        let before = fs::read(bench.path(input)).unwrap();
        let message = bench.fail(&arguments);
        assert!(message.contains("is read, so it is not written"), "{message}");
        assert!(fs::read(bench.path(input)).unwrap() == before, "{arguments}");
    }
}

/// Settings that the weights do not have, or have otherwise, in both commands.
#[test]
fn how_to_detect_can_be_said_where_weights_are_read() {
    let bench = Bench::new(3);
    let predict = |options: &str| -> Vec<Value> {
        let arguments = format!("predict --weights tiny.safetensors {} {options}", bench.image(0));
        let found: Value = serde_json::from_str(&bench.succeed(&arguments)).unwrap();
        found[0]["detections"].as_array().unwrap().clone()
    };
    let plain = predict("");
    assert_eq!(plain.len(), 100, "what the weights' own limit leaves");
    // Six classes at each of 50 proposals, none of them suppressed.
    assert_eq!(predict("--detections-per-image 1000 --nms-threshold 1 --score-threshold 0").len(), 300);
    assert_eq!(predict("--detections-per-image 7"), plain[..7]);
    assert_eq!(predict("--set model.roi_heads.detections_per_img=7"), plain[..7]);
    assert_eq!(predict("--set model.roi_heads.detections_per_img=7 --detections-per-image 8"), plain[..8]);
    assert!(predict("--nms-threshold 0").len() < predict("--detections-per-image 1000").len());
    // All classes are about as likely here, so it takes many boxes to share a place for their sum to pass one.
    assert_eq!(predict("--exclusive-iou 1"), plain);
    let exclusive = predict("--exclusive-iou 0");
    assert!(exclusive.len() < plain.len());
    assert_eq!(exclusive[0], plain[0], "the best keeps its score");
    assert_eq!(exclusive, predict("--set model.roi_heads.exclusive_iou=0"));
    assert_eq!(predict("--image-size 96"), predict("--min-size 96"));
    assert_eq!(predict("--image-size 64,96"), predict("--min-size 64 --max-size 96"));
    // The weights' own MAX, 128, makes room for a larger MIN.
    assert_eq!(predict("--image-size 160"), predict("--image-size 160,160"));
    assert_ne!(predict("--image-size 160"), plain);
    assert_ne!(predict("--set model.anchors.sizes=[8,16,32,64,128]"), plain);
    assert_ne!(predict("--set model.transform.min_size=96"), plain);
    assert_eq!(predict("--set model.transform.min_size=96"), predict("--image-size 96,128"));

    // With --verbose, `evaluate` says how many detections there are in the one image.
    let evaluate = |options: &str| -> usize {
        let output =
            bench.run(&format!("evaluate --verbose --weights tiny.safetensors --data boards {options}"));
        let log = text(&output.stderr);
        assert!(output.status.success(), "{log}");
        let count = log.split_once("detections=").unwrap().1.split_whitespace().next().unwrap();
        count.parse().unwrap()
    };
    assert_eq!(evaluate(""), 100);
    assert_eq!(evaluate("--detections-per-image 1"), 1);
    assert_eq!(evaluate("--set model.roi_heads.detections_per_img=7"), 7);
    assert_eq!(evaluate("--score-threshold 1"), 0);
    assert!(evaluate("--nms-threshold 0") < evaluate("--detections-per-image 1000"));
    let threshold = |options: &str| {
        bench.succeed(&format!("evaluate --weights tiny.safetensors --data boards --json e.json {options}"));
        bench.json("e.json")["deep_pcb"]["threshold"].clone()
    };
    // The best score is that of another resized image.
    assert_ne!(threshold("--image-size 96"), threshold(""));
    for (setting, expected) in [
        ("model.anchors.size=[8]", "size"),
        ("model.roi_heads.nms_thresh=2", "roi_heads.nms_thresh must be in 0..=1, is 2"),
        ("model.roi_heads.exclusive_iou=2", "roi_heads.exclusive_iou must be in 0..=1, is 2"),
        ("model.roi_heads.detections_per_img=0", "detections_per_img"),
    ] {
        for command in [format!("predict {}", bench.image(0)), "evaluate --data boards".to_string()] {
            let message = bench.fail(&format!("{command} --weights tiny.safetensors --set {setting}"));
            assert!(message.contains(expected), "{setting}: {message}");
        }
    }
}

/// Windows are said on the command line or in the weights; the command line is heard first.
#[test]
fn large_images_are_looked_at_through_windows() {
    let bench = Bench::new(1);
    let detect = |options: &str| bench.succeed(&format!("predict {options} {}", bench.image(0)));
    let whole = detect("--weights tiny.safetensors");
    let windows = detect("--weights tiny.safetensors --tile 64 --overlap 16");
    assert_ne!(windows, whole);
    assert_eq!(detect("--weights tiny.safetensors --tile 64"), windows, "a quarter of the window");
    assert_eq!(detect("--weights tiny.safetensors --tile 16384"), whole);

    bench
        .succeed("weights convert tiny.safetensors tiled.safetensors --set model.tiles={size=64,overlap=16}");
    assert!(bench.succeed("weights inspect tiled.safetensors").contains("windows:  64 pixels"));
    assert_eq!(detect("--weights tiled.safetensors"), windows);
    assert_eq!(detect("--weights tiled.safetensors --tile 16384"), whole);
    let message = bench.fail(&format!("predict --weights tiny.safetensors --tile 16 {}", bench.image(0)));
    assert!(message.contains("tiles.size must be in 32..=16384, is 16"), "{message}");
}

#[test]
fn a_device_that_is_not_there_is_named_in_one_sentence() {
    let bench = Bench::new(3);
    for device in ["cuda:99", "wgpu:1", "gpu"] {
        for command in [format!("predict {}", bench.image(0)), "evaluate --data boards".to_string()] {
            let output = bench.run(&format!("{command} --weights tiny.safetensors --device {device}"));
            let message = text(&output.stderr);
            assert!(matches!(output.status.code(), Some(1 | 2)), "{message}");
            assert!(message.contains(device) && !message.contains("panicked"), "{message}");
        }
    }
}

/// Standard output may be a file: then its name, not that of a device, is replaced.
#[cfg(target_os = "linux")]
#[test]
fn json_can_go_to_the_device_of_standard_output() {
    let bench = Bench::new(2);
    let arguments = format!("predict --weights tiny.safetensors {}", bench.image(0));
    let expected = bench.succeed(&arguments);
    assert_eq!(bench.succeed(&format!("{arguments} --json /dev/stdout")), expected);
    let file = fs::File::create(bench.path("out.json")).unwrap();
    let status = bench.command(&format!("{arguments} --json /dev/stdout")).stdout(file).status().unwrap();
    assert!(status.success() && fs::symlink_metadata("/dev/stdout").unwrap().is_symlink());
    assert_eq!(fs::read_to_string(bench.path("out.json")).unwrap(), expected);
}
