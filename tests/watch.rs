//! `faster-rcnn watch`: images drop into a folder while the program is killed again and again.
#![cfg(unix)]

#[path = "common/program.rs"]
mod program;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use faster_rcnn::records::{Filter, Inspection, Records};
use faster_rcnn::weights;
use program::{Bench, text};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

const KILLS: usize = 20;
const BOARDS: usize = 8;
const WATCH: &str = "watch --weights tiny.safetensors --settle 0.2 --database sqlite:boards.db --line 3 drop";

fn start(bench: &Bench, arguments: &str) -> Child {
    bench.command(arguments).stderr(Stdio::piped()).spawn().unwrap()
}

/// Asks it to end, and gives what it said.
fn end(watch: Child) -> String {
    let pid = watch.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let output = watch.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    text(&output.stderr)
}

fn wait_for(what: &str, is_there: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_there() {
        assert!(started.elapsed() < Duration::from_secs(180), "{what}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn is_done(bench: &Bench, image: &str) -> bool {
    let journal = fs::read_to_string(bench.path("drop/.faster-rcnn-watch.jsonl")).unwrap_or_default();
    journal.lines().any(|line| line.contains(&format!("\"image\":\"{image}\"")))
}

fn records(bench: &Bench) -> Vec<Inspection> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let url = format!("sqlite:{}", bench.path("boards.db").display());
        let records = Records::open(&url, bench.path("boards.db.images")).await.unwrap();
        let items = records.list(&Filter::default(), None, 1000).await.unwrap().items;
        for item in &items {
            let image = records.image(&item.image.sha256).await.unwrap().expect("its image is there");
            assert_eq!(image.len() as u64, item.image.bytes);
        }
        items
    })
}

/// Writes as a slow machine does: a part, a pause, the rest.
fn write_slowly(path: &Path, bytes: &[u8]) {
    let mut file = fs::File::create(path).unwrap();
    for half in bytes.chunks(bytes.len().div_ceil(2)) {
        file.write_all(half).unwrap();
        thread::sleep(Duration::from_millis(600));
    }
}

#[test]
fn each_image_is_detected_once_whenever_it_is_killed() {
    let bench = Bench::new(BOARDS);
    fs::create_dir_all(bench.path("drop/night shift")).unwrap();
    let image = |index| fs::read(bench.path(&bench.image(index))).unwrap();
    let name = |index: usize| match index % 2 {
        0 => format!("board \"{index}\" 🦀.jpg"),
        _ => format!("night shift/{index}.jpg"),
    };
    fs::write(bench.path("drop/broken.png"), &image(0)[..100]).unwrap();
    fs::write(bench.path("drop/.hidden.jpg"), image(0)).unwrap();
    fs::write(bench.path("drop/arriving.jpg.part"), image(0)).unwrap();
    fs::write(bench.path("drop/notes.txt"), "no image").unwrap();

    thread::scope(|scope| {
        scope.spawn(|| {
            for index in 0..BOARDS {
                write_slowly(&bench.path("drop").join(name(index)), &image(index));
            }
        });
        let mut random = ChaCha8Rng::seed_from_u64(16);
        for _ in 0..KILLS {
            let mut watch = start(&bench, WATCH);
            thread::sleep(Duration::from_millis(random.random_range(50..2500)));
            watch.kill().unwrap();
            watch.wait().unwrap();
        }
    });
    let mut watch = start(&bench, WATCH);
    // The broken image is given up after three seconds.
    let mut complaints = BufReader::new(watch.stderr.take().unwrap()).lines();
    let warning = complaints.next().unwrap().unwrap();
    assert!(warning.starts_with("warning: drop/broken.png"), "{warning}");
    for index in 0..BOARDS {
        let name = name(index).replace('"', "\\\"");
        wait_for(&name, || is_done(&bench, &name));
    }
    end(watch);
    let more: Vec<String> = complaints.map(Result::unwrap).collect();
    assert!(more.is_empty(), "one warning is enough: {more:?}");

    let count = |records: &[Inspection]| {
        let mut count = BTreeMap::new();
        for record in records {
            *count.entry(record.image.name.clone().unwrap()).or_insert(0) += 1;
            assert_eq!(record.fields.line.as_deref(), Some("3"));
        }
        count
    };
    let once: BTreeMap<String, i32> = (0..BOARDS).map(|index| (name(index), 1)).collect();
    assert_eq!(count(&records(&bench)), once);
    let result = |name: &str| bench.json(&format!("drop/{name}.json"));
    for index in 0..BOARDS {
        let path = bench.path("image.jpg");
        fs::copy(bench.path("drop").join(name(index)), &path).unwrap();
        let predicted = bench.succeed("predict --weights tiny.safetensors image.jpg");
        let mut predicted: Value = serde_json::from_str::<Value>(&predicted).unwrap()[0].take();
        predicted["image"] = format!("drop/{}", name(index)).into();
        assert_eq!(result(&name(index)), predicted);
    }
    assert!(!bench.path("drop/broken.png.json").exists());
    assert!(!bench.path("drop/.hidden.jpg.json").exists());

    // What was done stays done, also when it is written again; what is replaced is detected again.
    fs::write(bench.path("drop").join(name(1)), image(1)).unwrap();
    fs::write(bench.path("drop").join(name(0)), image(1)).unwrap();
    let watch = start(&bench, WATCH);
    wait_for("the replaced image", || records(&bench).len() > BOARDS);
    let second = bench.run(WATCH);
    assert!(text(&second.stderr).contains("another process watches"), "{second:?}");
    thread::sleep(Duration::from_secs(1));
    end(watch);
    let mut twice = once;
    twice.insert(name(0), 2);
    assert_eq!(count(&records(&bench)), twice);
    assert_eq!(result(&name(0))["detections"], result(&name(1))["detections"]);
}

