//! Many clients, and slow ones.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use faster_rcnn::data::deep_pcb::CLASS_NAMES;
use faster_rcnn::{FasterRcnnConfig, ResNetDepth, weights};
use serde_json::Value;

use crate::program::Bench;
use crate::server::{Alone, PATIENCE, Server, arguments, large_image, until};

/// What the records, the connections and the allocator may take beside what requests hold.
const BESIDE: u64 = 192 << 20;

/// Of the boards a second that `predict` has, what four clients of a server must get.
const LEAST_RATIO: f64 = 0.95;

#[test]
fn four_clients_get_as_many_boards_as_predict() {
    const BOARDS: usize = 24;
    const ROUNDS: usize = 5;
    let bench = Bench::new(BOARDS);
    // Some hundred milliseconds a board, as for a real one: what a request takes by itself does not grow with the
    // board. The scores of random weights are low, so that nothing is found.
    let mut config = FasterRcnnConfig::new(ResNetDepth::ResNet18, 7)
        .with_class_names(&CLASS_NAMES)
        .with_image_size(512, 512);
    config.roi_heads.representation_size = 256;
    config.rpn.post_nms_top_n_test = 100;
    weights::save(&config.init(&Device::flex()), bench.path("larger.safetensors")).unwrap();
    let paths: Vec<String> = (0..BOARDS).map(|index| bench.image(index)).collect();
    let images: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(bench.path(path)).unwrap()).collect();

    let alone = Alone::wait();
    let options = "--weights larger.safetensors --score-threshold 0.5";
    let command = arguments("").replace("--weights tiny.safetensors", options);
    let server = Server::start_alone(&bench, &mut bench.command(&command), &alone);
    let detect = |image: &[u8]| server.detect(image).ok()["images"][0]["detections"].clone();
    let predict = |paths: &[String]| {
        let start = Instant::now();
        let found = bench.succeed(&format!("predict {options} {}", paths.join(" ")));
        (start.elapsed().as_secs_f64(), serde_json::from_str::<Value>(&found).unwrap())
    };
    detect(&images[0]);
    // The start of the program is in both times.
    let predicted_rate = || {
        let (one, _) = predict(&paths[..1]);
        let (all, predicted) = predict(&paths);
        ((BOARDS - 1) as f64 / (all - one), predicted)
    };
    let served_rate = || {
        let (next, found) = (AtomicUsize::new(0), Mutex::new(vec![Value::Null; BOARDS]));
        let start = Instant::now();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(image) = images.get(index) else { break };
                        let detections = detect(image);
                        found.lock().unwrap()[index] = detections;
                    }
                });
            }
        });
        (BOARDS as f64 / start.elapsed().as_secs_f64(), found.into_inner().unwrap())
    };
    // Each round of the server stands between two of `predict`: a machine that gets slower does so for both.
    let (mut before, predicted) = predicted_rate();
    let mut ratios: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let (served, found) = served_rate();
            for (index, found) in found.iter().enumerate() {
                assert_eq!(found, &predicted[index]["detections"], "{}", paths[index]);
            }
            let (after, _) = predicted_rate();
            let ratio = 2.0 * served / (before + after);
            println!(
                "predict: {before:.2} and {after:.2} boards/s; 4 clients of the server between them: {served:.2} \
                 boards/s; ratio {ratio:.3}"
            );
            before = after;
            ratio
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.3}", ratios[ROUNDS / 2]);
    assert!(ratios[ROUNDS / 2] >= LEAST_RATIO, "{ratios:?}");
}

