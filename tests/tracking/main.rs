//! Registries and runs on a real MLflow server, seen by MLflow's own client, and TensorBoard's event files,
//! read by TensorBoard. Both come from PyPI, into the virtual environment that `tests/run` makes.

mod server;

#[path = "../common/program.rs"]
mod program;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use faster_rcnn::FasterRcnnConfig;
use faster_rcnn::burn::tensor::Device;
use faster_rcnn::train::{RunConfig, TrainConfig};
use faster_rcnn::weights;
use serde_json::{Value, json};

use program::{Bench, text, tiny};
use server::{Server, python};

/// What MLflow's or TensorBoard's client sees.
fn client(arguments: &[&str]) -> Option<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tracking/client.py");
    let output = Command::new(python()?).arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    Some(serde_json::from_str(text(&output.stdout).lines().last().unwrap()).unwrap())
}

/// The settings of a run of so many epochs, of a second each.
fn settings(bench: &Bench, epochs: usize) {
    let mut config = RunConfig::new(tiny());
    config.train = TrainConfig { epochs, warmup_steps: 2, sample_pictures: 1, ..config.train };
    bench.write("tiny.toml", config.to_toml());
}

fn sha256(path: PathBuf) -> String {
    let folder = faster_rcnn::registry::RegistryName::Folder(PathBuf::new());
    faster_rcnn::registry::resolve(path, &folder).unwrap().sha256
}

