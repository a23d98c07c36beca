//! What the operations know of a device.

use burn::backend::DispatchDevice;
use burn::tensor::Device;

/// Whether a device's tensors lie in the host's memory, so that looking at one costs nothing.
pub fn in_host_memory(device: &Device) -> bool {
    matches!(device.clone().without_autodiff().as_dispatch(), DispatchDevice::Flex(_))
}

/// Whether a device's tensors lie in a worker's memory, so that a transfer goes over a connection.
pub fn in_another_process(device: &Device) -> bool {
    #[cfg(feature = "workers")]
    return matches!(device.clone().without_autodiff().as_dispatch(), DispatchDevice::Remote(_));
    #[cfg(not(feature = "workers"))]
    {
        let _ = device;
        false
    }
}
