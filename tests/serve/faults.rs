//! Kills, full disks and databases that go: nothing that was answered is lost, and the server recovers.

use std::fs;
use std::io::{Cursor, Write};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use faster_rcnn::image::{ImageFormat, Rgb, RgbImage};

use crate::program::Bench;
use crate::server::{PATIENCE, Server, arguments, try_request};

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
        assert!(kill == 0 || kill == KILLS || !before.is_empty() || kill % 3 != 0);
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
            // Between 30 and 400 ms, different each time.
            thread::sleep(Duration::from_millis(30 + (kill as u64 * 137) % 371));
            server.kill();
            over.store(true, Ordering::Relaxed);
        });
    }
    let total = Server::start(&bench, "").stored();
    println!(
        "{KILLS} kills: {total} inspections are stored, of {} that were sent",
        sent.load(Ordering::Relaxed)
    );
    assert!(total > KILLS);
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
    open.write_all(&image[..100]).unwrap();
    thread::sleep(Duration::from_millis(300));
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

/// The records are on a small file system of memory, in a namespace of the server's own.
#[test]
fn a_full_disk_is_a_503_and_the_server_recovers() {
    let bench = Bench::new(1);
    fs::create_dir(bench.path("data")).unwrap();
    let program = env!("CARGO_BIN_EXE_faster-rcnn");
    let mounted = "mount -t tmpfs -o size=6m none data";
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-c", script]).current_dir(bench.folder.path());
        command
    };
    if !unshare(mounted).output().is_ok_and(|output| output.status.success()) {
        println!("skipped: mounting in a namespace is not permitted here");
        return;
    }
    let script = format!("{mounted} && exec {program} {}", arguments(""));
    let server = Server::start_as(&bench, &mut unshare(&script));
    // The folder as the server sees it.
    let folder = format!("/proc/{}/cwd/data", server.pid());
    assert_eq!(server.detect(&image(0)).status, 200);

    let filler = format!("{folder}/filler");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    // What is written already has some room left in it.
    let mut refused = 0;
    for number in 1..40 {
        let answer = server.detect(&image(number));
        if answer.status != 200 {
            let sentence = answer.sentence(503);
            assert!(sentence.contains("records"), "{sentence}");
            refused += 1;
        }
    }
    assert!(refused > 10, "{refused}");
    let stored = server.stored();
    assert_eq!(stored, 40 - refused);
    assert_eq!(server.get("/healthz").status, 200);

    fs::remove_file(&filler).unwrap();
    for number in 40..45 {
        assert_eq!(server.detect(&image(number)).status, 200);
    }
    assert_eq!(server.stored(), stored + 5);
    for inspection in server.inspections() {
        let path = format!("/v1/detections/{}/image", inspection["id"].as_str().unwrap());
        assert_eq!(server.get(&path).body.len() as u64, inspection["image"]["bytes"].as_u64().unwrap());
    }
}
