//! `faster-rcnn records`.

use std::fs;
use std::future::Future;

use faster_rcnn::data;
use faster_rcnn::records::{Filter, Judgement, Records, Verdict};
use serde_json::{Value, json};
use tokio::runtime::Builder;

use crate::bench::{found, new, png};
use crate::program::Bench;

/// Does something with the records in `boards.db`.
fn with_records<T, F: Future<Output = T>>(bench: &Bench, work: impl FnOnce(Records) -> F) -> T {
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let url = format!("sqlite:{}", bench.path("boards.db").display());
        work(Records::open(&url, bench.path("boards.db.images")).await.unwrap()).await
    })
}

/// A database with two boards, of which the first has a verdict.
fn two_boards() -> Bench {
    let bench = Bench::new(1);
    with_records(&bench, async |records| {
        let first = records.add(new(1, "1", vec![found(1, 0.97), found(2, 0.5)])).await.unwrap();
        records.add(new(2, "2", vec![])).await.unwrap();
        let detections = vec![Some(Judgement::Real), Some(Judgement::FalseCall)];
        records.set_verdict(first.id, &Verdict { detections, ..Verdict::default() }).await.unwrap();
    });
    bench
}

fn boards_left(bench: &Bench) -> usize {
    with_records(bench, async |records| {
        records.list(&Filter::default(), None, 1000).await.unwrap().items.len()
    })
}

#[test]
fn records_export_writes_what_is_chosen() {
    let bench = two_boards();
    let export =
        |arguments: &str| bench.succeed(&format!("records export --database sqlite:boards.db {arguments}"));
    assert_eq!(export("--to csv boards.csv"), "boards.csv: 2 inspections\n");
    assert_eq!(fs::read_to_string(bench.path("boards.csv")).unwrap().lines().count(), 4);
    assert_eq!(export("--to csv --line 2 boards.csv"), "boards.csv: 1 inspections\n");
    assert_eq!(fs::read_to_string(bench.path("boards.csv")).unwrap().lines().count(), 2);
    for (filter, count) in [
        ("--verdict given", 1),
        ("--verdict pending", 1),
        ("--class short", 1),
        ("--model pcb/3", 2),
        ("--product none", 0),
        ("--from 2001-01-01", 2),
        ("--before 2001-01-01", 0),
    ] {
        let said = export(&format!("--to parquet {filter} boards.parquet"));
        assert_eq!(said, format!("boards.parquet: {count} inspections\n"), "{filter}");
    }
    assert_eq!(export("--to coco verdicts"), "verdicts: 1 inspections\n");
    let data = data::open(bench.path("verdicts")).unwrap();
    assert_eq!((data.records.len(), data.records[0].annotations.len()), (1, 1));
    assert_eq!(export("--to coco-zip verdicts.zip"), "verdicts.zip: 1 inspections\n");

    let by_environment = bench
        .command("records export --to csv again.csv")
        .env("FASTER_RCNN_DATABASE", "sqlite:boards.db")
        .output()
        .unwrap();
    assert!(by_environment.status.success(), "{by_environment:?}");
    let fail = |arguments: &str| bench.fail(&format!("records export {arguments}"));
    let occupied = fail("--database sqlite:boards.db --to coco verdicts");
    assert!(occupied.contains("the folder is not empty"), "{occupied}");
    let time = fail("--database sqlite:boards.db --to csv --from yesterday x.csv");
    assert!(time.contains("`yesterday` is no time"), "{time}");
    let wrong = fail("--database boards.db --images images --to csv x.csv");
    assert!(wrong.contains("a database is sqlite:FILE"), "{wrong}");
    assert!(!bench.path("x.csv").exists());
}

#[test]
fn records_keep_says_what_went() {
    let bench = two_boards();
    let keep = |limit: &str| -> Value {
        let said = bench.succeed(&format!("records keep --database sqlite:boards.db {limit}"));
        serde_json::from_str(&said).unwrap()
    };
    assert_eq!(keep("30d,1GB"), json!({"inspections": 0, "images": 0, "bytes": 0}));
    assert_eq!(boards_left(&bench), 2);
    let bytes = png(1).len() + png(2).len();
    assert_eq!(keep("0h"), json!({"inspections": 2, "images": 2, "bytes": bytes}));
    assert_eq!(boards_left(&bench), 0);
    let wrong = bench.run("records keep --database sqlite:boards.db 30");
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
}

#[cfg(feature = "serve")]
#[test]
fn serve_keeps_within_its_limit() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    let bench = two_boards();
    let serve = "serve --weights tiny.safetensors --listen 127.0.0.1:0 --database sqlite:boards.db --keep 0h";
    let mut server = bench.command(serve).stdout(Stdio::piped()).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut url).unwrap();
    let started = Instant::now();
    while boards_left(&bench) > 0 && started.elapsed() < Duration::from_secs(60) {
        sleep(Duration::from_millis(50));
    }
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(url.starts_with("http://"), "{url}");
    assert_eq!(boards_left(&bench), 0);
}