/// After a kill between the record and the result, the record holds what another model found.
#[test]
fn the_result_is_what_the_record_says() {
    let bench = Bench::new(1);
    fs::create_dir(bench.path("drop")).unwrap();
    fs::copy(bench.path(&bench.image(0)), bench.path("drop/a.jpg")).unwrap();
    let watch = start(&bench, WATCH);
    wait_for("the first result", || is_done(&bench, "a.jpg"));
    assert_eq!(end(watch), "");
    let first = bench.json("drop/a.jpg.json");
    fs::remove_file(bench.path("drop/a.jpg.json")).unwrap();
    fs::remove_file(bench.path("drop/.faster-rcnn-watch.jsonl")).unwrap();
    let mut other = program::tiny();
    other.seed = 1;
    weights::save(&other.init(&Device::flex()), bench.path("tiny.safetensors")).unwrap();
    let other = bench.succeed("predict --weights tiny.safetensors drop/a.jpg");
    let other: Value = serde_json::from_str(&other).unwrap();
    assert_ne!(other[0]["detections"], first["detections"]);
    let watch = start(&bench, WATCH);
    wait_for("the second result", || is_done(&bench, "a.jpg"));
    assert_eq!(end(watch), "");
    assert_eq!(bench.json("drop/a.jpg.json"), first);
    assert_eq!(records(&bench).len(), 1);
}

#[test]
fn results_go_to_a_folder_and_need_no_database() {
    let bench = Bench::new(1);
    fs::create_dir_all(bench.path("drop/a")).unwrap();
    fs::copy(bench.path(&bench.image(0)), bench.path("drop/a/b.jpg")).unwrap();
    let watch = start(&bench, "watch --weights tiny.safetensors --settle 0.1 --output found drop");
    wait_for("the result", || bench.path("found/a/b.jpg.json").exists());
    assert_eq!(end(watch), "");
    assert_eq!(bench.json("found/a/b.jpg.json")["image"], "drop/a/b.jpg");
    assert_eq!(fs::read_dir(bench.path("drop/a")).unwrap().count(), 1);
    let nowhere = bench.fail("watch --weights tiny.safetensors nowhere");
    assert!(nowhere.contains("nowhere"), "{nowhere}");
}
