//! The Rust side of `benches/compare_torchvision.py`, which says what work this is:
//!
//! ```text
//! measure inference --batch N [--size S|HxW] --iterations K [--device cpu|cuda|wgpu]
//! measure train --batch N [--size S|HxW] --iterations K [--norm frozen_batch|batch] [--stages 1..5]
//! measure roi-align --iterations K [--backward]
//! measure nms --boxes N --iterations K
//! measure data --data FOLDER --workers W --batch N --iterations K
//! ```
//!
//! and, for `benches/compare_convolutions.py`,
//!
//! ```text
//! measure convolutions --shapes FILE --iterations K
//! ```
//!
//! and several of these in one process, which compiles a GPU's kernels once:
//!
//! ```text
//! measure several --device cuda "inference --batch 1 --iterations K" "inference --batch 8 --iterations K" ...
//! ```
//!
//! and what of that the machine can do at most (`docs/cpu.md`):
//!
//! ```text
//! measure machine
//! ```
//!
//! The last line of standard output of the first five is `{"seconds": [one an iteration], "cpu_seconds": [the
//! same, of all threads], "peak_rss_bytes": N, "outcome": [...]}`, where the outcome, which the other side
//! must agree with, is the number of detections and the sum of their scores, the four losses of the first
//! iteration, the mean squares of the output or of each gradient, the number of boxes that stay and the sum
//! of their indices, or the number of images and the sum of their values.

#[path = "work/mod.rs"]
mod work;

use std::convert::identity;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use burn::backend::Dispatch;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Int, Tensor, TensorData};
use clap::{Parser, Subcommand, ValueEnum};
use faster_rcnn::internals::DetectionOps;
use faster_rcnn::ops::{Fused, conv2d};
use faster_rcnn::{DeviceName, NormKind};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use serde::Deserialize;
use serde_json::{Map, json};
use work::boxes::{Nms, RoiAlign};
use work::data::Loading;
use work::{Inference, Size, Training};

/// Rounds on a GPU before the first that is timed.
const WARM_UP_ROUNDS: usize = 5;

#[derive(Parser)]
struct Arguments {
    /// Of the detector's and the operations' work.
    #[arg(long, global = true, default_value = "cpu")]
    device: DeviceName,
    /// No TF32 tensor cores for the convolutions on a GPU.
    #[arg(long, global = true)]
    exact: bool,
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    Inference(Work),
    Train(Work),
    RoiAlign {
        #[arg(long)]
        iterations: usize,
        /// The gradients instead.
        #[arg(long)]
        backward: bool,
    },
    Nms {
        #[arg(long)]
        boxes: usize,
        #[arg(long)]
        iterations: usize,
    },
    Data {
        /// JPEG files.
        #[arg(long)]
        data: PathBuf,
        #[arg(long)]
        workers: usize,
        #[arg(long)]
        batch: usize,
        #[arg(long)]
        iterations: usize,
    },
    /// Several measurements, each as its words.
    Several {
        work: Vec<String>,
    },
    /// Multiplications and additions a second, and bytes read and copied a second, of all threads.
    Machine,
    Convolutions {
        /// JSON list of `{"x": [N, C in, H, W], "weight": [C out, C in, K, K], "stride", "padding"}`.
        #[arg(long)]
        shapes: PathBuf,
        #[arg(long)]
        iterations: usize,
    },
}

