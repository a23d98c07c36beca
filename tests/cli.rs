//! The command line from end to end: the program itself on small boards and a tiny detector.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use faster_rcnn::NormKind;
use faster_rcnn::ResNetDepth;
use faster_rcnn::data::deep_pcb::{self, CLASS_NAMES};
use faster_rcnn::data::{Record, SyntheticConfig, write_synthetic};
use faster_rcnn::structures::Annotation;
use faster_rcnn::train::{RunConfig, TrainConfig};
use faster_rcnn::weights::NamedTensor;
use faster_rcnn::{FasterRcnnConfig, weights};
use serde_json::{Value, json};
use tempfile::TempDir;

const SIZE: usize = 128;

/// A folder with boards in `boards` and a detector with random weights in `tiny.safetensors`.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new(boards: usize) -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        let config = SyntheticConfig { size: SIZE, seed: 3 };
        write_synthetic(&bench.path("boards"), boards, &config).unwrap();
        weights::save(&tiny().init(&Device::flex()), &bench.path("tiny.safetensors")).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// The program in the folder, its arguments in one string.
    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_faster-rcnn"));
        command.current_dir(self.folder.path()).args(arguments.split_whitespace());
        command
    }

    fn run(&self, arguments: &str) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Standard output of a run that succeeds and has nothing to complain about.
    fn succeed(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments}: {}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "", "{arguments}");
        text(&output.stdout)
    }

    /// The one line on standard error of a run that fails.
    fn fail(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments}: {message}");
        assert_eq!(message.lines().count(), 1, "{arguments}: {message}");
        assert!(message.starts_with("error: "), "{message}");
        message
    }

    fn image(&self, index: usize) -> String {
        format!("boards/group00000/00000/{index:08}_test.jpg")
    }

    /// Detections of the data set's validation list that are its annotations.
    fn perfect(&self) -> Value {
        let validation = deep_pcb::open(self.path("boards"), 0).unwrap().validation;
        let image = |record: &Record| {
            let found = |a: &Annotation| json!({"box": a.xyxy, "label": a.label, "name": CLASS_NAMES[a.label - 1], "score": 0.9});
            let found: Vec<Value> = record.annotations.iter().map(found).collect();
            json!({"image": record.name(), "width": SIZE, "height": SIZE, "detections": found})
        };
        validation.records.iter().map(image).collect()
    }
}

/// Small enough for a step in a fraction of a second; scores of random weights are all near 1 / 7.
fn tiny() -> FasterRcnnConfig {
    let mut config = FasterRcnnConfig::new(ResNetDepth::ResNet18, 7)
        .with_class_names(&CLASS_NAMES)
        .with_norm(NormKind::Group)
        .with_trainable_layers(5)
        .with_image_size(SIZE, SIZE);
    config.fpn_channels = 16;
    config.roi_heads.representation_size = 32;
    config.rpn.post_nms_top_n_train = 50;
    config.rpn.post_nms_top_n_test = 50;
    config
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// No temporary file is left, wherever one may have been.
fn assert_no_temporary_files(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        assert_ne!(path.extension().and_then(|extension| extension.to_str()), Some("tmp"), "{path:?}");
        if path.is_dir() {
            assert_no_temporary_files(&path);
        }
    }
}

