//! Training on several workers: processes on this machine, also in network namespaces of their own, against the same
//! training in one process; and every way in which a worker can fail.
#![cfg(feature = "workers")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use burn::backend::Flex;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::server::{RemoteServer, WebSocketTransport};
use burn::tensor::{Device, Tensor, TensorData};
use common::{gpu, relative_error};
use faster_rcnn::data::{
    AugmentConfig, Batch, Dataset, Loader, Split, SyntheticConfig, deep_pcb, write_synthetic,
};
use faster_rcnn::train::{RunConfig, Schedule, Start, Team, TrainConfig, all_reduce, fit, fit_team};
use faster_rcnn::workers::{Address, LocalWorkers, connect};
use faster_rcnn::{FasterRcnn, FasterRcnnConfig, NormKind, ResNetDepth, Sampling, weights};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_faster-rcnn");

/// Longest from a failure to the trainer's end.
const LIMIT: Duration = Duration::from_secs(30);

/// A thin ResNet-18 at 128 pixels whose images all have as many candidates, so that a mean over the batch is the mean
/// of its images' means.
fn model() -> FasterRcnnConfig {
    let mut model = FasterRcnnConfig::new(ResNetDepth::ResNet18, 7)
        .with_class_names(&deep_pcb::CLASS_NAMES)
        .with_norm(NormKind::Group)
        .with_trainable_layers(5)
        .with_image_size(128, 128);
    model.fpn_channels = 16;
    model.roi_heads.representation_size = 32;
    model.roi_heads.batch_size_per_image = 16;
    model.rpn.batch_size_per_image = 32;
    model.rpn.pre_nms_top_n_train = 20;
    model
}

fn config(batch_size: usize, epochs: usize) -> RunConfig {
    let mut config = RunConfig::new(model());
    config.train = TrainConfig {
        epochs,
        batch_size,
        learning_rate: 0.005,
        schedule: Schedule::MultiStep { milestones: vec![2], gamma: 0.1 },
        warmup_steps: 2,
        clip_norm: Some(5.0),
        sample_pictures: 0,
        ..TrainConfig::default()
    };
    config
}

/// Settings for a comparison of losses. The scores of random weights are nearly equal, and which of two proposals goes
/// first soon depends on a last digit, which two orders of one sum do not share: so the steps are small.
fn alike(batch_size: usize, epochs: usize) -> RunConfig {
    let mut config = config(batch_size, epochs);
    config.train.learning_rate = 2e-5;
    config
}

fn boards(folder: &Path, count: usize) -> [Dataset; 2] {
    write_synthetic(folder, count, &SyntheticConfig { size: 128, seed: 3 }).unwrap();
    let split = deep_pcb::open(folder, 0).unwrap();
    [split.train, split.validation]
}

/// The losses of all training steps.
fn losses(output: &Path) -> Vec<f64> {
    let text = fs::read_to_string(output.join("metrics.jsonl")).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.filter(|row| row["split"] == "train" && row["step"].is_u64())
        .map(|row| row["loss"].as_f64().unwrap())
        .collect()
}

fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let difference = |(found, expected): (&f64, &f64)| ((found - expected) / expected).abs();
    let differences: Vec<f64> = found.iter().zip(expected).map(difference).collect();
    assert!(differences.iter().all(|difference| *difference <= 1e-4), "{differences:?}");
}

/// The gradient of a batch's losses, of all parameters together.
fn gradient(model: &FasterRcnn, batch: &Batch) -> Tensor<1> {
    let losses = model.losses(&batch.images, &batch.annotations, &mut Sampling::seeded(batch.seeds.clone()));
    let mut gradients =
        Flat(GradientsParams::from_grads((losses.sum() * batch.share).backward(), model), Vec::new());
    model.visit(&mut gradients);
    Tensor::cat(gradients.1, 0)
}

struct Flat(GradientsParams, Vec<Tensor<1>>);

impl ModuleVisitor for Flat {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.0.remove::<D>(param.id) {
            self.1.push(gradient.flatten(0, D - 1));
        }
    }
}

