//! A worker that is killed or stopped.

use std::time::Instant;

use super::bench::{Bench, ONE_BY_ONE, Worker};

#[test]
fn a_killed_or_stopped_worker_ends_the_run_and_another_takes_its_place() {
    let _guard = ONE_BY_ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let bench = Bench::new();
    let expected = bench.reference();
    let websocket: fn(&Bench) -> Worker = Bench::worker;
    for (output, signal, causes, worker) in [
        ("killed", "-KILL", ["is not running", "closed the connection"], websocket),
        ("stopped", "-STOP", ["does not answer", "does not answer"], websocket),
        ("killed, iroh", "-KILL", ["does not answer", "does not answer"], |bench| {
            Worker::iroh(bench.folder.path())
        }),
    ] {
        let (lost, kept, other) = (worker(&bench), worker(&bench), worker(&bench));
        let trainer = bench.train(output, &format!("{},{}", kept.address, lost.address), &[]);
        bench.await_second_epoch(output);
        let since = Instant::now();
        lost.signal(signal);
        bench.assert_ends(trainer, since, &lost.address, &causes);
        println!("{output}: the trainer ended after {:.1} s", since.elapsed().as_secs_f64());
        bench.assert_resumes(output, &format!("{},{}", kept.address, other.address), &expected);
    }
}
