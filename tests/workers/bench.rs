//! Workers and trainers as processes, and how a trainer ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use faster_rcnn::weights;

use super::{PROGRAM, boards, config, losses};

/// Longest from a failure to the trainer's end.
pub const LIMIT: Duration = Duration::from_secs(30);

/// A worker of its own, which listens on a port or in a namespace.
pub struct Worker {
    pub process: Child,
    pub address: String,
}

impl Worker {
    pub fn start(namespace: Option<&str>, listen: &str, device: &str, token: &Path) -> Self {
        let mut command = match namespace {
            None => Command::new(PROGRAM),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace, PROGRAM]);
                command
            }
        };
        command.args(["worker", "--listen", listen, "--device", device, "--token-file"]).arg(token);
        Self::run(&mut command)
    }

    /// A worker that listens with iroh, on a port that was free a moment ago, with a key of its own.
    pub fn iroh(folder: &Path) -> Self {
        let port = UdpSocket::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(PROGRAM);
        command.args(["worker", "--listen", &format!("0.0.0.0:{port}"), "--token-file"]);
        command.arg(folder.join("token")).arg("--iroh").arg(folder.join(format!("{port}.key")));
        Self::run(&mut command)
    }

    pub fn run(command: &mut Command) -> Self {
        let command = command.env("RAYON_NUM_THREADS", "1");
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("worker ").unwrap().to_string();
        Self { process, address }
    }

    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.process.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A folder with boards, settings, a token, and a run of two workers that nothing interrupted.
pub struct Bench {
    pub folder: tempfile::TempDir,
}

/// One of the tests that fail a worker at a time: they measure seconds, and the machine is small.
pub static ONE_BY_ONE: Mutex<()> = Mutex::new(());

impl Bench {
    pub fn new() -> Self {
        Self::with(20)
    }

    /// With so many boards, of which one of ten is held out.
    pub fn with(count: usize) -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        boards(&bench.path("boards"), count);
        fs::write(bench.path("run.toml"), config(1, 2).to_toml()).unwrap();
        fs::write(bench.path("token"), "secret\n").unwrap();
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn worker(&self) -> Worker {
        Worker::start(None, "127.0.0.1:0", "cpu", &self.path("token"))
    }

    pub fn train(&self, output: &str, workers: &str, more: &[&str]) -> Child {
        let mut command = Command::new(PROGRAM);
        command
            .current_dir(self.folder.path())
            .args([
                "train",
                "--config",
                "run.toml",
                "--data",
                "boards",
                "--output",
                output,
                "--workers",
                workers,
            ])
            .args(more);
        if !workers.starts_with("local:") && !more.contains(&"--token-file") {
            command.args(["--token-file", "token"]);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Waits for the first checkpoint and a step after it.
    pub fn await_second_epoch(&self, output: &str) {
        let path = self.path(output).join("metrics.jsonl");
        let written = self.path(output).join("checkpoints/last.safetensors");
        let begun = || {
            written.exists()
                && fs::read_to_string(&path)
                    .is_ok_and(|text| text.contains("\"epoch\":2,\"split\":\"train\""))
        };
        let start = Instant::now();
        while !begun() {
            assert!(start.elapsed() < Duration::from_secs(60), "the second epoch does not begin");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Checks that the trainer ends in time with one line that names the worker and the cause.
    pub fn assert_ends(&self, trainer: Child, since: Instant, worker: &str, causes: &[&str]) {
        let output = end(trainer, since);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.lines().count() == 1, "{text}");
        assert!(text.starts_with(&format!("error: worker {worker}: ")), "{text}");
        assert!(causes.iter().any(|cause| text.contains(cause)), "{text}");
    }

    /// Checks that the checkpoint is whole and that a run resumed on `workers` gives the losses of
    /// `expected`.
    pub fn assert_resumes(&self, output: &str, workers: &str, expected: &[f64]) {
        let last = self.path(output).join("checkpoints/last.safetensors");
        weights::load(&last, &Device::flex()).unwrap();
        let resumed = end(self.train(output, workers, &["--resume"]), Instant::now() + LIMIT);
        assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
        assert_eq!(losses(&self.path(output)), expected);
    }

    /// The losses of a run on two workers that nothing interrupts.
    pub fn reference(&self) -> Vec<f64> {
        let output = end(self.train("whole", "local:2", &[]), Instant::now() + LIMIT);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        losses(&self.path("whole"))
    }
}

/// Waits for the end, at most the limit since then.
pub fn end(mut trainer: Child, since: Instant) -> Output {
    while trainer.try_wait().unwrap().is_none() {
        if since.elapsed() > LIMIT {
            let _ = trainer.kill();
            let text =
                trainer.wait_with_output().map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
            panic!("the trainer does not end: {text:?}");
        }
        thread::sleep(Duration::from_millis(20));
    }
    trainer.wait_with_output().unwrap()
}