#[test]
fn mlflow_knows_versions_aliases_and_runs() {
    let Some(server) = Server::start() else { return };
    let (bench, url) = (Bench::new(4), server.url());
    let model = FasterRcnnConfig::tiny(3).with_class_names(&["open", "short"]).init(&Device::flex());
    weights::save(&model, bench.path("small.safetensors")).unwrap();
    let cache = bench.path("cache");
    let run = |arguments: &str| {
        let mut command = bench.command(arguments);
        let output = command.env("XDG_CACHE_HOME", &cache).env("FASTER_RCNN_REGISTRY", url).output().unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let succeed = |arguments: &str| {
        let (code, said, complaints) = run(arguments);
        assert_eq!((code, complaints.as_str()), (Some(0), ""), "{arguments}");
        said
    };
    let fail = |arguments: &str| {
        let (code, _, message) = run(arguments);
        assert_eq!(code, Some(1), "{arguments}: {message}");
        message
    };

    assert_eq!(succeed("models list"), "");
    let register = "models register small.safetensors --name pcb";
    assert_eq!(succeed(&format!("{register} --alias champion --comment first")), "models:/pcb/1\n");
    assert_eq!(succeed(register), "models:/pcb/2\n");
    assert_eq!(succeed(&format!("{register} --alias shadow")), "models:/pcb/3\n");
    assert!(fail("models delete pcb/3").contains("the alias shadow points at this version"));
    succeed("models alias pcb@shadow --remove");
    succeed("models delete pcb/3");
    assert!(fail("models show pcb/3").contains("there is no version 3 of a model pcb"));
    assert!(fail("models alias pcb/3 champion").contains("there is no version 3"));
    assert_eq!(succeed(register), "models:/pcb/4\n", "3 is never used again");
    assert_eq!(succeed("models list"), "pcb     3 versions  champion 1\n");
    assert_eq!(succeed("models list pcb").lines().count(), 3);

    let seen = client(&["model", url, "pcb", "1"]).unwrap();
    assert_eq!(seen["files"]["model.safetensors"], json!(sha256(bench.path("small.safetensors"))));
    assert_eq!(seen["versions"], json!([1, 2, 4]));
    assert_eq!((&seen["aliases"], &seen["description"]), (&json!({"champion": "1"}), &json!("first")));
    assert_eq!((&seen["inputs"], &seen["status"]), (&json!(["image"]), &json!("READY")));
    assert_eq!(seen["outputs"], json!(["boxes", "labels", "scores"]));
    assert_eq!(seen["flavors"], json!(["faster_rcnn"]));

    // The weights give what they gave, verified, from a cache that is checked, too.
    let image = bench.image(0);
    let predict = format!("predict --weights models:/pcb@champion {image}");
    let expected = bench.succeed(&format!("predict --weights small.safetensors {image}"));
    assert_eq!(succeed(&predict), expected);
    let shown: Value = serde_json::from_str(&succeed("models show pcb@champion --json")).unwrap();
    assert_eq!((&shown["version"], &shown["comment"]), (&json!(1), &json!("first")));
    for folder in fs::read_dir(cache.join("faster-rcnn/models")).unwrap() {
        let path = folder.unwrap().path().join("model.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    assert_eq!(succeed(&predict), expected, "damage in the cache is downloaded again");
    // Several processes may fill an empty cache at once.
    fs::remove_dir_all(&cache).unwrap();
    thread::scope(|scope| {
        let at_once = [(); 4].map(|()| scope.spawn(|| succeed(&predict)));
        for process in at_once {
            assert_eq!(process.join().unwrap(), expected);
        }
    });
    succeed("models verify pcb/4");
    succeed("models compare pcb/1 pcb/4");
    assert_eq!(succeed("models download pcb/2 --output copy"), "copy/model.safetensors\n");
    assert_eq!(sha256(bench.path("copy/model.safetensors")), sha256(bench.path("small.safetensors")));

    // Damage on the server is refused.
    let damaged = server.damage(&sha256(bench.path("small.safetensors")));
    assert!(damaged >= 3, "{damaged} files");
    fs::remove_dir_all(&cache).unwrap();
    let message = fail(&predict);
    assert!(message.contains("is damaged: its SHA-256 is "), "{message}");

    a_run_is_followed(&bench, url);
}

/// Settings, numbers by epoch, pictures and the best weights, also of a run that is resumed.
fn a_run_is_followed(bench: &Bench, url: &str) {
    settings(bench, 1);
    let train = format!(
        "train --config tiny.toml --data boards --output told --tensorboard --mlflow {url} \
         --mlflow-experiment boards"
    );
    bench.succeed(&train);
    bench.succeed(&format!("{train} --resume --set train.epochs=2"));
    let seen = client(&["run", url, "boards"]).unwrap();
    assert_eq!(
        (&seen["runs"], &seen["status"], &seen["name"]),
        (&json!(1), &json!("FINISHED"), &json!("told"))
    );
    assert_eq!(seen["params"]["model.backbone"], json!("resnet18"));
    assert_eq!(seen["params"]["train.batch_size"], json!("2"));
    let lines = fs::read_to_string(bench.path("told/metrics.jsonl")).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ends: Vec<f64> = lines
        .iter()
        .filter(|line| line["split"] == "train" && line.get("step").is_none())
        .map(|line| line["loss"].as_f64().unwrap())
        .collect();
    assert_eq!((ends.len(), &seen["metrics"]["train/loss"]), (2, &json!(ends)));
    assert_eq!(seen["metrics"]["valid/ap"].as_array().unwrap().len(), 2);
    for name in ["checkpoints/best.safetensors", "evaluation.json", "config.toml", "confusion_matrix.png"] {
        assert_eq!(seen["files"][name], json!(sha256(bench.path("told").join(name))), "{name}");
    }
    let names: Vec<&String> = seen["files"].as_object().unwrap().keys().collect();
    assert!(names.iter().any(|name| name.starts_with("samples/")), "{names:?}");

    // TensorBoard has each step once, and f32 numbers.
    let seen = client(&["events", bench.path("told").to_str().unwrap()]).unwrap();
    let steps: Vec<&Value> =
        lines.iter().filter(|line| line["split"] == "train" && line.get("step").is_some()).collect();
    let expected: Vec<Value> = steps
        .iter()
        .enumerate()
        .map(|(index, line)| json!([index + 1, f64::from(line["loss"].as_f64().unwrap() as f32)]))
        .collect();
    assert_eq!(seen["scalars"]["train/loss"], json!(expected));
    let ends: Vec<Value> =
        ends.iter().enumerate().map(|(index, loss)| json!([index + 1, f64::from(*loss as f32)])).collect();
    assert_eq!(seen["scalars"]["epoch/train/loss"], json!(ends));
    assert_eq!(seen["images"]["curves"].as_array().unwrap().len(), 2);
}

#[test]
fn a_server_that_is_gone_costs_warnings_and_never_the_run() {
    let bench = Bench::new(4);
    settings(&bench, 1);
    // Nobody listens there.
    let train = "train --config tiny.toml --data boards --mlflow http://127.0.0.1:9 --output";
    let started = Instant::now();
    let output = bench.run(&format!("{train} alone"));
    let warnings = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{warnings}");
    assert!(warnings.lines().all(|line| line.starts_with("warning: http://127.0.0.1:9")), "{warnings}");
    assert!(warnings.contains("did not take") && text(&output.stdout).contains("best weights"), "{warnings}");
    assert!(bench.path("alone/evaluation.json").exists());
    println!("without a server: {:.1} s", started.elapsed().as_secs_f64());

    // It is killed in the middle.
    let Some(server) = Server::start() else { return };
    settings(&bench, 4);
    let train = format!("train --config tiny.toml --data boards --output left --mlflow {}", server.url());
    let mut command = bench.command(&train);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(120);
    while !bench.path("left/mlflow.json").exists() || !bench.path("left/curves.png").exists() {
        assert!(Instant::now() < until, "the run does not begin");
        thread::sleep(Duration::from_millis(20));
    }
    drop(server);
    let output = child.wait_with_output().unwrap();
    let warnings = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{warnings}");
    assert!(warnings.contains("warning: ") && warnings.contains("did not take"), "{warnings}");
    assert!(bench.path("left/evaluation.json").exists());
}

#[test]
fn a_server_that_never_answers_does_not_hold_a_run_for_long() {
    let bench = Bench::new(4);
    settings(&bench, 1);
    // The system takes connections; nobody answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let output = bench.run(&format!("train --config tiny.toml --data boards --output run --mlflow {url}"));
    let ended = Instant::now();
    let warnings = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{warnings}");
    assert!(warnings.contains("warning: ") && warnings.contains(&url), "{warnings}");
    // The weights are written when training is over, and then there is a wait for the server.
    let written = fs::metadata(bench.path("run/evaluation.json")).unwrap().modified().unwrap();
    let waited = written.elapsed().unwrap() - ended.elapsed();
    assert!(waited < Duration::from_secs(90), "{waited:?}");
}

#[test]
fn who_asks_is_said_as_mlflows_own_clients_say_it() {
    let bench = Bench::new(1);
    let names = ["MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"];
    for (values, expected) in [
        (["", "", ""], None),
        (["secret", "", ""], Some("Bearer secret")),
        (["", "ada", "love:lace"], Some("Basic YWRhOmxvdmU6bGFjZQ==")),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut command = bench.command(&format!("models list --registry {url}"));
        let child = command.envs(names.into_iter().zip(values)).stdout(Stdio::piped()).spawn().unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
        let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}").unwrap();
        assert!(head[0].starts_with("GET /api/2.0/mlflow/registered-models/search?"), "{head:?}");
        let said = head.iter().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("authorization").then_some(value)
        });
        assert_eq!(said, expected);
        assert!(child.wait_with_output().unwrap().status.success());
    }
}
