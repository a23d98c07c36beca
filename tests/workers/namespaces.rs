//! Workers with network addresses of their own, and a link that is cut.

use std::fs;
use std::process::Command;
use std::time::Instant;

use faster_rcnn::data;
use faster_rcnn::train::Run;

use super::bench::{Bench, LIMIT, ONE_BY_ONE, Worker, end};
use super::{alike, assert_close, losses};

/// Namespaces with an address each on a bridge, which go with the value.
struct Namespaces {
    names: Vec<String>,
}

const BRIDGE: &str = "frcnn-br";

impl Namespaces {
    /// `None` where they are not permitted.
    fn new(count: usize) -> Option<Self> {
        let names: Vec<String> = (0..count).map(|index| format!("frcnn{index}")).collect();
        let made = Self { names };
        made.remove();
        ip(&format!("link add {BRIDGE} type bridge"))?;
        ip(&format!("addr add 10.213.7.1/24 dev {BRIDGE}"))?;
        ip(&format!("link set {BRIDGE} up"))?;
        for (index, name) in made.names.iter().enumerate() {
            ip(&format!("netns add {name}"))?;
            ip(&format!("link add frcnn-v{index} type veth peer name eth0 netns {name}"))?;
            ip(&format!("link set frcnn-v{index} master {BRIDGE} up"))?;
            ip(&format!("-n {name} addr add {}/24 dev eth0", Self::address(index)))?;
            ip(&format!("-n {name} link set eth0 up"))?;
            ip(&format!("-n {name} link set lo up"))?;
        }
        Some(made)
    }

    fn address(index: usize) -> String {
        format!("10.213.7.{}", index + 2)
    }

    fn cut(&self, index: usize) {
        ip(&format!("link set frcnn-v{index} down")).unwrap();
    }

    fn remove(&self) {
        for (index, name) in self.names.iter().enumerate() {
            ip(&format!("netns del {name}"));
            // A namespace outlives its name as long as a process is in it.
            ip(&format!("link del frcnn-v{index}"));
        }
        ip(&format!("link del {BRIDGE}"));
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        self.remove();
    }
}

fn ip(arguments: &str) -> Option<()> {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().ok()?;
    output.status.success().then_some(())
}

#[test]
fn workers_with_addresses_of_their_own_train_alike_and_a_cut_link_ends_the_run() {
    let _guard = ONE_BY_ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let Some(namespaces) = Namespaces::new(4) else {
        println!("skipped: network namespaces are not permitted here, or `ip` is not there");
        return;
    };
    let bench = Bench::new();
    let token = bench.path("token");
    let data = data::open(bench.path("boards")).unwrap().sides(0);
    fs::write(bench.path("run.toml"), alike(1, 2).to_toml()).unwrap();
    Run::new(alike(4, 2), data).fit(bench.path("one")).unwrap();
    let start = |index: usize| {
        let listen = format!("{}:3000", Namespaces::address(index));
        Worker::start(Some(&namespaces.names[index]), &listen, "cpu", &token)
    };
    let workers: Vec<Worker> = (0..4).map(start).collect();
    let addresses = workers.iter().map(|worker| worker.address.clone()).collect::<Vec<_>>().join(",");
    let output = end(bench.train("four", &addresses, &[]), Instant::now() + LIMIT);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_close(&losses(&bench.path("four")), &losses(&bench.path("one")));

    let trainer = bench.train("cut", &addresses, &[]);
    bench.await_second_epoch("cut");
    let since = Instant::now();
    namespaces.cut(3);
    bench.assert_ends(trainer, since, &workers[3].address, &["does not answer", "cannot be reached"]);
    println!("cut: the trainer ended after {:.1} s", since.elapsed().as_secs_f64());
    let replacement = Worker::start(None, "10.213.7.1:0", "cpu", &token);
    let addresses: Vec<&str> =
        workers[..3].iter().chain([&replacement]).map(|worker| worker.address.as_str()).collect();
    bench.assert_resumes("cut", &addresses.join(","), &losses(&bench.path("four")));
}