#[test]
fn help_teaches_and_wrong_usage_is_2() {
    let bench = Bench::new(2);
    for command in ["", "train", "evaluate", "predict", "synth", "check", "weights", "completions"] {
        let help = bench.succeed(&format!("{command} --help"));
        assert!(help.contains("  faster-rcnn "), "{command} has no example: {help}");
    }
    assert!(bench.succeed("--version").starts_with("faster-rcnn "));
    for wrong in [
        "",
        "nonsense",
        "synth --output x",
        "synth --output x --images many",
        "synth --output x --images -3",
        "check",
        "completions klingon",
        "weights",
        "weights list --all",
        "weights fetch",
        "weights fetch resnet19",
        "weights convert in.pth",
        "predict --weights tiny.safetensors",
        "predict --weights tiny.safetensors --score-threshold 2 a.jpg",
        "predict --weights tiny.safetensors --score-threshold NaN a.jpg",
        "predict --weights tiny.safetensors --min-size 0 a.jpg",
        "predict --weights tiny.safetensors --min-size 200 --max-size 100 a.jpg",
        "predict --weights tiny.safetensors --min-size 99999999 --max-size 99999999 a.jpg",
        "predict --weights tiny.safetensors --device quantum a.jpg",
        "evaluate --data boards",
        "evaluate --weights tiny.safetensors --detections p.json --data boards",
        "evaluate --weights tiny.safetensors --data boards --device cuda",
        "train --config c.toml --data boards",
        "train --config c.toml --data boards --output run --set epochs",
        "train --config c.toml --data boards --output run --set =3",
        "train --config c.toml --data boards --output run --resume --weights tiny.safetensors",
        "train --config c.toml --data boards --output run --device tpu",
        "train --config c.toml --data boards --output run --allow fc",
    ] {
        let output = bench.run(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong}: {}", text(&output.stderr));
        assert!(text(&output.stdout).is_empty() && !output.stderr.is_empty(), "{wrong}");
    }
}

#[test]
fn completions_know_the_commands_and_a_closed_pipe_is_no_failure() {
    let bench = Bench::new(2);
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = bench.succeed(&format!("completions {shell}"));
        assert!(script.contains("evaluate") && script.contains("score-threshold"), "{shell}");
    }
    for arguments in ["completions zsh", "check --data boards", "predict --weights tiny.safetensors IMAGE"] {
        let arguments = arguments.replace("IMAGE", &bench.image(0));
        let mut child =
            bench.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{arguments}");
    }
}

#[test]
fn synth_makes_boards_that_check_accepts() {
    let bench = Bench::new(2);
    for name in ["one", "two"] {
        let said = bench.succeed(&format!("synth --output {name} --images 3 --seed 7 --size 160"));
        assert!(said.contains("3 boards of 160 x 160"), "{said}");
        assert_eq!(bench.succeed(&format!("check --data {name}")), format!("{name}: no faults\n"));
    }
    for file in ["trainval.txt", "group00000/00000/00000002_test.jpg", "group00000/00000_not/00000001.txt"] {
        let read = |name: &str| fs::read(bench.path(name).join(file)).unwrap();
        assert!(read("one") == read("two"), "{file}");
    }
    assert!(bench.fail("synth --output one --images 3").contains("one: the folder is not empty"));
    assert!(bench.fail("synth --output three --images 0").contains("at least 1 image"));
    assert!(bench.fail("synth --output three --images 1 --size 5").contains("size must be in 128..=1024"));
}

