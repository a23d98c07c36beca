//! A device for the tests of the GPU's kernels, shared with those in the crate.

use burn::tensor::Device;

/// A GPU (a software one will do), in a build that has kernels for one; NVIDIA's where both are built.
#[cfg(feature = "cuda")]
pub fn gpu() -> Option<Device> {
    let found = !Device::enumerate(burn::tensor::DeviceType::Cuda).is_empty();
    if !found {
        println!("skipped: no device for the feature `cuda`");
    }
    found.then(|| Device::cuda(0))
}

#[cfg(all(feature = "wgpu", not(feature = "cuda")))]
pub fn gpu() -> Option<Device> {
    let found = !Device::enumerate(burn::tensor::DeviceType::Wgpu).is_empty();
    if !found {
        println!(
            "skipped: no device for the feature `wgpu`; Debian's mesa-vulkan-drivers has a software one"
        );
    }
    found.then(|| Device::wgpu(burn::tensor::DeviceKind::DefaultDevice))
}

#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
pub fn gpu() -> Option<Device> {
    println!("skipped: the GPU kernels, in a build without the features `wgpu` and `cuda`");
    None
}