fn values(tensor: Tensor<1>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

#[test]
fn the_gradients_of_four_workers_sum_to_those_of_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let [train, _] = boards(folder.path(), 5);
    let batch = |loader: &Loader| burn::data::dataloader::DataLoader::iter(loader).next().unwrap().unwrap();
    let loader = |batch_size| {
        Loader::in_order(&train.records, batch_size, 1).shuffled(&AugmentConfig::default(), 7, 1)
    };
    let origin = model().init(&Device::flex().autodiff());
    let whole = values(gradient(&origin, &batch(&loader(4))));

    let workers = LocalWorkers::start(Path::new(PROGRAM), 4).unwrap();
    let team = connect(workers.addresses(), Some(workers.token())).unwrap();
    let parts = team.members().iter().enumerate().map(|(index, member)| {
        let replica = origin.clone().fork(&member.device.clone().autodiff());
        gradient(&replica, &batch(&loader(1).shard(index, 4)))
    });
    let sums: Vec<Vec<f32>> = all_reduce(parts.collect()).into_iter().map(values).collect();
    assert!(sums.iter().all(|sum| *sum == sums[0]), "every worker has the same sum, bit for bit");
    let norm =
        |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    let difference = norm(&mut sums[0].iter().zip(&whole).map(|(a, b)| a - b));
    let relative = difference / norm(&mut whole.iter().copied());
    assert!(whole.len() == sums[0].len() && relative < 1e-5, "{relative}");

    // More elements than travel at once, and fewer than there are workers; numbers that do not divide. Small whole numbers
    // sum exactly.
    for elements in [(9 << 20) + 5, 3] {
        let tensors = team.members().iter().enumerate().map(|(index, member)| {
            let values = (0..elements).map(|place| (place % 1000 + index) as f32).collect::<Vec<_>>();
            Tensor::from_data(TensorData::new(values, [elements]), &member.device)
        });
        for sum in all_reduce(tensors.collect()) {
            let sum = values(sum);
            assert_eq!(sum.len(), elements);
            assert!(sum.iter().enumerate().all(|(place, sum)| *sum == (4 * (place % 1000) + 6) as f32));
        }
    }
}

#[test]
fn four_workers_train_as_one_process_does_also_where_images_remain() {
    let folder = tempfile::tempdir().unwrap();
    // 18 images to train on: the last batch of an epoch has two for four workers.
    let [train, validation] = boards(&folder.path().join("boards"), 20);
    assert_eq!(train.records.len(), 18);
    let (one, four) = (folder.path().join("one"), folder.path().join("four"));
    fit(&alike(4, 4), Start::Random, &train, &validation, &one, &Device::flex()).unwrap();
    let workers = LocalWorkers::start(Path::new(PROGRAM), 4).unwrap();
    let team = connect(workers.addresses(), Some(workers.token())).unwrap();
    // Fails where the replicas' weights are not the same, bit for bit, at the end of an epoch.
    fit_team(&alike(1, 4), Start::Random, &train, &validation, &four, &team).unwrap();
    let (one_losses, four_losses) = (losses(&one), losses(&four));
    assert_eq!(one_losses.len(), 20);
    assert_close(&four_losses, &one_losses);
    // Devices of this process do, too.
    let two = folder.path().join("two");
    let devices = Team::new([Device::flex(), Device::flex()]);
    fit_team(&alike(2, 4), Start::Random, &train, &validation, &two, &devices).unwrap();
    assert_close(&losses(&two), &one_losses);
    // Steps twice as large are told from these.
    let mut other = alike(4, 4);
    other.train.learning_rate *= 2.0;
    let doubled = folder.path().join("doubled");
    fit(&other, Start::Random, &train, &validation, &doubled, &Device::flex()).unwrap();
    let differs = |(one, other): (&f64, &f64)| (one - other).abs() > 1e-3 * one;
    assert!(one_losses.iter().zip(&losses(&doubled)).any(differs));
    // Validation once an epoch, and the numbers of one checkpoint.
    let text = fs::read_to_string(four.join("metrics.jsonl")).unwrap();
    let ends = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert_eq!(ends.filter(|row| row["split"] == "valid" && row["step"].is_null()).count(), 4);
    let checkpoints: Vec<_> = fs::read_dir(four.join("checkpoints")).unwrap().collect();
    assert_eq!(checkpoints.len(), 3, "{checkpoints:?}");
}

/// What a worker's GPU computes is what the same GPU computes here: the same kernels, so that only their order may differ.
#[test]
fn a_worker_serves_a_gpu() {
    let Some(gpu) = gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let [train, _] = boards(&folder.path().join("boards"), 2);
    let loader = Loader::in_order(&train.records, 1, 1);
    let batch = burn::data::dataloader::DataLoader::iter(&loader).next().unwrap().unwrap();
    let origin = model().init(&Device::flex().autodiff());
    let expected = values(gradient(&origin.clone().fork(&gpu.autodiff()), &batch));

    let token = folder.path().join("token");
    fs::write(&token, "secret\n").unwrap();
    let worker = Worker::start(None, "127.0.0.1:0", "wgpu", &token);
    let team = connect(&[worker.address.parse().unwrap()], Some("secret")).unwrap();
    let replica = origin.fork(&team.members()[0].device.clone().autodiff());
    let error = relative_error(&values(gradient(&replica, &batch)), &expected);
    assert!(error <= 1e-5, "{error:.1e}");
}

/// A worker of its own, which listens on a port or in a namespace.
struct Worker {
    process: Child,
    address: String,
}

