//! Runs that lose a worker and go on by themselves.

use std::fs;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::bench::{Bench, LIMIT, ONE_BY_ONE, Worker, end};
use super::local::children;
use super::losses;

/// How often a local worker is killed.
const KILLS: usize = 20;

/// What a run needs to go on by itself.
const GOES_ON: [&str; 4] = ["--restarts", "3", "--set", "train.checkpoint_steps=1"];

/// Four steps in two epochs.
const BOARDS: usize = 5;

/// Waits until the run has written so many lines of numbers.
fn await_lines(bench: &Bench, output: &str, count: usize) {
    let path = bench.path(output).join("metrics.jsonl");
    let start = Instant::now();
    while fs::read_to_string(&path).map_or(0, |text| text.lines().count()) < count {
        assert!(start.elapsed() < LIMIT, "the run does not get so far");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The lines on standard error of a run that comes to its end with these losses.
fn assert_goes_on(bench: &Bench, output: &str, trainer: Child, expected: &[f64]) -> Vec<String> {
    // Restarts included.
    let ended = end(trainer, Instant::now() + 3 * LIMIT);
    let text = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success(), "{text}");
    assert_eq!(losses(&bench.path(output)), expected, "{text}");
    text.lines().map(str::to_string).collect()
}

#[test]
fn a_run_goes_on_to_the_same_losses_whenever_a_local_worker_is_killed() {
    let bench = Bench::with(BOARDS);
    let expected = bench.reference();
    let start = Instant::now();
    end(bench.train("again", "local:2", &GOES_ON), Instant::now() + LIMIT);
    let whole = start.elapsed();
    assert_eq!(losses(&bench.path("again")), expected);

    // Runs wait more than they compute, so two go on at a time.
    let halves: Vec<Vec<Killed>> = thread::scope(|scope| {
        let half = |seed| (0..KILLS / 2).map(move |kill| (seed, kill));
        let kill = |(seed, kill)| killed(&bench, &format!("run {seed} {kill}"), whole, &expected);
        let halves = [1, 2].map(|seed| scope.spawn(move || half(seed).map(kill).collect()));
        halves.map(|half| half.join().unwrap()).into()
    });
    let all: Vec<Killed> = halves.concat();
    let count = |counts: fn(&Killed) -> bool| all.iter().filter(|killed| counts(killed)).count();
    let (within, anew) = (count(|killed| killed.within_an_epoch), count(|killed| killed.anew));
    let mean = all.iter().map(|killed| killed.seconds).sum::<f64>() / KILLS as f64;
    println!("{KILLS} killed, {within} went on within an epoch, {anew} began anew; to the end {mean:.1} s");
    assert!(within > 0);
}

/// How a run went on after one of its workers was killed.
#[derive(Clone)]
struct Killed {
    within_an_epoch: bool,
    anew: bool,
    /// From the kill to the end.
    seconds: f64,
}

/// Kills a random worker at a random moment of a run that would take about so long, and waits for its end.
/// Tries again if the run was at its end already and lost nothing.
fn killed(bench: &Bench, output: &str, whole: Duration, expected: &[f64]) -> Killed {
    let mut random = StdRng::seed_from_u64(output.bytes().map(u64::from).sum());
    for attempt in 0..3 {
        let output = format!("{output} {attempt}");
        let trainer = bench.train(&output, "local:2", &GOES_ON);
        let start = Instant::now();
        // From here on the workers are there.
        while !bench.path(&output).join("metrics.jsonl").exists() {
            assert!(start.elapsed() < LIMIT);
            thread::sleep(Duration::from_millis(2));
        }
        let rest = (whole * 9 / 10).saturating_sub(start.elapsed());
        thread::sleep(rest.mul_f64(random.random_range(0.0..1.0)));
        let workers = children(trainer.id());
        let victim = workers.get(random.random_range(0..2));
        let hit = victim.is_some_and(|id| {
            Command::new("kill").args(["-KILL", &id.to_string()]).status().unwrap().success()
        });
        let since = Instant::now();
        let lines = assert_goes_on(bench, &output, trainer, expected);
        if hit && !lines.is_empty() {
            assert!(lines[0].starts_with("worker ws://127.0.0.1:") && lines.len() == 2, "{lines:?}");
            assert!(lines[1].starts_with("restart 1 of 3: the run "), "{lines:?}");
            return Killed {
                within_an_epoch: lines[1].contains("batches of epoch"),
                anew: lines[1].ends_with("has no checkpoint yet"),
                seconds: since.elapsed().as_secs_f64(),
            };
        }
    }
    panic!("{output} was always at its end");
}

#[test]
fn a_lost_worker_comes_back_or_is_replaced_or_is_waited_for_in_vain() {
    let _guard = ONE_BY_ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let bench = Bench::with(BOARDS);
    let expected = bench.reference();
    // It comes back at its old address.
    let [kept, lost] = [(); 2].map(|()| bench.worker());
    let addresses = format!("{},{}", kept.address, lost.address);
    let trainer = bench.train("back", &addresses, &GOES_ON);
    await_lines(&bench, "back", 3);
    lost.signal("-KILL");
    let listen = lost.address.strip_prefix("ws://").unwrap().to_string();
    drop(lost);
    thread::sleep(Duration::from_secs(4));
    let back = Worker::start(None, &listen, "cpu", &bench.path("token"));
    let lines = assert_goes_on(&bench, "back", trainer, &expected);
    let starts = [
        format!("worker {}: ", back.address),
        format!("waiting up to 600 s for worker {}", back.address),
        format!("worker {} answers again", back.address),
        "restart 1 of 3: the run goes on after ".to_string(),
    ];
    let as_told = lines.iter().zip(&starts).all(|(line, start)| line.starts_with(start));
    assert!(as_told && lines.len() == starts.len(), "{lines:#?}");

    // Another one takes its place, before the first checkpoint or after it.
    let [kept, lost, spare] = [(); 3].map(|()| bench.worker());
    let addresses = format!("{},{}", kept.address, lost.address);
    let trainer = bench.train("replaced", &addresses, &[&GOES_ON[..], &["--spare", &spare.address]].concat());
    await_lines(&bench, "replaced", 1);
    lost.signal("-KILL");
    let lines = assert_goes_on(&bench, "replaced", trainer, &expected);
    let line = format!("worker {} takes the place of {}", spare.address, lost.address);
    assert!(lines.len() == 3 && lines[1] == line && lines[2].starts_with("restart 1 of 3: "), "{lines:#?}");

    // Nobody comes.
    let addresses = format!("{},{}", kept.address, spare.address);
    let trainer = bench.train("waited", &addresses, &[&GOES_ON[..], &["--rejoin-timeout", "1"]].concat());
    await_lines(&bench, "waited", 3);
    spare.signal("-KILL");
    let ended = end(trainer, Instant::now());
    let text = String::from_utf8(ended.stderr).unwrap();
    let last =
        format!("error: a worker did not come back within 1 s: worker {}: is not running", spare.address);
    assert!(!ended.status.success() && text.lines().last().unwrap().starts_with(&last), "{text}");

    // At the start, a worker that is not there ends the run.
    let trainer = bench.train("nobody", &addresses, &GOES_ON);
    bench.assert_ends(trainer, Instant::now(), &spare.address, &["is not running"]);
    let trainer = bench.train("spares", "local:2", &[&GOES_ON[..], &["--spare", &kept.address]].concat());
    let text = String::from_utf8(end(trainer, Instant::now()).stderr).unwrap();
    assert_eq!(text, "error: --spare is for workers at addresses, not for local:2\n");
}
