//! Tensors of one backend that go into an operation, or come out of it, together.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, ExtensionType};
use burn::tensor::Tensor;

/// [`Fused::residual`] on a backend. burn routes enums of tensors to a backend, but not an `Option` of one.
#[derive(Debug, Clone, ExtensionType)]
pub enum Residual<B: Backend> {
    /// Nothing.
    None,
    /// A tensor of the output's shape.
    Add(FloatTensor<B>),
}

impl<B: Backend> Residual<B> {
    pub(super) fn into_option(self) -> Option<FloatTensor<B>> {
        match self {
            Self::None => None,
            Self::Add(tensor) => Some(tensor),
        }
    }
}

impl From<Option<Tensor<4>>> for Residual<Dispatch> {
    fn from(residual: Option<Tensor<4>>) -> Self {
        residual.map_or(Self::None, |residual| Self::Add(residual.into_dispatch()))
    }
}

/// What RoIAlign pools from, or the gradient of that, each map `[N, C, H, W]`.
#[derive(Debug, Clone, ExtensionType)]
pub enum FeatureMaps<B: Backend> {
    /// One map.
    Single(FloatTensor<B>),
    /// Four maps, each half as fine as the one before.
    Pyramid(FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>),
}

/// Shapes of `FeatureMaps`.
#[derive(Debug, Clone, Copy)]
pub enum MapShapes {
    /// Of one map.
    Single([usize; 4]),
    /// Of four.
    Pyramid([[usize; 4]; 4]),
}

impl<B: Backend> FeatureMaps<B> {
    /// The maps, finest first.
    pub fn into_vec(self) -> Vec<FloatTensor<B>> {
        match self {
            Self::Single(map) => vec![map],
            Self::Pyramid(first, second, third, fourth) => vec![first, second, third, fourth],
        }
    }
}

impl MapShapes {
    /// The shapes, finest first.
    pub fn as_slice(&self) -> &[[usize; 4]] {
        match self {
            Self::Single(shape) => std::slice::from_ref(shape),
            Self::Pyramid(shapes) => shapes,
        }
    }

    /// Makes a map of each shape.
    pub fn maps<B: Backend>(&self, mut map: impl FnMut([usize; 4]) -> FloatTensor<B>) -> FeatureMaps<B> {
        match *self {
            Self::Single(shape) => FeatureMaps::Single(map(shape)),
            Self::Pyramid([first, second, third, fourth]) => {
                FeatureMaps::Pyramid(map(first), map(second), map(third), map(fourth))
            }
        }
    }
}