#[test]
fn check_lists_all_faults() {
    let bench = Bench::new(4);
    let labels = |index: usize| format!("boards/group00000/00000_not/{index:08}.txt");
    bench.write(&labels(0), "1 2 3\n5 5 9 9 6\n5 5 9 9 8\n");
    bench.write(&bench.image(1), "not an image");
    fs::remove_file(bench.path(&labels(2))).unwrap();

    let output = bench.run("check --data boards");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), "error: boards: 4 faults\n".into()));
    let stdout = text(&output.stdout);
    let faults: Vec<&str> = stdout.lines().collect();
    let places = [
        labels(0) + ":1: ",
        labels(0) + ":3: class `8`",
        bench.image(1) + ": ",
        labels(2) + ": No such file",
    ];
    assert_eq!(faults.len(), places.len(), "{stdout}");
    for (fault, place) in faults.iter().zip(places) {
        assert!(fault.starts_with(&place), "{fault}");
    }
    assert!(bench.fail("check --data nowhere").contains("nowhere: No such file"));
}

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
    weights::save(&nameless.init(&Device::flex()), &bench.path("nameless.safetensors")).unwrap();
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
    assert!(message.contains("missing.jpg: No such file"), "{message}");
    let found = bench.json("found.json");
    assert_eq!((found.as_array().unwrap().len(), &found[0]["image"]), (1, &json!(good)));
    assert!(bench.path("pictures/00000001_test.png").exists());
    assert!(bench.fail(&format!("{arguments} boards")).contains("boards: "));
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
            assert!(message.contains(&format!("error: {file}: ")), "{message}");
        }
    }

    let model = tiny().init(&Device::flex());
    for tensor in ["backbone.body.conv1.weight", "roi_heads.box_predictor.bbox_pred.bias"] {
        let mut tensors = weights::collect(&model);
        let broken = tensors.iter_mut().find(|broken| broken.name == tensor).unwrap();
        broken.values.fill(f32::NAN);
        let broken = weights::apply(model.clone(), tensors).unwrap();
        weights::save(&broken, &bench.path("nan.safetensors")).unwrap();
        let message = bench.fail(&format!("predict --weights nan.safetensors {image}"));
        assert!(message.contains(&image) && message.contains("NaN"), "{tensor}: {message}");
        let message = bench.fail("evaluate --weights nan.safetensors --data boards");
        assert!(message.contains("00000001_test.jpg: ") && message.contains("NaN"), "{tensor}: {message}");
    }

    let mut classes = tiny();
    (classes.num_classes, classes.class_names) = (3, Vec::new());
    weights::save(&classes.init(&Device::flex()), &bench.path("two.safetensors")).unwrap();
    let message = bench.fail("evaluate --weights two.safetensors --data boards");
    assert!(message.contains("two.safetensors: detects 2 classes, the data set has 6"), "{message}");
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
    assert_eq!(keys(&out), ["coco", "deep_pcb"]);
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
        ("".to_string(), "EOF while parsing"),
        ("{}".to_string(), "expected a sequence at line 1"),
        ("[]".to_string(), "has no entry for image 00000002_test.jpg"),
        (json!([one, unknown]).to_string(), "image folder/unknown.jpg is not in the data set"),
        (json!([one, one]).to_string(), "two entries are for an image called 00000002_test.jpg"),
        (change("/0/width", json!(64)), "is 64 x 128 pixels here and 128 x 128 in the data set"),
        (change("/0/detections/0/label", json!(0)), "detection 1: label 0 is not one of 1..=6"),
        (change("/0/detections/0/label", json!(7)), "detection 1: label 7 is not one of 1..=6"),
        (change("/0/detections/0/label", json!(-1)), "invalid value: integer `-1`"),
        (change("/0/detections/0/box", json!([1, 2, 3])), "invalid length 3"),
        (change("/0/detections/0/box", json!([9, 9, 5, 20])), "box [9.0, 9.0, 5.0, 20.0] is not"),
        (change("/0/detections/0/box", json!([1, 2, 1e300, 4])), "box [1.0, 2.0, inf, 4.0] is not"),
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
fn a_run_trains_resumes_and_survives_a_kill() {
    let bench = Bench::new(6);
    let mut config = RunConfig::new(tiny());
    config.train = TrainConfig { epochs: 1, warmup_steps: 2, sample_pictures: 1, ..config.train };
    bench.write("tiny.toml", config.to_toml());
    let train = "train --config tiny.toml --data boards --output run --device cpu";

    // Another number of classes, and the frozen norms of torchvision's COCO weights.
    let mut start = tiny();
    (start.num_classes, start.class_names, start.frozen_epsilon) = (3, Vec::new(), 0.0);
    weights::save(&start.init(&Device::flex()), &bench.path("start.safetensors")).unwrap();
    let said = bench.succeed(&format!("{train} --weights start.safetensors"));
    assert!(
        said.contains("applied: ") && said.contains("cls_score.weight is [7, 32], in the file [3, 32]"),
        "{said}"
    );
    let written = fs::read_to_string(bench.path("run/config.toml")).unwrap();
    assert!(written.contains("frozen_epsilon = 0.0\n"), "{written}");
    assert!(said.contains("5 images to train on, 1 held out") && said.contains("epoch 1/1 train"), "{said}");
    assert!(said.contains("best weights: run/checkpoints/best.safetensors"), "{said}");
    assert!(bench.fail(train).contains("run: holds a run already"));
    let said = bench.succeed(&format!("{train} --resume --set train.epochs=2"));
    assert!(said.contains("epoch 2/2 train") && !said.contains("epoch 1/"), "{said}");
    assert!(bench.fail(&format!("{train} --resume --set train.seed=9")).contains("train.seed"));
    let evaluated =
        bench.succeed("evaluate --weights run/checkpoints/best.safetensors --data boards --json again.json");
    assert!(said.contains(&evaluated));
    assert_eq!(bench.json("again.json"), bench.json("run/evaluation.json"));

    let killed = train.replace("run", "killed");
    let mut child = bench
        .command(&format!("{killed} --set train.epochs=1000"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let last = bench.path("killed/checkpoints/last.safetensors");
    let started = Instant::now();
    while !last.exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "no checkpoint after a minute");
        assert!(child.try_wait().unwrap().is_none(), "the run ended by itself");
        thread::sleep(Duration::from_millis(20));
    }
    thread::sleep(Duration::from_millis(700));
    child.kill().unwrap();
    child.wait().unwrap();
    let mut complaints = String::new();
    child.stderr.unwrap().read_to_string(&mut complaints).unwrap();
    assert_eq!(complaints, "");
    weights::load(&last, &Device::flex()).unwrap();

    let lines = fs::read_to_string(bench.path("killed/metrics.jsonl")).unwrap();
    let last_row: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    let epochs = last_row["epoch"].as_u64().unwrap() + 1;
    let said = bench.succeed(&format!("{killed} --resume --set train.epochs={epochs}"));
    assert!(said.contains(&format!("epoch {epochs}/{epochs} train")), "{said}");
}

