//! In what precision a weight file keeps its elements.

use half::f16;

use super::names::NamedTensor;

/// How the elements of a weight file are stored. A detector computes in f32 in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// Four bytes an element, as the detector computes.
    #[default]
    F32,
    /// Two bytes an element, each rounded to the nearest one: 11 significant bits, up to 65,504.
    F16,
}

impl Precision {
    /// What safetensors calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
        }
    }

    /// Bytes of an element.
    pub(super) fn width(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }

    /// The elements as a file has them.
    pub(super) fn bytes(self, tensor: &NamedTensor) -> Vec<u8> {
        let values = tensor.values.iter();
        match self {
            Self::F32 => values.flat_map(|value| value.to_le_bytes()).collect(),
            Self::F16 => values.flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
        }
    }

    /// The first element that is finite, but too large to be stored.
    pub(super) fn too_large(self, tensor: &NamedTensor) -> Option<f32> {
        let overflows = |value: &&f32| value.is_finite() && f16::from_f32(**value).is_infinite();
        match self {
            Self::F32 => None,
            Self::F16 => tensor.values.iter().find(overflows).copied(),
        }
    }
}
