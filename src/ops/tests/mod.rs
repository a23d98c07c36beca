//! Each operation against its reference, on each device and with each instruction set there is; its gradients
//! against finite differences, too.

mod boxes;
mod convolution;
#[path = "../../../tests/common/gpu.rs"]
mod gpu;
mod layers;
mod reference;

#[cfg(feature = "workers")]
use std::{net::TcpListener, thread};

use burn::tensor::{Device, Int, Tensor, TensorData};
#[cfg(feature = "workers")]
use burn::{backend::Flex, backend::ir::BackendIr, remote::RemoteHost};
#[cfg(all(feature = "workers", feature = "wgpu"))]
use burn_cubecl::{CubeBackend, CubeDevice};
#[cfg(feature = "workers")]
use burn_remote::server::{BackendServer, WebSocketTransport};
use pulp::Arch;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::cpu::simd;
#[cfg(feature = "workers")]
use super::{backend::DetectionOps, deferred::remote::registry};
use gpu::gpu;
use reference::Array;

/// Largest difference allowed, over the largest element expected (at least 1). The sums here have
/// at most some thousand f32 products, whose rounding errors of 6e-8 each mostly cancel.
const TOLERANCE: f64 = 1e-5;

/// Where a test runs an operation.
struct Place {
    device: Device,
    /// For the CPU: another instruction set than the widest one.
    arch: Option<Arch>,
}

/// All places that every operation is tested on: the CPU with each instruction set that the processor has, a
/// GPU (a software one will do) where burn fuses operations, and both again as devices of a server, the GPU
/// without fusion.
///
/// The matrix products of a convolution are the `gemm` crate's, which takes the widest instruction set in any
/// case. `tests/instruction_sets` runs the tests on emulated processors, where it cannot.
struct Places(Vec<Place>);

impl Places {
    fn new() -> Self {
        let mut devices = vec![Device::flex()];
        #[cfg(feature = "workers")]
        devices.push(remote::<Flex>(Default::default()));
        #[cfg(not(feature = "workers"))]
        println!("skipped: remote devices, in a build without the feature `workers`");
        if let Some(gpu) = gpu() {
            // The references are exact.
            #[cfg(feature = "cube")]
            super::set_allow_tf32(false);
            devices.push(gpu);
            #[cfg(all(feature = "workers", feature = "wgpu"))]
            devices.push(remote::<CubeBackend>(CubeDevice::Wgpu(Default::default())));
        }
        let mut places: Vec<Place> = devices.into_iter().map(|device| Place { device, arch: None }).collect();
        let narrower = simd::narrower().into_iter();
        places.extend(narrower.map(|arch| Place { device: Device::flex(), arch: Some(arch) }));
        Self(places)
    }

    fn for_each(&self, test: impl Fn(&Device) + Send + Sync) {
        for Place { device, arch } in &self.0 {
            match arch {
                None => test(device),
                Some(arch) => {
                    println!("with {arch:?}");
                    threads(rayon::current_num_threads(), Some(*arch)).install(|| test(device));
                }
            }
        }
    }
}

/// A separate thread pool, with its own instruction set.
fn threads(count: usize, arch: Option<Arch>) -> ThreadPool {
    let builder = ThreadPoolBuilder::new().num_threads(count);
    builder.start_handler(move |_| simd::choose(arch)).build().unwrap()
}

/// A device of a backend, served by this process as a worker serves its own.
#[cfg(feature = "workers")]
fn remote<B: BackendIr + DetectionOps>(device: B::Device) -> Device {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = RemoteHost::websocket(&format!("ws://{}", listener.local_addr().unwrap()));
    let server = BackendServer::<B>::new([device]).with_custom_ops(registry());
    thread::spawn(move || server.serve(WebSocketTransport::from_listener(listener)).unwrap());
    Device::remote_options(&host).init().unwrap()
}

/// Deterministic test data on a device.
struct Source {
    rng: ChaCha8Rng,
    device: Device,
}

impl Source {
    fn new(device: &Device) -> Self {
        println!("on {device:?}");
        Self { rng: ChaCha8Rng::seed_from_u64(7), device: device.clone() }
    }

