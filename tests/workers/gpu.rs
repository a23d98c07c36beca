//! Workers that serve a GPU.

use std::fs;
#[cfg(feature = "wgpu")]
use std::process::Command;

use burn::module::Module;
use burn::tensor::Device;
use faster_rcnn::data::Loader;
#[cfg(feature = "wgpu")]
use faster_rcnn::train::{Run, Team};
#[cfg(feature = "wgpu")]
use faster_rcnn::workers::Address;
use faster_rcnn::workers::connect;

use super::bench::Worker;
#[cfg(feature = "wgpu")]
use super::bench::{Bench, ONE_BY_ONE};
use super::common::{gpu, relative_error};
use super::training::{gradient, values};
#[cfg(feature = "wgpu")]
use super::{PROGRAM, alike, assert_close, losses};
use super::{boards, model};

/// What a worker's GPU computes is what the same GPU computes here: the same kernels, so that only their
/// order may differ.
#[test]
fn a_worker_serves_a_gpu() {
    let Some(gpu) = gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let train = boards(&folder.path().join("boards"), 2).train;
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
    let data = boards(&bench.path("few"), 5);
    let start = || {
        let mut command = Command::new(PROGRAM);
        command.args(["worker", "--listen", "127.0.0.1:0", "--device", "wgpu", "--token-file"]);
        Worker::run(command.arg(bench.path("token")))
    };
    let workers = [start(), start()];
    let addresses: Vec<Address> = workers.iter().map(|worker| worker.address.parse().unwrap()).collect();
    let team = connect(&addresses, Some("secret")).unwrap();
    let (cpu, gpu) = (bench.path("cpu"), bench.path("gpu"));
    Run::new(alike(2, 1), data.clone()).fit(&cpu).unwrap();
    Run::new(alike(1, 1), data).on(team).fit(&gpu).unwrap();
    assert_close(&losses(&gpu), &losses(&cpu));
}

/// Two devices where there are two, else one that is both.
#[cfg(feature = "wgpu")]
#[test]
fn two_gpus_of_one_process_train_as_the_cpu_does() {
    let found = Device::enumerate(burn::tensor::DeviceType::Wgpu);
    if found.is_empty() {
        println!(
            "skipped: no device for the feature `wgpu`; Debian's mesa-vulkan-drivers has a software one"
        );
        return;
    }
    println!("{} devices for the feature `wgpu`", found.len());
    let bench = Bench::new();
    let data = boards(&bench.path("few"), 5);
    let (cpu, gpus) = (bench.path("cpu"), bench.path("gpus"));
    Run::new(alike(2, 1), data.clone()).fit(&cpu).unwrap();
    let team = Team::new(found.into_iter().cycle().take(2));
    Run::new(alike(1, 1), data).on(team).fit(&gpus).unwrap();
    assert_close(&losses(&gpus), &losses(&cpu));
}
