//! Every kernel as CUDA C++, compiled by NVIDIA's compiler for the architectures that matter: no GPU is
//! needed.
//!
//! `CUDA_PATH` names the folder of a CUDA toolkit, of which `lib/libnvrtc.so.*`, `include` and `bin/ptxas`
//! are used; that of PyPI's packages `nvidia-cuda-nvrtc`, `nvidia-cuda-nvcc` and `nvidia-cuda-runtime` will
//! do.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use burn::backend::cubecl::dtype_to_storage_type;
use burn::tensor::DType;
use cubecl::Compiler;
use cubecl::features::Features;
use cubecl::ir::{DeviceIdentity, DeviceProperties, HardwareProperties, MemoryDeviceProperties};
use cubecl::prelude::*;
use cubecl_cpp::shared::{CompilationOptions, CppCompiler, register_supported_types};
use cubecl_cpp::target::Cuda;
use libloading::{Library, Symbol};

use super::epilogue::{add_residual, clip_below};
use super::nms::{compare_boxes, sweep_rows};
use super::norm::{apply, gradient};
use super::roi_align::roi_align_forward;
use super::roi_align_backward::{boxes_of_tiles, gather_tiles};
use super::sampling::Sampling;
use super::sums::{Term, add_pixels};
use super::top_k::{self, sort_rows};

/// Turing, the A10G's Ampere, Hopper (`a`: as CubeCL has NVRTC compile from there on).
const ARCHITECTURES: [&str; 3] = ["sm_75", "sm_86", "sm_90a"];

/// The properties of an imaginary device, which supports everything that the compiler knows.
fn properties() -> Arc<DeviceProperties> {
    let hardware = HardwareProperties {
        load_width: 128,
        vector_register_count: None,
        plane_size_min: 32,
        plane_size_max: 32,
        max_bindings: 32,
        max_shared_memory_size: 48 << 10,
        max_cube_count: (i32::MAX as u32, 65535, 65535),
        max_units_per_cube: 1024,
        max_cube_dim: (1024, 1024, 64),
        num_streaming_multiprocessors: None,
        num_tensor_cores: None,
        min_tensor_cores_dim: None,
        num_cpu_cores: None,
        last_level_cache_size: None,
        max_vector_size: 16,
        cube_mma_reserved_shared_memory: 0,
    };
    let identity = DeviceIdentity { name: String::new(), fingerprint: String::new(), physical: None };
    let mut properties = DeviceProperties::new(
        Features::default(),
        MemoryDeviceProperties::new(u64::MAX, 256),
        hardware,
        cubecl::profile::TimingMethod::Device,
        identity,
    );
    register_supported_types(&mut properties);
    Arc::new(properties)
}

