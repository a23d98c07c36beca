//! What the operations know of a device.

use burn::backend::DispatchDevice;
use burn::tensor::Device;

/// Whether a device's tensors lie in the host's memory, so that looking at one costs nothing.
pub fn in_host_memory(device: &Device) -> bool {
    matches!(device.clone().without_autodiff().as_dispatch(), DispatchDevice::Flex(_))
}
