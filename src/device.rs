//! Devices by name.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
use burn::tensor::DeviceType;

use crate::error::{Error, Result};

/// Where to compute: `cpu`, `cuda:N` (`cuda` is `cuda:0`) or `wgpu`.
///
/// burn panics if it starts a device that does not exist. This checks first, and says in one sentence what is
/// missing:
///
/// ```
/// # fn main() -> faster_rcnn::Result<()> {
/// let device = "cpu".parse::<faster_rcnn::DeviceName>()?.open()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceName {
    /// All cores of the processor.
    Cpu,
    /// An NVIDIA GPU, counted from 0. Needs the Cargo feature `cuda`.
    Cuda(usize),
    /// The fastest GPU that wgpu finds. Needs the Cargo feature `wgpu`.
    Wgpu,
}

impl DeviceName {
    /// The device.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] where there is no such device, its driver is missing, or its Cargo feature is not
    /// built in.
    pub fn open(self) -> Result<Device> {
        self.check_is_built()?;
        match self {
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => cuda(index),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => wgpu(),
            // Others are not built in.
            _ => Ok(Device::flex()),
        }
    }

    fn check_is_built(self) -> Result<()> {
        let (feature, is_built) = match self {
            Self::Cpu => return Ok(()),
            Self::Cuda(_) => ("cuda", cfg!(feature = "cuda")),
            Self::Wgpu => ("wgpu", cfg!(feature = "wgpu")),
        };
        if is_built {
            return Ok(());
        }
        let message =
            format!("{self} needs the Cargo feature `{feature}`, which this program was built without");
        Err(Error::Device(message))
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Wgpu => f.write_str("wgpu"),
        }
    }
}

impl FromStr for DeviceName {
    type Err = Error;

    /// # Errors
    ///
    /// [`Error::Device`] for another name, and for a device whose Cargo feature is not built in.
    fn from_str(name: &str) -> Result<Self> {
        let device = match name {
            "cpu" => Some(Self::Cpu),
            "cuda" => Some(Self::Cuda(0)),
            "wgpu" => Some(Self::Wgpu),
            _ => name.strip_prefix("cuda:").and_then(|index| index.parse().ok()).map(Self::Cuda),
        };
        let unknown = || Error::Device(format!("`{name}` is no device: expected cpu, cuda, cuda:N or wgpu"));
        let device = device.ok_or_else(unknown)?;
        device.check_is_built()?;
        Ok(device)
    }
}

#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<Device> {
    // Without the driver's library this is an empty list. Everything else that burn does with CUDA panics
    // then.
    let count = Device::enumerate(DeviceType::Cuda).len();
    if index < count {
        return Ok(Device::cuda(index));
    }
    Err(Error::Device(match count {
        0 => format!("cuda:{index}: there is no NVIDIA GPU, or its driver (libcuda) is not installed"),
        1 => format!("cuda:{index}: there is one NVIDIA GPU, cuda:0"),
        _ => format!("cuda:{index}: there are {count} NVIDIA GPUs, cuda:0 to cuda:{}", count - 1),
    }))
}

#[cfg(feature = "wgpu")]
fn wgpu() -> Result<Device> {
    if Device::enumerate(DeviceType::Wgpu).is_empty() {
        return Err(Error::Device("wgpu: there is no GPU that wgpu can use".to_string()));
    }
    Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_are_printed_and_others_are_refused() {
        assert_eq!("cpu".parse::<DeviceName>().unwrap(), DeviceName::Cpu);
        for device in [DeviceName::Cpu, DeviceName::Cuda(7), DeviceName::Wgpu] {
            match device.to_string().parse::<DeviceName>() {
                Ok(same) => assert_eq!(same, device),
                Err(error) => assert!(error.to_string().contains("needs the Cargo feature"), "{error}"),
            }
        }
        for name in ["", "CPU", "gpu", "cuda:", "cuda:-1", "cuda:x", "wgpu:0"] {
            let error = name.parse::<DeviceName>().unwrap_err();
            assert!(error.to_string().contains("expected cpu, cuda, cuda:N or wgpu"), "{error}");
        }
    }

    /// On any machine, with and without GPUs: a device, or a sentence.
    #[test]
    fn a_device_that_is_not_there_is_an_error() {
        assert!(DeviceName::Cpu.open().is_ok());
        let error = DeviceName::Cuda(9999).open().unwrap_err();
        assert!(matches!(&error, Error::Device(message) if message.starts_with("cuda:9999")), "{error}");
        if let Err(error) = DeviceName::Wgpu.open() {
            assert!(matches!(&error, Error::Device(message) if message.starts_with("wgpu")), "{error}");
        }
    }
}
