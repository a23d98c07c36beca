//! What the server says of itself as OpenAPI, tried out by schemathesis: thousands of requests, right and
//! wrong ones. No answer may be a 500 or one that is not described.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

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

/// The paths for programs in the router's source.
fn paths() -> BTreeSet<&'static str> {
    let source = include_str!("../../src/serve/router.rs");
    let routes = source.split(".route(\"").skip(1).map(|route| route.split('"').next().unwrap());
    let of_the_page = ["/", "/page/{name}", "/docs", "/docs/{name}", "/openapi.json"];
    routes.filter(|path| !of_the_page.contains(path)).collect()
}

#[test]
fn every_path_is_described() {
    let bench = Bench::new(1);
    let server = Server::start(&bench, "");
    let api = server.get("/openapi.json").ok();
    let described = api["paths"].as_object().unwrap();
    assert_eq!(described.keys().map(String::as_str).collect::<BTreeSet<_>>(), paths());
    assert!(described.len() > 10, "{described:?}");
    for operation in described.values().flat_map(|path| path.as_object().unwrap().values()) {
        assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{operation}");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{operation}");
    }
}