/// Each kernel in each of the types it is used with, with a name for the report.
fn kernels() -> Vec<(String, Box<dyn CubeKernel>)> {
    fn scalars<T: FromIterator<()>>(count: usize) -> T {
        std::iter::repeat_n((), count).collect()
    }
    let properties = properties();
    let buffer = || BufferCompilationArg { inplace: None };
    let maps = || (0..4).map(|_| buffer()).collect();

    let mut kernels: Vec<(String, Box<dyn CubeKernel>)> = Vec::new();
    // The arguments are those of the kernel. Of a number, only the type is known at compile time.
    macro_rules! add {
        ($name:expr, $kernel:ty, $units:expr, $($argument:expr),+) => {
            let cube_dim = *CubeDim::new_1d($units as u32);
            let settings = KernelSettings::new(cube_dim, ExecutionMode::Checked, AddressType::U32);
            let target = Arc::new(TargetProperties::default());
            let kernel = <$kernel>::new(settings, properties.clone(), target, $($argument),+);
            kernels.push(($name, Box::new(kernel)));
        };
    }
    let fixed = Sampling { bins_y: 7, bins_x: 7, ratio: 2, aligned: false };
    let adaptive = Sampling { ratio: 0, aligned: true, ..fixed };
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let (elem, name) = (dtype_to_storage_type(dtype), dtype.name());
        let add_and_relu = format!("add_residual {name}");
        add!(add_and_relu, add_residual::AddResidual, 256, buffer(), buffer(), (), (), true, elem);
        add!(format!("clip_below {name}"), clip_below::ClipBelow, 256, buffer(), (), (), elem);
        for term in [Term::Value, Term::Square, Term::Product] {
            add!(
                format!("add_pixels {name} {term:?}"),
                add_pixels::AddPixels,
                256,
                buffer(),
                buffer(),
                buffer(),
                buffer(),
                (),
                (),
                (),
                term,
                elem,
                elem
            );
        }
        for (has_residual, relu) in [(false, false), (true, true)] {
            add!(
                format!("apply {name} {has_residual}"),
                apply::Apply,
                256,
                buffer(),
                buffer(),
                buffer(),
                buffer(),
                buffer(),
                buffer(),
                (),
                (),
                (),
                (),
                has_residual,
                relu,
                elem
            );
        }
        add!(
            format!("gradient {name}"),
            gradient::Gradient,
            256,
            buffer(),
            buffer(),
            buffer(),
            buffer(),
            buffer(),
            buffer(),
            buffer(),
            (),
            (),
            (),
            (),
            elem
        );
    }
    for (kind, sampling) in [("2 samples", fixed), ("adaptive", adaptive)] {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let (elem, name) = (dtype_to_storage_type(dtype), dtype.name());
            add!(
                format!("roi_align_forward {name} {kind}"),
                roi_align_forward::RoiAlignForward,
                256,
                maps(),
                buffer(),
                buffer(),
                scalars(4),
                scalars(4),
                scalars(3),
                (),
                (),
                (),
                sampling,
                elem
            );
            add!(
                format!("gather_tiles {name} {kind}"),
                gather_tiles::GatherTiles,
                256,
                buffer(),
                buffer(),
                buffer(),
                maps(),
                scalars(4),
                scalars(4),
                (),
                (),
                (),
                (),
                (),
                sampling,
                elem
            );
        }
        add!(
            format!("boxes_of_tiles {kind}"),
            boxes_of_tiles::BoxesOfTiles,
            256,
            buffer(),
            buffer(),
            scalars(4),
            scalars(4),
            scalars(3),
            (),
            (),
            (),
            sampling
        );
    }
    for dtype in [DType::I32, DType::I64, DType::U32] {
        let (elem, name) = (dtype_to_storage_type(dtype), dtype.name());
        add!(
            format!("sort_rows {name}"),
            sort_rows::SortRows,
            top_k::UNITS,
            buffer(),
            buffer(),
            buffer(),
            (),
            (),
            elem
        );
        add!(
            format!("compare_boxes {name}"),
            compare_boxes::CompareBoxes,
            256,
            buffer(),
            buffer(),
            buffer(),
            buffer(),
            (),
            (),
            elem
        );
        add!(
            format!("sweep_rows {name}"),
            sweep_rows::SweepRows,
            256,
            buffer(),
            buffer(),
            buffer(),
            buffer(),
            buffer(),
            (),
            elem
        );
    }
    kernels
}

