//! Tensors that kernels read and write, and the size of a launch.

use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, FloatDType};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::ops::permute_nchw_to_nhwc;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

/// Elements that a unit computes, each a launch's width apart, so that units next to each other read next to
/// each other.
pub(super) const ELEMENTS: usize = 4;

/// As contiguous f32. Boxes and scores are f32 whatever the model computes in.
pub(super) fn floats(tensor: CubeTensor) -> CubeTensor {
    into_contiguous(CubeBackend::float_cast(tensor, FloatDType::F32))
}

/// `[N, C, H, W]` as contiguous `[N, H, W, C]`, which is how convolutions leave it.
pub(super) fn channels_last(tensor: CubeTensor) -> CubeTensor {
    into_contiguous(permute_nchw_to_nhwc(tensor))
}

pub(super) fn dims<const D: usize>(tensor: &CubeTensor) -> [usize; D] {
    tensor.shape().dims()
}

/// A tensor whose elements a kernel is going to write.
pub(super) fn empty<const D: usize>(like: &CubeTensor, shape: [usize; D], dtype: DType) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape.into(), dtype)
}

/// A one-dimensional launch with one unit for each element, in cubes of `units`.
pub(super) fn one_unit_each(tensor: &CubeTensor, elements: usize, units: u32) -> (CubeCount, CubeDim) {
    let cube_dim = CubeDim::new_1d(units);
    (cubecl::calculate_cube_count_elemwise(&tensor.client, elements, cube_dim), cube_dim)
}

/// The first of the [`ELEMENTS`] of a unit, which are `stride` apart. Units past the first `stride` have none.
#[cube]
pub(super) fn first_element(elements: u32, stride: u32) -> usize {
    if ABSOLUTE_POS < stride as usize { ABSOLUTE_POS } else { elements as usize }
}