impl Worker {
    fn start(namespace: Option<&str>, listen: &str, device: &str, token: &Path) -> Self {
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
    fn iroh(folder: &Path) -> Self {
        let port = UdpSocket::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(PROGRAM);
        command.args(["worker", "--listen", &format!("0.0.0.0:{port}"), "--token-file"]);
        command.arg(folder.join("token")).arg("--iroh").arg(folder.join(format!("{port}.key")));
        Self::run(&mut command)
    }

    fn run(command: &mut Command) -> Self {
        let command = command.env("RAYON_NUM_THREADS", "1");
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("worker ").unwrap().to_string();
        Self { process, address }
    }

    fn signal(&self, signal: &str) {
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
struct Bench {
    folder: tempfile::TempDir,
}

/// One of the tests that fail a worker at a time: they measure seconds, and the machine is small.
static ONE_BY_ONE: Mutex<()> = Mutex::new(());

impl Bench {
    fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        boards(&bench.path("boards"), 20);
        fs::write(bench.path("run.toml"), config(1, 2).to_toml()).unwrap();
        fs::write(bench.path("token"), "secret\n").unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn worker(&self) -> Worker {
        Worker::start(None, "127.0.0.1:0", "cpu", &self.path("token"))
    }

    fn train(&self, output: &str, workers: &str, more: &[&str]) -> Child {
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
    fn await_second_epoch(&self, output: &str) {
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
    fn assert_ends(&self, trainer: Child, since: Instant, worker: &str, causes: &[&str]) {
        let output = end(trainer, since);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.lines().count() == 1, "{text}");
        assert!(text.starts_with(&format!("error: worker {worker}: ")), "{text}");
        assert!(causes.iter().any(|cause| text.contains(cause)), "{text}");
    }

    /// Checks that the checkpoint is whole and that a run resumed on `workers` gives the losses of `expected`.
    fn assert_resumes(&self, output: &str, workers: &str, expected: &[f64]) {
        let last = self.path(output).join("checkpoints/last.safetensors");
        weights::load(&last, &Device::flex()).unwrap();
        let resumed = end(self.train(output, workers, &["--resume"]), Instant::now() + LIMIT);
        assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
        assert_eq!(losses(&self.path(output)), expected);
    }

    /// The losses of a run on two workers that nothing interrupts.
    fn reference(&self) -> Vec<f64> {
        let output = end(self.train("whole", "local:2", &[]), Instant::now() + LIMIT);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        losses(&self.path("whole"))
    }
}

/// Waits for the end, at most the limit since then.
fn end(mut trainer: Child, since: Instant) -> Output {
    while trainer.try_wait().unwrap().is_none() {
        if since.elapsed() > LIMIT {
            let _ = trainer.kill();
            panic!("the trainer does not end");
        }
        thread::sleep(Duration::from_millis(20));
    }
    trainer.wait_with_output().unwrap()
}

/// The processes whose parent is this one, by their command lines.
fn children(parent: u32) -> Vec<u32> {
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

#[test]
fn workers_of_this_machine_end_with_the_trainer_however_it_ends() {
    let _guard = ONE_BY_ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let bench = Bench::new();
    for (output, how) in [("finished", None), ("killed", Some("-KILL")), ("interrupted", Some("-INT"))] {
        let trainer = bench.train(output, "local:2", &[]);
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
    let trainer = bench.train("lost", "local:2", &[]);
    bench.await_second_epoch("lost");
    let workers = children(trainer.id());
    Command::new("kill").args(["-KILL", &workers[1].to_string()]).status().unwrap();
    let ended = end(trainer, Instant::now());
    let text = String::from_utf8(ended.stderr).unwrap();
    assert!(text.starts_with("error: worker ws://127.0.0.1:") && text.lines().count() == 1, "{text}");
    assert_gone(&workers);
}

#[test]
fn a_wrong_token_another_version_and_other_operations_are_refused() {
    let bench = Bench::new();
    let worker = bench.worker();
    fs::write(bench.path("wrong"), "guess\n").unwrap();
    let since = Instant::now();
    let trainer = bench.train("wrong", &worker.address, &["--token-file", "wrong"]);
    bench.assert_ends(trainer, since, &worker.address, &["refuses the token"]);

    let nobody = "ws://127.0.0.1:9";
    let trainer = bench.train("nobody", nobody, &[]);
    bench.assert_ends(trainer, Instant::now(), nobody, &["is not running: connection refused"]);

    let serve = |server: RemoteServer| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("ws://{}", listener.local_addr().unwrap());
        thread::spawn(move || server.serve(WebSocketTransport::from_listener(listener)).unwrap());
        address
    };
    let server = || RemoteServer::new([Device::flex()]);
    let other_operations = serve(server());
    let trainer = bench.train("other", &other_operations, &[]);
    bench.assert_ends(
        trainer,
        Instant::now(),
        &other_operations,
        &["does not know the operations of faster-rcnn"],
    );

    let other_version =
        serve(server().with_custom_op::<Flex, _>("faster_rcnn::identity", |handles, call, device| {
            let mut name = b"faster-rcnn 9.9.9, operations 00000000".to_vec();
            name.resize(64, b' ');
            let values: Vec<f32> = name.into_iter().map(f32::from).collect();
            let answer = <Flex as burn::backend::ops::FloatTensorOps<Flex>>::float_from_data(
                TensorData::new(values, [64]),
                device,
            );
            handles.register_float_tensor::<Flex>(&call.outputs[0].id, answer);
        }));
    let trainer = bench.train("version", &other_version, &[]);
    bench.assert_ends(
        trainer,
        Instant::now(),
        &other_version,
        &["is faster-rcnn 9.9.9, operations 00000000, this is"],
    );

    let twice = format!("{0},{0}", worker.address);
    let trainer = bench.train("twice", &twice, &[]);
    bench.assert_ends(trainer, Instant::now(), &worker.address, &["is given twice"]);

    let taken = worker.address.strip_prefix("ws://").unwrap();
    fs::write(bench.path("empty"), "\n").unwrap();
    for (arguments, expected) in [
        (
            &["--listen", "0.0.0.0:0"][..],
            "error: 0.0.0.0:0 can be reached from other machines: it needs --token-file",
        ),
        (&["--iroh", "key"], "error: 0.0.0.0:3000 can be reached from other machines: it needs --token-file"),
        (&["--token-file", "nothing"], "error: nothing: No such file or directory"),
        (&["--token-file", "empty"], "error: empty: holds no token"),
        (&["--listen", taken], &format!("error: cannot listen on {taken}: Address already in use")),
    ] {
        let mut command = Command::new(PROGRAM);
        let ended = command.current_dir(bench.folder.path()).arg("worker").args(arguments).output().unwrap();
        let text = String::from_utf8(ended.stderr).unwrap();
        assert!(!ended.status.success() && text.starts_with(expected) && text.lines().count() == 1, "{text}");
    }
}

#[test]
fn a_worker_with_iroh_is_reached_by_its_key() {
    let bench = Bench::new();
    let worker = Worker::iroh(bench.folder.path());
    let address: Address = worker.address.parse().unwrap();
    let start = Instant::now();
    let team: Team = loop {
        match connect(std::slice::from_ref(&address), Some("secret")) {
            Ok(team) => break team,
            Err(error) => assert!(start.elapsed() < Duration::from_secs(20), "{error}"),
        }
    };
    let tensor = Tensor::<1>::from_floats([1.0, 2.0], &team.members()[0].device);
    assert_eq!(values(tensor * 2.0), [2.0, 4.0]);
    let refused = |addresses: &[Address], token, cause: &str| {
        let error = connect(addresses, Some(token)).unwrap_err().to_string();
        assert!(error.ends_with(cause), "{error}");
    };
    refused(std::slice::from_ref(&address), "guess", "refuses the token");
    let websocket = bench.worker().address.parse().unwrap();
    refused(&[address, websocket], "secret", "cannot reach the first, which has another transport");
}

#[cfg(feature = "wgpu")]
#[test]
fn workers_on_a_gpu_train_as_one_process_on_the_cpu_does() {
    let _guard = ONE_BY_ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if Device::enumerate(burn::tensor::DeviceType::Wgpu).is_empty() {
        println!(
            "skipped: no device for the feature `wgpu`; Debian's mesa-vulkan-drivers has a software one"
        );
        return;
    }
    let bench = Bench::new();
    let [train, validation] = boards(&bench.path("few"), 5);
    let start = || {
        let mut command = Command::new(PROGRAM);
        command.args(["worker", "--listen", "127.0.0.1:0", "--device", "wgpu", "--token-file"]);
        Worker::run(command.arg(bench.path("token")))
    };
    let workers = [start(), start()];
    let addresses: Vec<Address> = workers.iter().map(|worker| worker.address.parse().unwrap()).collect();
    let team = connect(&addresses, Some("secret")).unwrap();
    let (cpu, gpu) = (bench.path("cpu"), bench.path("gpu"));
    fit(&alike(2, 1), Start::Random, &train, &validation, &cpu, &Device::flex()).unwrap();
    fit_team(&alike(1, 1), Start::Random, &train, &validation, &gpu, &team).unwrap();
    assert_close(&losses(&gpu), &losses(&cpu));
}

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
    let Split { train, validation } = deep_pcb::open(bench.path("boards"), 0).unwrap();
    fs::write(bench.path("run.toml"), alike(1, 2).to_toml()).unwrap();
    fit(&alike(4, 2), Start::Random, &train, &validation, &bench.path("one"), &Device::flex()).unwrap();
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
