//! The layouts of weight files.

use std::fmt;

/// How a file of tensors is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// safetensors.
    Safetensors,
    /// What `torch.save` writes since PyTorch 1.6: a pickle and the tensors' storages in a zip archive.
    PytorchZip,
    /// What `torch.save` wrote before: pickles, then the storages.
    PytorchLegacy,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::PytorchZip => "PyTorch, zip",
            Self::PytorchLegacy => "PyTorch, legacy",
        })
    }
}
