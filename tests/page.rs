//! The page in a browser: Playwright drives Chromium against the program `faster-rcnn serve`.

#[path = "common/program.rs"]
mod program;

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use burn::tensor::Device;
use faster_rcnn::{ReferenceInput, weights};

use program::{Bench, text, tiny};

const TOKEN: &str = "a-token-of-this-test-0123456789";

/// A server that ends with the test.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start(bench: &Bench) -> Self {
        let serve =
            "serve --weights pairs.safetensors --listen 127.0.0.1:0 --token-file tokens --data records";
        let mut process = bench.command(serve).stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self { process, url: url.trim().to_string() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The browser: `CHROMIUM`, or Debian's.
fn chromium() -> String {
    env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_string())
}

#[test]
fn the_page_does_in_a_browser_what_an_operator_needs() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page");
    let installed = Path::new(&chromium()).exists() && script.join("node_modules").exists();
    assert!(installed, "tests/run installs Chromium and Playwright");

    let bench = Bench::new(2);
    let config = tiny().with_reference(ReferenceInput::Difference);
    weights::save(&config.init(&Device::flex()), bench.path("pairs.safetensors")).unwrap();
    bench.write("tokens", TOKEN);
    fs::create_dir(bench.path("given")).unwrap();
    for index in 0..2 {
        for kind in ["test", "temp"] {
            let board = bench.path(&bench.image(index).replace("_test", &format!("_{kind}")));
            fs::copy(board, bench.path(&format!("given/{index}_{kind}.jpg"))).unwrap();
        }
    }

    let server = Server::start(&bench);
    let run = Command::new("node")
        .arg(script.join("main.mjs"))
        .env("URL_OF_PAGE", &server.url)
        .env("TOKEN", TOKEN)
        .env("BOARDS", bench.path("given"))
        .env("CHROMIUM", chromium())
        .env("OUT", env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap();
    let said = format!("{}{}", text(&run.stdout), text(&run.stderr));
    assert!(run.status.success(), "{said}");
    println!("{said}");
}