#[derive(clap::Args)]
struct Work {
    #[arg(long)]
    batch: usize,
    #[arg(long, default_value = "640", value_parser = size)]
    size: Size,
    #[arg(long)]
    iterations: usize,
    #[arg(long, default_value = "frozen_batch")]
    norm: Norm,
    #[arg(long, default_value_t = 5)]
    stages: usize,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Norm {
    FrozenBatch,
    Batch,
}

/// `640` or `800x1333`.
fn size(words: &str) -> Result<Size> {
    let (height, width) = words.split_once('x').unwrap_or((words, words));
    Ok((height.parse()?, width.parse()?))
}

fn main() -> Result<()> {
    faster_rcnn::keep_heap();
    let Arguments { device, exact, mode } = Arguments::parse();
    let device = &device.open()?;
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    faster_rcnn::ops::set_allow_tf32(!exact);
    anyhow::ensure!(!exact || cfg!(any(feature = "cuda", feature = "wgpu")), "--exact is for GPUs");
    run(mode, device)
}

fn run(mode: Mode, device: &Device) -> Result<()> {
    match mode {
        Mode::Several { work } => work.iter().try_for_each(|words| {
            println!("{words}");
            let words = ["measure"].into_iter().chain(words.split_whitespace());
            run(Arguments::try_parse_from(words)?.mode, device)
        }),
        Mode::Inference(Work { batch, size, iterations, .. }) => {
            let work = Inference::new(batch, size, device);
            measure(|| work.round(), identity, iterations, device)
        }
        Mode::Train(Work { batch, size, iterations, norm, stages }) => {
            let norm = match norm {
                Norm::FrozenBatch => NormKind::FrozenBatch,
                Norm::Batch => NormKind::Batch,
            };
            let mut work = Training::new(batch, size, norm, stages, device);
            measure(|| work.round(), identity, iterations, device)
        }
        Mode::RoiAlign { iterations, backward } => {
            let work = RoiAlign::new(device);
            let mean_square = |map: Tensor<4>| map.square().mean().into_scalar::<f64>();
            if backward {
                let outcome = |grads: Vec<Tensor<4>>| grads.into_iter().map(mean_square).collect();
                measure(|| work.backward(), outcome, iterations, device)
            } else {
                measure(|| work.forward(), |pooled| vec![mean_square(pooled)], iterations, device)
            }
        }
        Mode::Nms { boxes, iterations } => {
            let work = Nms::new(boxes, device);
            let outcome = |keep: Tensor<2, Int>| {
                let keep: Vec<i64> = keep.into_data().iter::<i64>().collect();
                let stay = (0..boxes).filter(|&index| keep[index] == 1);
                vec![stay.clone().count() as f64, stay.sum::<usize>() as f64]
            };
            measure(|| work.round(), outcome, iterations, device)
        }
        Mode::Data { data, workers, batch, iterations } => {
            let work = Loading::new(&data, workers, batch)?;
            measure(|| work.round(), identity, iterations, device)
        }
        Mode::Machine => {
            machine();
            Ok(())
        }
        Mode::Convolutions { shapes, iterations } => convolutions(&shapes, iterations),
    }
}

/// Times the rounds after the first, whose outcome is what the other side has to agree with.
fn measure<R>(
    mut round: impl FnMut() -> R,
    outcome: impl FnOnce(R) -> Vec<f64>,
    iterations: usize,
    device: &Device,
) -> Result<()> {
    let outcome = outcome(round());
    // A GPU's kernels are compiled, and the fastest ones chosen, in the first rounds.
    if *device != Device::flex() {
        for _ in 0..WARM_UP_ROUNDS {
            round();
        }
    }
    device.sync()?;
    let (mut seconds, mut cpu_seconds) = (Vec::new(), Vec::new());
    for _ in 0..iterations {
        let (start, cpu_start) = (Instant::now(), cpu_time()?);
        let result = round();
        device.sync()?;
        drop(result);
        seconds.push(start.elapsed().as_secs_f64());
        cpu_seconds.push((cpu_time()? - cpu_start).as_secs_f64());
    }
    let result = json!({
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_rss_bytes": peak_rss_bytes()?,
        "outcome": outcome,
    });
    println!("{result}");
    Ok(())
}

/// Prints, for each of the shapes, how long the convolution and its gradients take and what they give.
fn convolutions(shapes: &Path, iterations: usize) -> Result<()> {
    #[derive(Deserialize)]
    struct Shapes {
        x: [usize; 4],
        weight: [usize; 4],
        stride: usize,
        padding: usize,
    }

    let device = Device::flex();
    let uniform = |name: &str, shape: [usize; 4]| {
        let values = work::common::unit(name).take(shape.iter().product()).map(|u| (2.0 * u - 1.0) as f32);
        Tensor::<4>::from_data(TensorData::new(values.collect(), shape), &device)
    };
    let shapes: Vec<Shapes> = serde_json::from_str(&fs::read_to_string(shapes)?)?;
    let mut rows = Vec::new();
    for Shapes { x: x_shape, weight: weight_shape, stride, padding } in shapes {
        let options = ConvOptions::new([stride; 2], [padding; 2], [1, 1], 1);
        let (x, weight) = (uniform("x", x_shape), uniform("weight", weight_shape));
        let bias = Tensor::zeros([weight_shape[0]], &device);
        let forward = || conv2d(x.clone(), weight.clone(), bias.clone(), options.clone(), Fused::default());
        let grad = uniform("grad", forward().dims());
        let dispatch = |tensor: &Tensor<4>| tensor.clone().into_dispatch();
        let input = || {
            let (weight, grad) = (dispatch(&weight), dispatch(&grad));
            Tensor::from_dispatch(Dispatch::convolution_input_backward(
                weight,
                grad,
                x_shape,
                options.clone(),
            ))
        };
        let of_weight = || {
            let (x, grad) = (dispatch(&x), dispatch(&grad));
            Tensor::from_dispatch(Dispatch::convolution_weight_backward(
                x,
                grad,
                weight_shape,
                options.clone(),
            ))
        };
        let (mut seconds, mut outcome) = (Map::new(), Map::new());
        let directions: [(&str, &dyn Fn() -> Tensor<4>); 3] =
            [("forward", &forward), ("input", &input), ("weight", &of_weight)];
        for (direction, round) in directions {
            let values: Vec<f32> = round().into_data().try_into_vec().expect("floats");
            let squares = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
            outcome.insert(direction.to_string(), json!(squares / values.len() as f64));
            let time = |_| {
                let start = Instant::now();
                round();
                start.elapsed().as_secs_f64()
            };
            seconds.insert(direction.to_string(), (0..iterations).map(time).collect());
        }
        rows.push(json!({ "seconds": seconds, "outcome": outcome }));
    }
    println!("{}", json!(rows));
    Ok(())
}

/// Prints the machine's limits: the best of several tries each.
fn machine() {
    /// So many sums at a time hide the latency of each operation.
    const SUMS: usize = 12;
    const STEPS: usize = 50_000_000;
    const ELEMENTS: usize = 64 << 20;

    struct MultiplyAdd;
    impl WithSimd for MultiplyAdd {
        type Output = usize;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> usize {
            let factor = simd.splat_f32s(black_box(0.5));
            let mut sums = [factor; SUMS];
            for _ in 0..STEPS {
                for sum in &mut sums {
                    *sum = simd.mul_add_e_f32s(*sum, factor, factor);
                }
            }
            black_box(sums);
            2 * SUMS * STEPS * S::F32_LANES
        }
    }

    fn best<R>(mut run: impl FnMut() -> R) -> (f64, R) {
        let tries = (0..5).map(|_| {
            let start = Instant::now();
            let result = run();
            (start.elapsed().as_secs_f64(), result)
        });
        tries.min_by(|a, b| a.0.total_cmp(&b.0)).expect("five tries")
    }

    let (seconds, operations) =
        best(|| rayon::broadcast(|_| Arch::new().dispatch(MultiplyAdd)).iter().sum::<usize>());
    println!("{:.0} GFLOP/s of f32", operations as f64 / seconds / 1e9);
    let (values, mut copy) = (vec![1.0_f32; ELEMENTS], vec![0.0_f32; ELEMENTS]);
    let part = |values: &[f32]| -> u64 {
        let (eights, _) = values.as_chunks::<8>();
        eights
            .iter()
            .fold([0; 8], |sums, eight| std::array::from_fn(|i| sums[i] ^ u64::from(eight[i].to_bits())))
            .iter()
            .sum()
    };
    let (seconds, _) = best(|| black_box(values.par_chunks(1 << 16).map(part).sum::<u64>()));
    println!("{:.1} GB/s read", 4e-9 * ELEMENTS as f64 / seconds);
    let (seconds, ()) = best(|| {
        let parts = copy.par_chunks_mut(1 << 16).zip(values.par_chunks(1 << 16));
        parts.for_each(|(to, from)| to.copy_from_slice(from));
        black_box(&mut copy);
    });
    println!("{:.1} GB/s copied (read and written)", 8e-9 * ELEMENTS as f64 / seconds);
}

/// What the threads of this process have computed so far, those that have ended, too.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn cpu_time() -> Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to the time that it is given, which lives until the end of this function.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    anyhow::ensure!(status == 0, std::io::Error::last_os_error());
    Ok(Duration::new(time.tv_sec.try_into()?, time.tv_nsec.try_into()?))
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn cpu_time() -> Result<Duration> {
    anyhow::bail!("CPU time is measured on Linux only")
}

/// The most memory this process ever had resident, as Linux counts it.
fn peak_rss_bytes() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes * 1024)
}
