//! The GPU kernels without burn's fusion around them, for the tests: what a build without fusion would call.

use burn::backend::ops::{FloatTensorOps, IntTensorOps};
use burn::tensor::{Int, IntDType, Tensor, TensorData};
use burn_cubecl::cubecl::future::block_on;
use burn_cubecl::{CubeBackend, CubeDevice};

use crate::ops::{DetectionOps, FeatureMaps, MapShapes, RoiAlignOptions, round_down};

type Floats = burn::backend::tensor::FloatTensor<CubeBackend>;

fn floats<const D: usize>(tensor: &Tensor<D>) -> Floats {
    CubeBackend::float_from_data(tensor.to_data(), &device())
}

fn device() -> CubeDevice {
    CubeDevice::Wgpu(Default::default())
}

fn read(tensor: Floats) -> Vec<f64> {
    let data: TensorData = block_on(CubeBackend::float_into_data(tensor)).unwrap();
    data.iter::<f64>().collect()
}

fn maps<const N: usize>(maps: [&Tensor<4>; N]) -> FeatureMaps<CubeBackend> {
    let mut maps = maps.into_iter().map(floats);
    let mut next = || maps.next().unwrap();
    if N == 1 { FeatureMaps::Single(next()) } else { FeatureMaps::Pyramid(next(), next(), next(), next()) }
}

pub(super) fn roi_align<const N: usize>(
    from: [&Tensor<4>; N],
    rois: &Tensor<2>,
    min_areas: [f32; 3],
    options: RoiAlignOptions,
) -> Vec<f64> {
    read(CubeBackend::roi_align(maps(from), floats(rois), min_areas, options))
}

pub(super) fn roi_align_backward(
    grad: &Tensor<4>,
    rois: &Tensor<2>,
    min_areas: [f32; 3],
    shapes: MapShapes,
    options: RoiAlignOptions,
) -> Vec<Vec<f64>> {
    let maps = CubeBackend::roi_align_backward(floats(grad), floats(rois), min_areas, shapes, options);
    maps.into_vec().into_iter().map(read).collect()
}

pub(super) fn top_k(values: &Tensor<2>, k: usize) -> Vec<i64> {
    let places = CubeBackend::top_k(floats(values), k, IntDType::I32);
    block_on(CubeBackend::int_into_data(places)).unwrap().iter::<i64>().collect()
}

pub(super) fn batched_nms(
    boxes: &Tensor<3>,
    scores: &Tensor<2>,
    groups: &Tensor<2, Int>,
    iou_threshold: f64,
) -> Vec<i64> {
    let groups = CubeBackend::int_from_data(groups.to_data(), &device());
    let keep = CubeBackend::batched_nms(floats(boxes), floats(scores), groups, round_down(iou_threshold));
    block_on(CubeBackend::int_into_data(keep)).unwrap().iter::<i64>().collect()
}
