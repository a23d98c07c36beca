//! What the server says of itself as OpenAPI, tried out by schemathesis: thousands of requests, right and wrong
//! ones. No answer may be a 500 or one that is not described.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use serde_json::Value;

use crate::program::{Bench, text};
use crate::server::Server;

/// Where `tests/run` installs `tests/reference/serve-requirements.txt`.
fn schemathesis() -> Option<PathBuf> {
    let home = env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home)?;
    let program = cache.join("faster-rcnn/serve-tests/bin/schemathesis");
    if !program.is_file() {
        println!("skipped: {} is not there; tests/run installs it", program.display());
    }
    program.is_file().then_some(program)
}

#[test]
fn every_answer_is_one_that_is_described() {
    let Some(schemathesis) = schemathesis() else { return };
    let bench = Bench::new(1);
    let token = "a-token-of-the-test-0123";
    bench.write("tokens", token);
    let server = Server::start(&bench, "--token-file tokens --body-time 5");
    let bearer = format!("Authorization: Bearer {token}");
    // Some ids lead to something.
    let image = fs::read(bench.path(&bench.image(0))).unwrap();
    assert_eq!(server.request("POST", "/v1/detect", &[&bearer], &image).status, 200);
    let settings = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/serve/schemathesis.toml");
    let output = Command::new(schemathesis)
        .current_dir(bench.folder.path())
        .args(["--config-file".as_ref(), settings.as_os_str()])
        .arg("run")
        .arg(format!("http://{}/openapi.json", server.address))
        .args(["--header", &bearer, "--max-examples", "40", "--seed", "1", "--suppress-health-check", "all"])
        .env("PYTHONUTF8", "1")
        .output()
        .unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    println!(
        "{}",
        said.lines().rev().take(30).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
    );
    let metrics = server.request("GET", "/metrics", &[&bearer], b"");
    let metrics = text(&metrics.body);
    assert!(!metrics.contains("status=\"500\""), "{metrics}");
}

#[test]
fn every_path_is_described() {
    let bench = Bench::new(1);
    let server = Server::start(&bench, "");
    let api = server.get("/openapi.json").ok();
    let paths: Vec<&str> = api["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    for path in [
        "/v1/detect",
        "/v1/model",
        "/v1/detections",
        "/v1/detections/{id}",
        "/v1/detections/{id}/image",
        "/v1/detections/{id}/reference",
        "/v1/detections/{id}/drawn",
        "/v1/detections/{id}/thumbnail",
        "/v1/detections/{id}/verdict",
        "/v1/statistics",
        "/v1/fields",
        "/v1/verdicts.zip",
        "/v1/session",
        "/healthz",
        "/readyz",
        "/metrics",
    ] {
        assert!(paths.contains(&path), "{path}");
    }
    let every =
        api["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
    for operation in every {
        assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{operation}");
        let _: &Value = &operation["responses"];
    }
}
