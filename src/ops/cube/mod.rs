//! Kernels for GPUs, written in CubeCL: compiled by the driver to CUDA on NVIDIA's and to WGSL on others.
//!
//! Every kernel gives the same bits at every run: none adds with atomics.

#[cfg(test)]
mod cuda_tests;
mod nms;
mod roi_align;
mod roi_align_backward;
mod sampling;
mod top_k;

use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{DType, FloatDType, IntDType};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use crate::ops::backend::DetectionOps;
use crate::ops::options::RoiAlignOptions;
use crate::ops::primitives::{FeatureMaps, MapShapes};

impl DetectionOps for CubeBackend {
    fn roi_align(
        maps: FeatureMaps<Self>,
        rois: FloatTensor<Self>,
        min_areas: [f32; 3],
        options: RoiAlignOptions,
    ) -> FloatTensor<Self> {
        let maps = maps.into_vec().into_iter().map(into_contiguous).collect();
        roi_align::forward(maps, floats(rois), min_areas, options)
    }

    fn roi_align_backward(
        grad: FloatTensor<Self>,
        rois: FloatTensor<Self>,
        min_areas: [f32; 3],
        shapes: MapShapes,
        options: RoiAlignOptions,
    ) -> FeatureMaps<Self> {
        roi_align_backward::backward(into_contiguous(grad), floats(rois), min_areas, shapes, options)
    }

    fn top_k(values: FloatTensor<Self>, k: usize, dtype: IntDType) -> IntTensor<Self> {
        top_k::top_k(floats(values), k, dtype.into())
    }

    fn batched_nms(
        boxes: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        groups: IntTensor<Self>,
        iou_threshold: f32,
    ) -> IntTensor<Self> {
        nms::batched_nms(floats(boxes), floats(scores), into_contiguous(groups), iou_threshold)
    }
}

/// Contiguous f32: what boxes and scores are, whatever the model computes in.
fn floats(tensor: CubeTensor) -> CubeTensor {
    into_contiguous(CubeBackend::float_cast(tensor, FloatDType::F32))
}

fn dims<const D: usize>(tensor: &CubeTensor) -> [usize; D] {
    tensor.shape().dims()
}

/// A tensor whose elements a kernel is going to write.
fn empty<const D: usize>(like: &CubeTensor, shape: [usize; D], dtype: DType) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape.into(), dtype)
}

/// As many cubes of so many units as it takes for one unit an element.
fn one_unit_each(tensor: &CubeTensor, elements: usize, units: u32) -> (CubeCount, CubeDim) {
    let cube_dim = CubeDim::new_1d(units);
    (cubecl::calculate_cube_count_elemwise(&tensor.client, elements, cube_dim), cube_dim)
}