    fn tensor<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values, shape), &self.device)
    }

    /// Uniform in -1..1.
    fn random<const D: usize>(&mut self, shape: [usize; D]) -> Tensor<D> {
        let values = (0..shape.iter().product()).map(|_| self.rng.random_range(-1.0..1.0)).collect();
        self.tensor(values, shape)
    }

    /// Boxes of which some reach out of an image of `size` x `size`.
    fn boxes(&mut self, count: usize, size: f32) -> Vec<[f32; 4]> {
        let mut side = |range: std::ops::Range<f32>| size * self.rng.random_range(range);
        (0..count)
            .map(|_| {
                let (x, y) = (side(-0.3..1.0), side(-0.3..1.0));
                [x, y, x + side(0.01..0.6), y + side(0.01..0.6)]
            })
            .collect()
    }
}

/// A copy on a device.
fn on<const D: usize>(device: &Device, tensor: &Tensor<D>) -> Tensor<D> {
    Tensor::from_data(tensor.to_data(), device)
}

/// The same values, the last two axes exchanged in memory.
fn non_contiguous<const D: usize>(tensor: &Tensor<D>) -> Tensor<D> {
    let transposed = tensor.clone().swap_dims(D - 2, D - 1).into_data();
    Tensor::<D>::from_data(transposed, &tensor.device()).swap_dims(D - 2, D - 1)
}

fn floats<const D: usize>(tensor: &Tensor<D>) -> Vec<f64> {
    Array::from(tensor).values
}

fn integers<const D: usize>(tensor: &Tensor<D, Int>) -> Vec<i64> {
    tensor.to_data().iter::<i64>().collect()
}

fn assert_close(actual: &[f64], expected: &[f64], what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0_f64, |scale, value| scale.max(value.abs()));
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        // NaN is not below anything, so it fails.
        let close = (actual - expected).abs() <= TOLERANCE * scale;
        assert!(close, "{what}, element {index}: {actual}, expected {expected}");
    }
}

/// Two runs, and one on a single thread, give the same bits.
fn assert_repeatable<const D: usize>(function: impl Fn() -> Tensor<D> + Sync, what: &str) {
    let bits = || -> Vec<u64> { floats(&function()).into_iter().map(f64::to_bits).collect() };
    let first = bits();
    assert_eq!(first, bits(), "{what}, second run");
    assert_eq!(first, threads(1, simd::chosen()).install(bits), "{what}, one thread");
}

/// The gradient of `sum(grad * function(at))`. It enters `function`'s backward pass transposed in
/// memory, as gradients often do.
fn gradient<const D: usize>(
    function: impl Fn(Tensor<D>) -> Tensor<4>,
    at: &Tensor<D>,
    grad: &Tensor<4>,
) -> Tensor<D> {
    let device = at.device().autodiff();
    let at = on(&device, at).require_grad();
    let grad = Tensor::<4>::from_data(grad.clone().swap_dims(2, 3).to_data(), &device);
    let gradients = (function(at.clone()).swap_dims(2, 3) * grad).sum().backward();
    at.grad(&gradients).expect("the operation is differentiable here")
}

/// A gradient is what central differences of an f64 function give, which are exact to 1e-8; of up to 1,000
/// elements.
fn assert_differences<const D: usize>(
    gradient: &Tensor<D>,
    at: &Array<D>,
    function: impl Fn(&Array<D>) -> f64,
    what: &str,
) {
    const STEP: f64 = 1e-4;
    let mut moved = at.clone();
    let mut difference = |index: usize| {
        moved.values[index] = at.values[index] + STEP;
        let above = function(&moved);
        moved.values[index] = at.values[index] - STEP;
        let below = function(&moved);
        moved.values[index] = at.values[index];
        (above - below) / (2.0 * STEP)
    };
    let stride = at.values.len().div_ceil(1000).max(1);
    let expected: Vec<f64> = (0..at.values.len()).step_by(stride).map(&mut difference).collect();
    let actual: Vec<f64> = floats(gradient).into_iter().step_by(stride).collect();
    assert_close(&actual, &expected, &format!("{what}, central differences"));
}
