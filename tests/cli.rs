//! The command line from end to end: help, data sets and training.

#[path = "common/program.rs"]
mod program;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use faster_rcnn::data;
use faster_rcnn::train::{RunConfig, TrainConfig};
use faster_rcnn::weights::{self, NamedTensor, Precision};
use serde_json::Value;

use program::{Bench, text, tiny};

#[test]
fn help_teaches_and_wrong_usage_is_2() {
    let bench = Bench::new(2);
    for command in
        ["", "train", "evaluate", "predict", "synth", "check", "split", "stats", "weights", "completions"]
    {
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
        "split --data boards",
        "stats",
        "evaluate --weights tiny.safetensors --data boards --split s --list l",
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
        "predict --weights tiny.safetensors --image-size 200,100 a.jpg",
        "predict --weights tiny.safetensors --image-size large a.jpg",
        "predict --weights tiny.safetensors --image-size 128 --min-size 128 a.jpg",
        "predict --weights tiny.safetensors --nms-threshold 2 a.jpg",
        "predict --weights tiny.safetensors --detections-per-image many a.jpg",
        "predict --weights tiny.safetensors --set frozen_epsilon=0 a.jpg",
        "predict --weights tiny.safetensors --device quantum a.jpg",
        "evaluate --data boards",
        "evaluate --weights tiny.safetensors --detections p.json --data boards",
        "evaluate --weights tiny.safetensors --data boards --device quantum",
        "evaluate --detections p.json --data boards --nms-threshold 0.5",
        "evaluate --detections p.json --data boards --exclusive-iou 0.5",
        "evaluate --detections p.json --data boards --set model.frozen_epsilon=0",
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
    for file in ["trainval.txt", "group00000/00000/00000020_test.jpg", "group00000/00000_not/00000010.txt"] {
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
    let labels = |index: usize| format!("boards/group00000/00000_not/{index:07}0.txt");
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
        format!("cannot access {}: No such file", labels(2)),
    ];
    assert_eq!(faults.len(), places.len(), "{stdout}");
    for (fault, place) in faults.iter().zip(places) {
        assert!(fault.starts_with(&place), "{fault}");
    }
    assert!(bench.fail("check --data nowhere").contains("nowhere: No such file"));
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
    weights::save(&start.init(&Device::flex()), bench.path("start.safetensors")).unwrap();
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
    // The default of the settings, but given by name.
    let message = bench.fail(&format!("{train} --resume --set model.frozen_epsilon=0.00001"));
    assert!(message.contains("run: the run began with other settings: model.frozen_epsilon"), "{message}");
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

/// The images that a run holds out depend on its seed, which its weights know.
#[test]
fn evaluate_takes_the_images_that_the_run_held_out() {
    let bench = Bench::new(6);
    bench.write("tiny.toml", RunConfig::new(tiny()).to_toml());
    // Without lists, the seed decides.
    for list in ["boards/trainval.txt", "boards/test.txt"] {
        fs::remove_file(bench.path(list)).unwrap();
    }
    let held_out = |seed: u64| data::open(bench.path("boards")).unwrap().sides(seed).validation.records;
    let seed = (1..100).find(|seed| held_out(*seed) != held_out(0)).unwrap();
    let set = format!("--set train.seed={seed} --set train.epochs=1 --set train.warmup_steps=2");
    let said = bench.succeed(&format!("train --config tiny.toml --data boards --output run {set}"));
    let evaluate = "evaluate --weights run/checkpoints/best.safetensors --data boards";
    assert!(said.contains(&bench.succeed(evaluate)));
    let output = bench.run(&format!("{evaluate} --seed 0"));
    assert_eq!(text(&output.stderr), "warning: the weights were trained on 1 of these 1 images\n");
    assert!(output.status.success());
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
        (format!("{train} tiny.toml --set train.epochs=0"), "train.epochs must be in 1..=65536"),
        (format!("{train} tiny.toml --set train.epoch=1"), "unknown field `epoch`"),
        (format!("{train} tiny.toml --weights missing.pth"), "missing.pth: No such file"),
        (format!("{train} tiny.toml --resume"), "run/checkpoints/last.safetensors: is not there"),
        (format!("{train} tiny.toml --set model.class_names=[] --set model.num_classes=3"), "6 classes"),
        ("train --data nowhere --output run --config tiny.toml".to_string(), "nowhere: No such file"),
        ("train --data boards --output tiny.toml --config tiny.toml".to_string(), "tiny.toml"),
    ] {
        let message = bench.fail(&arguments);
        assert!(message.contains(expected), "{arguments}: {message}");
    }

    // Weights with a tensor too many are refused, unless it is allowed.
    let mut tensors = weights::collect(&tiny().init(&Device::flex()));
    let mask = NamedTensor { name: "roi_heads.mask.bias".into(), shape: vec![1], values: vec![0.0] };
    tensors.push(mask);
    weights::write_safetensors(bench.path("mask.safetensors"), BTreeMap::new(), &tensors, Precision::F32)
        .unwrap();
    let train_mask = format!("{train} tiny.toml --weights mask.safetensors --set train.epochs=1");
    let message = bench.fail(&train_mask);
    assert!(message.contains("mask.safetensors: tensor roi_heads.mask.bias: does not belong"), "{message}");
    assert!(!bench.path("run").exists());
    let set = "--set model.frozen_epsilon=0.5";
    let said = bench.succeed(&format!("{train_mask} --allow roi_heads.mask. {set}"));
    assert!(said.contains("unused: 1 (roi_heads.mask.bias)"), "{said}");
    // What is set holds, whatever the weights were trained with, and a resumed run cannot have another one.
    let written = fs::read_to_string(bench.path("run/config.toml")).unwrap();
    assert!(written.contains("frozen_epsilon = 0.5\n"), "{written}");
    let message = bench.fail(&format!("{train} tiny.toml --resume --set model.frozen_epsilon=0.25"));
    assert!(message.contains("other settings: model.frozen_epsilon"), "{message}");

    // Weights of six classes for a data set of seven, whose classes the settings leave to the data.
    bench.write("boards/classes.txt", "a\nb\nc\nd\ne\nf\ng\n");
    weights::save(&tiny().init(&Device::flex()), bench.path("six.safetensors")).unwrap();
    let unsaid = "--set model.num_classes=0 --set model.class_names=[] --set train.epochs=1";
    let seven = "train --data boards --output seven --config tiny.toml --weights six.safetensors";
    let said = bench.succeed(&format!("{seven} {unsaid}"));
    assert!(said.contains("cls_score.weight is [8, 32], in the file [7, 32]"), "{said}");
    fs::remove_file(bench.path("boards/classes.txt")).unwrap();

    bench.write("boards/group00000/00000_not/00000000.txt", "1 2 3\n");
    let message = bench.fail("train --data boards --output other --config tiny.toml");
    assert!(message.contains("00000000.txt:1: expected `x1 y1 x2 y2 class`"), "{message}");
}