#[test]
fn kernels_compile_for_nvidias_gpus_and_do_not_spill() {
    let Some(cuda) = std::env::var_os("CUDA_PATH").map(PathBuf::from) else {
        println!("skipped: CUDA_PATH is not set to a folder with NVIDIA's compiler");
        return;
    };
    let nvrtc = Nvrtc::open(&cuda);
    let folder = tempfile::tempdir().unwrap();
    println!("{:36}{:>10}{:>10}{:>8}{:>8}", "kernel", "for", "registers", "spilled", "shared");
    for (name, kernel) in kernels() {
        let compiled = CppCompiler::<Cuda>::default()
            .compile(kernel.define(), &CompilationOptions::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        for architecture in ARCHITECTURES {
            let ptx = nvrtc
                .compile(&compiled.source, architecture)
                .unwrap_or_else(|log| panic!("{name} for {architecture}: {log}\n{}", compiled.source));
            let file = folder.path().join("kernel.ptx");
            std::fs::write(&file, ptx).unwrap();
            let assembled = Command::new(cuda.join("bin/ptxas"))
                .args(["--verbose", "--gpu-name", architecture, "--output-file"])
                .args([folder.path().join("kernel.cubin"), file])
                .output()
                .expect("ptxas runs");
            let report = String::from_utf8(assembled.stderr).unwrap();
            assert!(assembled.status.success(), "{name} for {architecture}: {report}");
            let registers = number_before(&report, " registers");
            let spilled =
                number_before(&report, " bytes spill stores") + number_before(&report, " bytes spill loads");
            let shared = compiled.shared_memory_size;
            println!("{name:36}{architecture:>10}{registers:>10}{spilled:>8}{shared:>8}");
            assert_eq!(spilled, 0, "{name} for {architecture} spills: {report}");
            assert!(shared <= 48 << 10, "{name} needs {shared} bytes of shared memory");
        }
    }
}

/// The number that stands before some words in the assembler's report.
fn number_before(report: &str, words: &str) -> usize {
    let end = report.find(words).unwrap_or_else(|| panic!("no `{words}` in {report}"));
    let number = report[..end].rsplit(|letter: char| !letter.is_ascii_digit()).next();
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no number in {report}"))
}

/// NVIDIA's compiler of CUDA C++ to PTX, as a library.
struct Nvrtc {
    library: Library,
    include: CString,
}

impl Nvrtc {
    fn open(cuda: &Path) -> Self {
        let entries = std::fs::read_dir(cuda.join("lib")).expect("CUDA_PATH has a folder lib");
        let mut files = entries.map(|entry| entry.unwrap().path());
        let is_compiler = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libnvrtc.so"))
        };
        let path = files.find(is_compiler).expect("CUDA_PATH/lib holds libnvrtc.so");
        // SAFETY: a library of NVIDIA's, whose loading has no conditions.
        let library = unsafe { Library::new(path) }.unwrap();
        let include = format!("--include-path={}", cuda.join("include").display());
        Self { library, include: CString::new(include).unwrap() }
    }

    /// PTX, or what the compiler has to say.
    fn compile(&self, source: &str, architecture: &str) -> Result<Vec<u8>, String> {
        type Program = *mut c_void;
        let source = CString::new(source).unwrap();
        let architecture = CString::new(format!("--gpu-architecture={architecture}")).unwrap();
        let options = [architecture.as_ptr(), self.include.as_ptr()];
        // SAFETY: the signatures are those of nvrtc.h; strings end in 0 and outlive the calls, and each
        // buffer is as large as the compiler says beforehand.
        unsafe {
            let text = |size: &[u8], copy: &[u8], program: Program| -> Vec<u8> {
                let size: Symbol<unsafe extern "C" fn(Program, *mut usize) -> c_int> =
                    self.library.get(size).unwrap();
                let copy: Symbol<unsafe extern "C" fn(Program, *mut c_char) -> c_int> =
                    self.library.get(copy).unwrap();
                let mut length = 0;
                assert_eq!(size(program, &mut length), 0);
                let mut text = vec![0_u8; length];
                assert_eq!(copy(program, text.as_mut_ptr().cast()), 0);
                CStr::from_bytes_until_nul(&text).unwrap().to_bytes().to_vec()
            };
            type Create = unsafe extern "C" fn(
                *mut Program,
                *const c_char,
                *const c_char,
                c_int,
                *const *const c_char,
                *const *const c_char,
            ) -> c_int;
            let create: Symbol<Create> = self.library.get(b"nvrtcCreateProgram").unwrap();
            let compile: Symbol<unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int> =
                self.library.get(b"nvrtcCompileProgram").unwrap();
            let destroy: Symbol<unsafe extern "C" fn(*mut Program) -> c_int> =
                self.library.get(b"nvrtcDestroyProgram").unwrap();
            let (mut program, none) = (std::ptr::null_mut(), std::ptr::null());
            assert_eq!(create(&mut program, source.as_ptr(), std::ptr::null(), 0, none, none), 0);
            let compiled = compile(program, options.len() as c_int, options.as_ptr()) == 0;
            let result = if compiled {
                Ok(text(b"nvrtcGetPTXSize", b"nvrtcGetPTX", program))
            } else {
                let log = text(b"nvrtcGetProgramLogSize", b"nvrtcGetProgramLog", program);
                Err(String::from_utf8_lossy(&log).into_owned())
            };
            destroy(&mut program);
            result
        }
    }
}
