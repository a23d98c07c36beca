//! Registered models: what is served, and how a new version is taken up.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use faster_rcnn::registry::{FolderRegistry, NewVersion, Registry};
use faster_rcnn::weights;
use serde_json::json;

use crate::program::{Bench, tiny};
use crate::server::{PATIENCE, Server, arguments, refused};

#[test]
fn a_new_version_of_an_alias_is_taken_up_without_a_gap() {
    let bench = Bench::new(1);
    let mut other = tiny();
    other.seed = 1;
    weights::save(&other.init(&Device::flex()), bench.path("second.safetensors")).unwrap();
    let registry = FolderRegistry::new(bench.path("models"));
    let register = |file: &str| registry.register("pcb", &NewVersion::of(bench.path(file)).unwrap()).unwrap();
    assert_eq!((register("tiny.safetensors"), register("second.safetensors")), (1, 2));
    registry.set_alias("pcb", "champion", 1).unwrap();
    let command = arguments("--watch").replace("tiny.safetensors", "models:/pcb@champion");
    let server = Server::start_as(&bench, &mut bench.command(&command));
    let model = server.get("/v1/model").ok();
    assert_eq!([&model["name"], &model["alias"]], ["pcb", "champion"]);
    assert_eq!(model["version"], 1);

    let image = fs::read(bench.path(&bench.image(0))).unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut versions = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        let answer = server.detect(&image).ok();
                        versions.push((
                            answer["model"]["version"].as_u64().unwrap(),
                            answer["images"][0]["detections"].clone(),
                        ));
                    }
                    versions
                })
            })
            .collect();
        registry.set_alias("pcb", "champion", 2).unwrap();
        let start = Instant::now();
        while server.get("/v1/model").ok()["version"] != 2 {
            assert!(start.elapsed() < PATIENCE, "version 2 is not taken up");
            thread::sleep(Duration::from_millis(50));
        }
        let second = server.detect(&image).ok()["images"][0]["detections"].clone();
        over.store(true, Ordering::Relaxed);
        for client in clients {
            let versions = client.join().unwrap();
            assert!(versions.iter().any(|(version, _)| *version == 1));
            for (version, detections) in versions {
                assert_eq!(detections == second, version == 2, "version {version}");
            }
        }
    });
    // A version that is damaged is not served; the one before goes on.
    let third = register("tiny.safetensors");
    let file = bench.path(&format!("models/pcb/{third}/model.safetensors"));
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&file, &bytes).unwrap();
    registry.set_alias("pcb", "champion", third).unwrap();
    let start = Instant::now();
    while !server.log().contains("cannot be served") {
        assert!(start.elapsed() < PATIENCE, "{}", server.log());
        thread::sleep(Duration::from_millis(50));
    }
    let answer = server.detect(&image).ok();
    assert_eq!(answer["model"]["version"], json!(2));
    // The fault passes, as one of a network does.
    bytes[last] ^= 1;
    fs::write(&file, bytes).unwrap();
    let start = Instant::now();
    while server.get("/v1/model").ok()["version"] != third {
        assert!(start.elapsed() < PATIENCE, "version {third} is not taken up");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(server.log().matches("cannot be served").count(), 1, "{}", server.log());
}

#[test]
fn what_cannot_be_served_is_refused_at_the_start() {
    let bench = Bench::new(1);
    let start = |weights: &str, more: &str| {
        refused(&bench.run(&arguments(more).replace("tiny.safetensors", weights)))
    };
    assert!(start("models:/pcb@champion", "").contains("pcb"));
    assert!(start("nowhere.safetensors", "").contains("nowhere.safetensors"));
    let message = start("tiny.safetensors", "--watch");
    assert!(message.contains("only an alias can be watched"), "{message}");
    bench.write("no.safetensors", "no weights");
    assert!(start("no.safetensors", "").contains("no.safetensors"));
}
