//! Kills, full disks and databases that go: nothing that was answered is lost, and the server recovers.

use std::fs;
use std::io::{Cursor, Read, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use faster_rcnn::image::{ImageFormat, Rgb, RgbImage};
use serde_json::{Value, json};

use crate::postgres::Postgres;
use crate::program::Bench;
use crate::server::{PATIENCE, Server, arguments, files, large_image, try_request, until};

/// An image that no other number has.
fn image(number: usize) -> Vec<u8> {
    let bytes = u32::try_from(number).unwrap().to_le_bytes();
    let pixels = RgbImage::from_fn(48, 40, |x, y| {
        Rgb([bytes[(x % 4) as usize], bytes[(y % 4) as usize], (x * y) as u8])
    });
    let mut png = Vec::new();
    pixels.write_to(&mut Cursor::new(&mut png), ImageFormat::Png).unwrap();
    png
}

#[test]
fn after_kills_every_answer_is_in_the_records_with_its_image() {
    const KILLS: usize = 50;
    let bench = Bench::new(1);
    let mut found = 0;
    let (sent, answered) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    for kill in 0..=KILLS {
        let server = Server::start(&bench, "");
        // What was answered before the kill is there.
        let before = std::mem::take(&mut *answered.lock().unwrap());
        for (id, number) in &before {
            let path = format!("/v1/detections/{id}");
            let one = server.get(&path).ok();
            let stored = server.get(&format!("{path}/image"));
            assert!(stored.status == 200 && stored.body == image(*number), "{one}");
        }
        found += before.len();
        if kill == KILLS {
            break;
        }
        let over = AtomicBool::new(false);
        let address = server.address.clone();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let number = sent.fetch_add(1, Ordering::Relaxed);
                        let headers = ["Content-Type: image/png"];
                        let Ok(answer) =
                            try_request(&address, "POST", "/v1/detect", &headers, &image(number))
                        else {
                            continue;
                        };
                        let id = answer.ok()["images"][0]["id"].as_str().unwrap().to_string();
                        answered.lock().unwrap().push((id, number));
                    }
                });
            }
            // After the first answer, at a moment that is different each time.
            let start = Instant::now();
            while answered.lock().unwrap().is_empty() && start.elapsed() < PATIENCE {
                thread::sleep(Duration::from_millis(5));
            }
            thread::sleep(Duration::from_millis((kill as u64 * 137) % 371));
            server.kill();
            over.store(true, Ordering::Relaxed);
        });
    }
    let total = Server::start(&bench, "").stored();
    println!(
        "{KILLS} kills: {total} inspections are stored, of {} that were sent",
        sent.load(Ordering::Relaxed)
    );
    assert!(found >= KILLS && total >= found, "{found} answers");
}

#[test]
fn a_signal_ends_the_server_after_what_it_accepted() {
    let bench = Bench::new(1);
    let server = Server::start(&bench, "");
    let image = fs::read(bench.path(&bench.image(0))).unwrap();
    // Its head is there, its body comes later.
    let mut open = server.connect();
    let head = format!(
        "POST /v1/detect HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        server.address,
        image.len()
    );
    open.write_all(head.as_bytes()).unwrap();
    let free = || server.metric("faster_rcnn_memory_free_bytes");
    let all = free();
    open.write_all(&image[..100]).unwrap();
    until("the server reads the body", || free() < all);
    server.terminate();
    let start = Instant::now();
    while try_request(&server.address, "GET", "/healthz", &[], b"").is_ok() {
        assert!(start.elapsed() < PATIENCE, "the server still takes connections");
        thread::sleep(Duration::from_millis(20));
    }
    open.write_all(&image[100..]).unwrap();
    let answer = crate::server::read_answer(&mut open).unwrap().ok();
    let id = answer["images"][0]["id"].as_str().unwrap().to_string();
    server.wait();
    let server = Server::start(&bench, "");
    assert_eq!(server.get(&format!("/v1/detections/{id}")).status, 200);
}

