//! How long workers take to sum the gradients of ResNet-50-FPN: as training does it, and with other ways that
//! burn's collective operations allow.
//!
//! ```sh
//! cargo run --release --features workers --example all_reduce -- --program target/release/faster-rcnn
//! ```
//!
//! Prints a JSON object a line: the way, the seconds of each round, and the bytes that a worker sent in one
//! round, from the kernel's count for the loopback interface.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::distributed::ReduceOperation;
use burn::tensor::{Device, Tensor, s};
use clap::Parser;
use faster_rcnn::FasterRcnnConfig;
use faster_rcnn::train::{GradientType, Team, all_reduce};
use faster_rcnn::workers::{Address, LocalWorkers, connect};

#[derive(Parser)]
struct Arguments {
    /// The command line tool, whose workers are used.
    #[arg(long)]
    program: PathBuf,
    /// How many workers.
    #[arg(long, default_value_t = 4)]
    workers: usize,
    /// Workers that run already, instead of ones of this machine.
    #[arg(long, value_delimiter = ',')]
    addresses: Vec<Address>,
    #[arg(long, default_value = "")]
    token: String,
    /// Rounds of each way, in turn.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Ways to try: direct, direct_bf16, pieces, flat, parameters, scatter_gather.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "direct,direct_bf16,pieces,flat,scatter_gather,parameters"
    )]
    ways: Vec<String>,
}

fn main() -> Result<()> {
    let Arguments { program, workers, addresses, token, rounds, ways } = Arguments::parse();
    let local = addresses.is_empty().then(|| LocalWorkers::start(&program, workers)).transpose()?;
    let team = match &local {
        Some(local) => connect(local.addresses(), Some(local.token()))?,
        None => connect(&addresses, Some(&token))?,
    };
    let workers = team.members().len();
    let devices: Vec<Device> = team.members().iter().map(|member| member.device.clone()).collect();
    let mut sizes = Sizes(Vec::new());
    FasterRcnnConfig::resnet50_fpn(7).init(&Device::flex().autodiff()).visit(&mut sizes);
    // burn's reduce-scatter and all-gather want the same number for each worker.
    let elements = sizes.0.iter().sum::<usize>().next_multiple_of(workers);
    sizes.0.push(elements - sizes.0.iter().sum::<usize>());
    sizes.0.retain(|size| *size > 0);
    let (mut times, mut bytes) = (vec![Vec::new(); ways.len()], vec![0; ways.len()]);
    for round in 0..=rounds {
        for ((way, times), sent) in ways.iter().zip(&mut times).zip(&mut bytes) {
            let tensors: Vec<Tensor<1>> =
                devices.iter().map(|device| Tensor::ones([elements], device) * 0.5).collect();
            sync(&devices);
            let (before, start) = (loopback_bytes()?, Instant::now());
            let sums = sum(&team, way, tensors, &sizes.0);
            sync(&devices);
            // The first round opens connections.
            if round > 0 {
                times.push(start.elapsed().as_secs_f64());
            }
            *sent = (loopback_bytes()? - before) / workers as u64;
            for sum in sums {
                let (least, most): (f32, f32) = (sum.clone().min().into_scalar(), sum.max().into_scalar());
                ensure!(least == most && most == 0.5 * workers as f32, "{way}: {least} to {most}");
            }
        }
    }
    for ((way, times), sent) in ways.iter().zip(times).zip(bytes) {
        println!(
            "{{\"way\": \"{way}\", \"elements\": {elements}, \"sent\": {sent}, \"seconds\": {times:?}}}"
        );
    }
    Ok(())
}

fn sum(team: &Team, way: &str, tensors: Vec<Tensor<1>>, sizes: &[usize]) -> Vec<Tensor<1>> {
    match way {
        "direct" => team.sum(tensors, GradientType::F32),
        "direct_bf16" => team.sum(tensors, GradientType::Bf16),
        "pieces" => all_reduce(tensors),
        "flat" => Tensor::all_reduce(tensors, ReduceOperation::Sum),
        "scatter_gather" => Tensor::all_gather(Tensor::reduce_scatter(tensors, 0, ReduceOperation::Sum), 0),
        "parameters" => {
            let mut start = 0;
            let mut sums = vec![Vec::new(); tensors.len()];
            for size in sizes {
                let parts =
                    tensors.iter().map(|tensor| tensor.clone().slice(s![start..start + size])).collect();
                for (sums, sum) in sums.iter_mut().zip(Tensor::all_reduce(parts, ReduceOperation::Sum)) {
                    sums.push(sum);
                }
                start += size;
            }
            sums.into_iter().map(|parts| Tensor::cat(parts, 0)).collect()
        }
        way => panic!("no way is called {way}"),
    }
}

fn sync(devices: &[Device]) {
    for device in devices {
        device.sync().expect("the workers run");
    }
}

struct Sizes(Vec<usize>);

impl ModuleVisitor for Sizes {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad() {
            self.0.push(param.lazy_shape().num_elements());
        }
    }
}

/// Bytes that went through the loopback interface.
fn loopback_bytes() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/net/dev")?;
    let line =
        text.lines().find_map(|line| line.trim().strip_prefix("lo:")).context("no loopback interface")?;
    Ok(line.split_whitespace().next().context("no count")?.parse()?)
}
