//! Many clients, and slow ones.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::Bench;
use crate::server::Server;

/// What the records, the connections and the allocator may take beside what requests hold.
const BESIDE: u64 = 192 << 20;

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
    let server = Server::start(&bench, "--head-time 6 --body-time 6 --queue 4");
    let image = fs::read(bench.path(&bench.image(0))).unwrap();
    let alone = Instant::now();
    assert_eq!(server.detect(&image).status, 200);
    let alone = alone.elapsed();

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
    for second in 0..5 {
        let start = Instant::now();
        for (client, stream) in slow.iter_mut().enumerate() {
            let byte = if client % 2 == 0 { b'x' } else { head.as_bytes()[second] };
            stream.write_all(&[byte]).unwrap();
        }
        for _ in 0..2 {
            let asked = Instant::now();
            assert_eq!(server.detect(&image).status, 200);
            slowest = slowest.max(asked.elapsed());
        }
        thread::sleep(Duration::from_secs(1).saturating_sub(start.elapsed()));
    }
    println!("a normal client waits {alone:?} alone, {slowest:?} at most beside 1,000 slow ones");
    assert!(slowest < Duration::from_secs(2) + 10 * alone, "{slowest:?}");
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