#[test]
fn of_200_clients_at_once_each_gets_the_right_answer_or_a_503() {
    let bench = Bench::new(4);
    let server = Server::start(&bench, "--queue 8 --max-memory 64");
    let images: Vec<Vec<u8>> =
        (0..4).map(|index| fs::read(bench.path(&bench.image(index))).unwrap()).collect();
    let expected: Vec<Value> =
        images.iter().map(|image| server.detect(image).ok()["images"][0]["detections"].clone()).collect();
    let [before, _] = server.memory();
    let barrier = Barrier::new(200);
    let start = Instant::now();
    let statuses: Vec<u16> = thread::scope(|scope| {
        let client = |client: usize| {
            let (server, barrier, image, expected) =
                (&server, &barrier, &images[client % 4], &expected[client % 4]);
            scope.spawn(move || {
                barrier.wait();
                let answer = server.detect(image);
                match answer.status {
                    200 => assert_eq!(&answer.json()["images"][0]["detections"], expected),
                    _ => {
                        answer.sentence(503);
                        assert_eq!(answer.header("retry-after"), Some("1"));
                    }
                }
                answer.status
            })
        };
        let clients: Vec<_> = (0..200).map(client).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let mut counts = BTreeMap::<u16, usize>::new();
    statuses.iter().for_each(|status| *counts.entry(*status).or_default() += 1);
    let [_, most] = server.memory();
    println!(
        "200 clients in {:?}: {counts:?}, {} MiB more",
        start.elapsed(),
        most.saturating_sub(before) >> 20
    );
    assert!(counts[&200] >= 8 && counts[&200] + counts.get(&503).unwrap_or(&0) == 200, "{counts:?}");
    assert!(most - before < (64 << 20) + BESIDE, "{} MiB", (most - before) >> 20);
    // Each answer is in the records, and the places are free again.
    assert_eq!(server.stored(), 4 + counts[&200]);
    assert_eq!(server.detect(&images[0]).status, 200);
}

#[test]
fn a_thousand_slow_clients_do_not_stop_a_normal_one() {
    allow_open_files(4096);
    let bench = Bench::new(1);
    let server = Server::start(&bench, "--head-time 8 --body-time 30 --queue 4");
    let image = fs::read(bench.path(&bench.image(0))).unwrap();
    let alone = Instant::now();
    assert_eq!(server.detect(&image).status, 200);
    let alone = alone.elapsed();

    let opened = Instant::now();
    // Half of them are slow in the head of the request, half in its body; each sends a byte a second.
    let head =
        format!("POST /v1/detect HTTP/1.1\r\nHost: {}\r\nContent-Length: 1000000\r\n\r\n", server.address);
    let mut slow: Vec<TcpStream> = (0..1000)
        .map(|client| {
            let mut stream = server.connect();
            if client % 2 == 0 {
                stream.write_all(head.as_bytes()).unwrap();
            }
            stream
        })
        .collect();
    let mut slowest = Duration::ZERO;
    // What is sent after the answer resets the connection, so nothing is sent near the end of the time.
    for second in (0..5).take_while(|_| opened.elapsed() < Duration::from_secs(15)) {
        let start = Instant::now();
        for (client, stream) in slow.iter_mut().enumerate() {
            let byte = if client % 2 == 0 { b'x' } else { head.as_bytes()[second] };
            // The time for a head may be over already.
            let _ = stream.write_all(&[byte]);
        }
        for _ in 0..2 {
            let asked = Instant::now();
            assert_eq!(server.detect(&image).status, 200);
            slowest = slowest.max(asked.elapsed());
        }
        thread::sleep(Duration::from_secs(1).saturating_sub(start.elapsed()));
    }
    println!("a normal client waits {alone:?} alone, {slowest:?} at most beside 1,000 slow ones");
    assert!(slowest < PATIENCE, "{slowest:?}");
    // The slow ones are told so, or cut off.
    let mut told = 0;
    for (client, stream) in slow.iter_mut().enumerate() {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        if client % 2 == 0 && answer.starts_with(b"HTTP/1.1 408 ") {
            told += 1;
        }
    }
    assert_eq!(told, 500);
    assert_eq!(server.detect(&image).status, 200);
}

#[test]
fn slow_readers_do_not_keep_the_memory() {
    let bench = Bench::new(1);
    let server = Server::start(&bench, "--max-memory 96");
    let large = large_image();
    let id = server.detect(&large).ok()["images"][0]["id"].as_str().unwrap().to_string();
    let path = format!("/v1/detections/{id}/image");
    let free = || server.metric("faster_rcnn_memory_free_bytes") as usize;
    let all = free();
    // They take 10 KiB a second each, all the time.
    let mut slow: Vec<TcpStream> = (0..16).map(|_| server.connect()).collect();
    for stream in &mut slow {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
        stream.write_all(request.as_bytes()).unwrap();
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for stream in &mut slow {
                    // Those that are refused or cut off give nothing.
                    let _ = stream.set_read_timeout(Some(Duration::from_millis(1)));
                    let _ = stream.read(&mut [0; 1024]);
                }
                thread::sleep(Duration::from_millis(100));
            }
        });
        let start = Instant::now();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until("the slow readers take the memory", || free() < large.len());
            server.get(&path).sentence(503);
            // A small image still has its place.
            let image = fs::read(bench.path(&bench.image(0))).unwrap();
            assert_eq!(server.detect(&image).status, 200);
            until("the memory is free again", || free() == all);
            assert!(server.get(&path).body == large);
        }));
        over.store(true, Ordering::Relaxed);
        println!("the memory is free again after {:?}", start.elapsed());
        result.unwrap();
    });
}

/// The sockets of a thousand clients are files of this process.
fn allow_open_files(count: u64) {
    #[cfg(target_os = "linux")]
    {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: both calls get a pointer to a whole `rlimit` that outlives them.
        let done = unsafe {
            libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
            limit.rlim_cur = limit.rlim_max.min(count);
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit)
        };
        assert_eq!(done, 0);
    }
}
