//! What a fused backend must know of an output before it is computed: its shape and type.

use burn::backend::fusion::custom::TensorSpec;
use burn::tensor::IntDType;

use super::{FeatureMapsMetadata, MapShapes, RoiAlignOptions};

pub(super) fn roi_align(
    maps: &FeatureMapsMetadata,
    rois: &TensorSpec,
    _min_areas: &[f32; 3],
    options: &RoiAlignOptions,
) -> TensorSpec {
    let (FeatureMapsMetadata::Single(map) | FeatureMapsMetadata::Pyramid(map, ..)) = maps;
    let (height, width) = options.output_size;
    TensorSpec::new([rois.shape[0], map.shape[1], height, width].into(), map.dtype)
}

pub(super) fn roi_align_backward(
    grad: &TensorSpec,
    _rois: &TensorSpec,
    _min_areas: &[f32; 3],
    shapes: &MapShapes,
    _options: &RoiAlignOptions,
) -> FeatureMapsMetadata {
    let map = |shape: [usize; 4]| TensorSpec::new(shape.into(), grad.dtype);
    match *shapes {
        MapShapes::Single(shape) => FeatureMapsMetadata::Single(map(shape)),
        MapShapes::Pyramid([first, second, third, fourth]) => {
            FeatureMapsMetadata::Pyramid(map(first), map(second), map(third), map(fourth))
        }
    }
}

pub(super) fn top_k(values: &TensorSpec, k: &usize, dtype: &IntDType) -> TensorSpec {
    TensorSpec::new([values.shape[0], *k].into(), (*dtype).into())
}
