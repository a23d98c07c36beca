//! Workers that a trainer starts on its own machine.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::bench::{Bench, ONE_BY_ONE, end};

/// The processes whose parent is this one, by their command lines.
pub fn children(parent: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(status) = fs::read_to_string(entry.path().join("status")) else { continue };
        if status
            .lines()
            .any(|line| line.strip_prefix("PPid:").is_some_and(|id| id.trim() == parent.to_string()))
        {
            found.push(id);
        }
    }
    found
}

fn assert_gone(processes: &[u32]) {
    let runs = |id: &u32| {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        !status.is_empty() && !status.contains("State:\tZ")
    };
    let start = Instant::now();
    while processes.iter().any(runs) {
        assert!(start.elapsed() < Duration::from_secs(5), "processes are left: {processes:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn workers_of_this_machine_end_with_the_trainer_however_it_ends() {
    let _guard = ONE_BY_ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let bench = Bench::new();
    // (SIGINT does the same as SIGTERM, but a shell has the processes that it starts in the background ignore
    // it.)
    for (output, how) in [("finished", None), ("killed", Some("-KILL")), ("terminated", Some("-TERM"))] {
        // One that is to be stopped has no end of its own.
        let more = ["--set", "train.epochs=1000"];
        let trainer = bench.train(output, "local:2", if how.is_some() { &more } else { &[] });
        bench.await_second_epoch(output);
        let workers = children(trainer.id());
        assert_eq!(workers.len(), 2);
        if let Some(signal) = how {
            Command::new("kill").args([signal, &trainer.id().to_string()]).status().unwrap();
        }
        let ended = end(trainer, Instant::now());
        assert_eq!(ended.status.success(), how.is_none(), "{}", String::from_utf8_lossy(&ended.stderr));
        assert_gone(&workers);
    }
    // A worker of the trainer's own that is killed ends the run, and the other worker.
    let trainer = bench.train("lost", "local:2", &["--set", "train.epochs=1000"]);
    bench.await_second_epoch("lost");
    let workers = children(trainer.id());
    Command::new("kill").args(["-KILL", &workers[1].to_string()]).status().unwrap();
    let ended = end(trainer, Instant::now());
    let text = String::from_utf8(ended.stderr).unwrap();
    assert!(text.starts_with("error: worker ws://127.0.0.1:") && text.lines().count() == 1, "{text}");
    assert_gone(&workers);
}