#[test]
fn settings_and_data_that_do_not_work_are_named() {
    let bench = Bench::new(2);
    bench.write("tiny.toml", RunConfig::new(tiny()).to_toml());
    bench.write("broken.toml", "model = 3\n");
    let train = "train --data boards --output run --config";
    for (arguments, expected) in [
        (format!("{train} missing.toml"), "missing.toml: No such file"),
        (format!("{train} broken.toml"), "broken.toml: at line 1"),
        (format!("{train} tiny.toml --set train.epochs=0"), "train.epochs must be at least 1"),
        (format!("{train} tiny.toml --set train.epoch=1"), "unknown field `epoch`"),
        (format!("{train} tiny.toml --weights missing.pth"), "missing.pth: No such file"),
        (format!("{train} tiny.toml --resume"), "run/checkpoints/last.safetensors: is not there"),
        (format!("{train} tiny.toml --set model.class_names=[] --set model.num_classes=3"), "class_names"),
        ("train --data nowhere --output run --config tiny.toml".to_string(), "nowhere: No such file"),
        ("train --data boards --output tiny.toml --config tiny.toml".to_string(), "tiny.toml"),
    ] {
        let message = bench.fail(&arguments);
        assert!(message.contains(expected), "{arguments}: {message}");
    }

    // Weights with a tensor too many are refused, unless it is allowed: then the next fault is found.
    let mut tensors = weights::collect(&tiny().init(&Device::flex()));
    let mask = NamedTensor { name: "roi_heads.mask.bias".into(), shape: vec![1], values: vec![0.0] };
    tensors.push(mask);
    weights::write_safetensors(&bench.path("mask.safetensors"), BTreeMap::new(), &tensors).unwrap();
    let train_mask = "train --data boards --output tiny.toml --config tiny.toml --weights mask.safetensors";
    let message = bench.fail(train_mask);
    assert!(message.contains("mask.safetensors: tensor roi_heads.mask.bias: does not belong"), "{message}");
    let message = bench.fail(&format!("{train_mask} --allow roi_heads.mask."));
    assert!(message.starts_with("error: tiny.toml"), "{message}");

    bench.write("boards/group00000/00000_not/00000000.txt", "1 2 3\n");
    let message = bench.fail(&format!("{train} tiny.toml"));
    assert!(message.contains("00000000.txt:1: expected `x1 y1 x2 y2 class`"), "{message}");
}