/// Limits the size to which the server's files may grow, in bytes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn limit_files(server: &Server, bytes: libc::rlim_t) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    let pid = libc::pid_t::try_from(server.pid()).unwrap();
    // SAFETY: it gets a pointer to a whole `rlimit` that outlives it, and one that is null as is allowed.
    let done = unsafe { libc::prlimit(pid, libc::RLIMIT_FSIZE, &raw const limit, std::ptr::null_mut()) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// A limit on the size of its files takes the place of a full disk: every write to a file fails.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_full_disk_is_a_503_and_the_server_recovers() {
    let bench = Bench::new(1);
    let program = env!("CARGO_BIN_EXE_faster-rcnn");
    // Without its signal, such a write is an error. The log goes through a pipe to be left out.
    let script = format!(
        "trap '' XFSZ; mkfifo log.pipe; cat log.pipe >&2 & exec {program} {} 2>log.pipe",
        arguments("")
    );
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script]).current_dir(bench.folder.path());
    let server = Server::start_as(&bench, &mut command);
    let id = server.detect(&image(0)).ok()["images"][0]["id"].as_str().unwrap().to_string();
    let before = files(&bench.path("data"));

    limit_files(&server, 0);
    for number in 1..20 {
        // The image itself cannot be written, or only what is said of it.
        for number in [number, 0] {
            let sentence = server.detect(&image(number)).sentence(503);
            assert!(sentence.contains("records"), "{sentence}");
        }
    }
    server.get("/v1/verdicts.zip").sentence(503);
    assert_eq!(server.get("/healthz").status, 200);
    // Nothing half-written stays.
    assert_eq!(files(&bench.path("data")), before);

    limit_files(&server, libc::RLIM_INFINITY);
    assert_eq!(server.stored(), 1);
    assert_eq!(server.get(&format!("/v1/detections/{id}/image")).body, image(0));
    for number in [0, 1, 2, 40, 41] {
        assert_eq!(server.detect(&image(number)).status, 200);
    }
    assert_eq!(server.stored(), 6);
    for inspection in server.inspections() {
        let path = format!("/v1/detections/{}/image", inspection["id"].as_str().unwrap());
        assert_eq!(server.get(&path).body.len() as u64, inspection["image"]["bytes"].as_u64().unwrap());
    }
}

#[test]
fn there_is_one_export_at_a_time_and_a_kill_leaves_none() {
    let bench = Bench::new(1);
    let server = Server::start(&bench, "");
    let answer = server.detect(&large_image()).ok();
    let image = &answer["images"][0];
    let said = vec![Value::Null; image["detections"].as_array().unwrap().len()];
    let verdict = json!({"detections": said, "missed": [{"box": [1, 2, 20, 30], "label": 2}]});
    let path = format!("/v1/detections/{}/verdict", image["id"].as_str().unwrap());
    server.post_json(&path, &verdict).ok();

    let exports = || {
        let all = files(&bench.path("data"));
        all.into_iter().filter(|name| name.contains(".exports/")).collect::<Vec<_>>()
    };
    // A client that takes only the beginning.
    let export = |server: &Server| {
        let mut stream = server.connect();
        let request = format!("GET /v1/verdicts.zip HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
        stream.write_all(request.as_bytes()).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
        stream
    };
    let client = export(&server);
    assert_eq!(exports().len(), 1);
    let busy = server.get("/v1/verdicts.zip");
    assert_eq!(busy.header("retry-after"), Some("1"));
    assert!(busy.sentence(503).contains("export"));
    drop(client);
    until("the next export", || server.get("/v1/verdicts.zip").status == 200);
    until("the files are removed", || exports().is_empty());

    let _client = export(&server);
    server.kill();
    assert_eq!(exports().len(), 1);
    let server = Server::start(&bench, "");
    assert_eq!(exports().len(), 0);
    assert_eq!(server.get("/v1/verdicts.zip").status, 200);
}

#[test]
fn a_lost_database_is_a_503_and_the_server_recovers() {
    let bench = Bench::new(1);
    let mut postgres = Postgres::start();
    let server = Server::start(&bench, &format!("--database {}", postgres.url()));
    assert_eq!(server.detect(&image(0)).status, 200);
    assert_eq!(server.get("/readyz").status, 200);
    postgres.kill();
    let start = Instant::now();
    for path in ["/readyz", "/v1/detections", "/v1/statistics", "/v1/fields"] {
        let answer = server.get(path);
        answer.sentence(503);
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    server.detect(&image(1)).sentence(503);
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    assert_eq!(server.get("/healthz").status, 200);
    postgres.restart();
    let start = Instant::now();
    while server.get("/readyz").status != 200 {
        assert!(start.elapsed() < PATIENCE, "{}", server.log());
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(server.detect(&image(2)).status, 200);
    assert_eq!(server.stored(), 2);
}
