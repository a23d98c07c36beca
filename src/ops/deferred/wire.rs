//! How the call of an operation is noted: as burn's `CustomOpIr`, that is a name, the tensors that go in and
//! come out, and the options as a list of scalars; and how a noted call runs.
//!
//! A worker of another build must understand the same notes, so their form has a version, [`WIRE_VERSION`]. A
//! test compares samples with the form of that version.

use burn::backend::ir::{BackendIr, CustomOpIr, HandleContainer, ScalarIr, TensorId, TensorIr};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{IntDType, Shape};

use super::scalars::{Scalars, Wire};
use crate::ops::backend::DetectionOps;
use crate::ops::options::{NormOptions, PoolOptions, RoiAlignOptions, conv2d_shape, pool_shape};
use crate::ops::primitives::{FeatureMaps, MapShapes, Residual};

/// The version of the names and scalars of [`Call`], and of what else workers are told. Raise it when they
/// change.
#[cfg(any(test, feature = "workers"))]
pub(crate) const WIRE_VERSION: u32 = 2;

/// From one list of the operations: the type [`Call`], the names, and the way to scalars and back.
macro_rules! calls {
    ($($name:literal => $call:ident { $($option:ident: $type:ty),* },)*) => {
        /// One call of an operation, with its options but without its tensors.
        #[derive(Debug, Clone)]
        pub(super) enum Call {
            $($call { $($option: $type),* },)*
        }

        /// The names of all operations.
        #[cfg(any(test, feature = "workers"))]
        pub(super) const NAMES: &[&str] = &[$($name),*];

        impl Call {
            fn name(&self) -> &'static str {
                match self {
                    $(Self::$call { .. } => $name,)*
                }
            }

            #[allow(unused_variables, reason = "an operation without options has no scalars")]
            fn encode(&self, scalars: &mut Vec<ScalarIr>) {
                match self {
                    $(Self::$call { $($option),* } => { $($option.encode(scalars);)* })*
                }
            }

            #[allow(unused_variables, reason = "an operation without options has no scalars")]
            fn decode(name: &str, scalars: &mut Scalars) -> Self {
                match name {
                    $($name => Self::$call { $($option: <$type>::decode(scalars)),* },)*
                    _ => panic!("no operation is called {name}"),
                }
            }
        }
    };
}

calls! {
    "faster_rcnn::roi_align" => RoiAlign { min_areas: [f32; 3], options: RoiAlignOptions },
    "faster_rcnn::roi_align_backward" => RoiAlignBackward {
        shapes: MapShapes, min_areas: [f32; 3], options: RoiAlignOptions
    },
    "faster_rcnn::top_k" => TopK { k: usize, dtype: IntDType },
    "faster_rcnn::batched_nms" => BatchedNms { iou_threshold: f32 },
    "faster_rcnn::convolution" => Convolution { relu: bool, options: ConvOptions<2> },
    "faster_rcnn::convolution_input_backward" => ConvolutionInputBackward {
        shape: [usize; 4], options: ConvOptions<2>
    },
    "faster_rcnn::convolution_weight_backward" => ConvolutionWeightBackward {
        shape: [usize; 4], options: ConvOptions<2>
    },
    "faster_rcnn::convolution_bias_backward" => ConvolutionBiasBackward {},
    "faster_rcnn::max_pool" => MaxPool { options: PoolOptions },
    "faster_rcnn::max_pool_backward" => MaxPoolBackward { options: PoolOptions },
    "faster_rcnn::normalize" => Normalize { relu: bool, options: NormOptions },
    "faster_rcnn::normalize_backward" => NormalizeBackward { options: NormOptions },
}

impl Call {
    /// Notes the call with `inputs`: in the order of the operation's arguments, the maps of a pyramid one by
    /// one, a residual last.
    pub fn describe(&self, inputs: &[TensorIr], mut new_id: impl FnMut() -> TensorId) -> CustomOpIr {
        let first = &inputs[0];
        let mut output = |shape: &[usize], like: &TensorIr| {
            TensorIr::uninit(new_id(), Shape::from(shape.to_vec()), like.dtype)
        };
        let dims = |tensor: &TensorIr| -> [usize; 4] { tensor.shape.dims() };
        let outputs = match self {
            Self::RoiAlign { options, .. } => {
                let rois = inputs.last().expect("maps and boxes");
                let (height, width) = options.output_size;
                vec![output(&[rois.shape[0], first.shape[1], height, width], first)]
            }
            Self::RoiAlignBackward { shapes, .. } => {
                shapes.as_slice().iter().map(|shape| output(shape, first)).collect()
            }
            Self::TopK { k, dtype } => {
                vec![TensorIr::uninit(new_id(), Shape::from(vec![first.shape[0], *k]), (*dtype).into())]
            }
            Self::BatchedNms { .. } => vec![output(&inputs[2].shape.to_vec(), &inputs[2])],
            Self::Convolution { options, .. } => {
                vec![output(&conv2d_shape(dims(first), dims(&inputs[1]), options), first)]
            }
            Self::ConvolutionInputBackward { shape, .. } | Self::ConvolutionWeightBackward { shape, .. } => {
                vec![output(shape, first)]
            }
            Self::ConvolutionBiasBackward {} => vec![output(&[first.shape[1]], first)],
            Self::MaxPool { options } => vec![output(&pool_shape(dims(first), *options), first)],
            Self::MaxPoolBackward { .. } => vec![output(&dims(first), first)],
            Self::Normalize { options, .. } => {
                let [batch, channels, ..] = dims(first);
                let sets = options.groups.map_or(channels, |groups| batch * groups);
                vec![output(&dims(first), first), output(&[sets], first), output(&[sets], first)]
            }
            Self::NormalizeBackward { .. } => {
                let channels = first.shape[1];
                vec![output(&dims(first), first), output(&[channels], first), output(&[channels], first)]
            }
        };
        let mut scalars = Vec::new();
        self.encode(&mut scalars);
        CustomOpIr::with_scalars(self.name(), inputs, &outputs, scalars)
    }
}

/// Runs a noted call on the tensors of `handles`.
pub(super) fn execute<B: BackendIr + DetectionOps>(
    handles: &mut HandleContainer<B::Handle>,
    description: &CustomOpIr,
) {
    let inputs = &description.inputs;
    let mut float = |place: usize| handles.get_float_tensor::<B>(&inputs[place]);
    let floats = match Call::decode(&description.id, &mut Scalars(description.scalars.iter())) {
        Call::RoiAlign { min_areas, options } => {
            let maps = match inputs.len() {
                2 => FeatureMaps::Single(float(0)),
                _ => FeatureMaps::Pyramid(float(0), float(1), float(2), float(3)),
            };
            vec![B::roi_align(maps, float(inputs.len() - 1), min_areas, options)]
        }
        Call::RoiAlignBackward { shapes, min_areas, options } => {
            B::roi_align_backward(float(0), float(1), min_areas, shapes, options).into_vec()
        }
        Call::TopK { k, dtype } => {
            let columns = B::top_k(float(0), k, dtype);
            return handles.register_int_tensor::<B>(&description.outputs[0].id, columns);
        }
        Call::BatchedNms { iou_threshold } => {
            let (boxes, scores) = (float(0), float(1));
            let groups = handles.get_int_tensor::<B>(&inputs[2]);
            let keep = B::batched_nms(boxes, scores, groups, iou_threshold);
            return handles.register_int_tensor::<B>(&description.outputs[0].id, keep);
        }
        Call::Convolution { relu, options } => {
            let (x, weight, bias) = (float(0), float(1), float(2));
            let residual = if inputs.len() > 3 { Residual::Add(float(3)) } else { Residual::None };
            vec![B::convolution(x, weight, bias, residual, relu, options)]
        }
        Call::ConvolutionInputBackward { shape, options } => {
            vec![B::convolution_input_backward(float(0), float(1), shape, options)]
        }
        Call::ConvolutionWeightBackward { shape, options } => {
            vec![B::convolution_weight_backward(float(0), float(1), shape, options)]
        }
        Call::ConvolutionBiasBackward {} => vec![B::convolution_bias_backward(float(0))],
        Call::MaxPool { options } => vec![B::max_pool(float(0), options)],
        Call::MaxPoolBackward { options } => {
            vec![B::max_pool_backward(float(0), float(1), float(2), options)]
        }
        Call::Normalize { relu, options } => {
            let (x, gamma, beta) = (float(0), float(1), float(2));
            let residual = if inputs.len() > 3 { Residual::Add(float(3)) } else { Residual::None };
            let (output, mean, variance) = B::normalize(x, gamma, beta, residual, relu, options);
            vec![output, mean, variance]
        }
        Call::NormalizeBackward { options } => {
            let (x, gamma, beta) =
                B::normalize_backward(float(0), float(1), float(2), float(3), float(4), options);
            vec![x, gamma, beta]
        }
    };
    for (output, tensor) in description.outputs.iter().zip(floats) {
        handles.register_float_tensor::<B>(&output.id, tensor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each call, with options that all differ.
    fn samples() -> Vec<Call> {
        let (min_areas, shape) = ([1.5, 2.5, 3.5], [2, 3, 5, 7]);
        let options =
            RoiAlignOptions { output_size: (7, 6), spatial_scale: 0.25, sampling_ratio: 2, aligned: true };
        let pool = PoolOptions { kernel: [3, 4], stride: [2, 1], padding: [1, 2] };
        let conv = ConvOptions::new_with_padding([2, 3], [(4, 5), (6, 7)], [8, 9], 1);
        let shapes = MapShapes::Pyramid([[1, 8, 16, 17], [1, 8, 8, 9], [1, 8, 4, 5], [1, 8, 2, 3]]);
        vec![
            Call::RoiAlign { min_areas, options },
            Call::RoiAlignBackward { shapes: MapShapes::Single(shape), min_areas, options },
            Call::RoiAlignBackward { shapes, min_areas, options },
            Call::TopK { k: 9, dtype: IntDType::I32 },
            Call::BatchedNms { iou_threshold: 0.5 },
            Call::Convolution { relu: true, options: conv.clone() },
            Call::ConvolutionInputBackward { shape, options: conv.clone() },
            Call::ConvolutionWeightBackward { shape, options: conv },
            Call::ConvolutionBiasBackward {},
            Call::MaxPool { options: pool },
            Call::MaxPoolBackward { options: pool },
            Call::Normalize { relu: false, options: NormOptions { groups: Some(32), epsilon: 1e-5 } },
            Call::NormalizeBackward { options: NormOptions { groups: None, epsilon: 0.5 } },
        ]
    }

    fn encoded(call: &Call) -> Vec<ScalarIr> {
        let mut scalars = Vec::new();
        call.encode(&mut scalars);
        scalars
    }

    #[test]
    fn a_call_is_read_as_it_was_noted() {
        for call in samples() {
            let scalars = encoded(&call);
            let mut reader = Scalars(scalars.iter());
            assert_eq!(format!("{:?}", Call::decode(call.name(), &mut reader)), format!("{call:?}"));
            assert_eq!(reader.0.len(), 0, "{call:?} is read to its end");
        }
    }

    /// Workers of other builds read these lines. Where this test fails, raise `WIRE_VERSION`, then renew the
    /// lines.
    #[test]
    fn the_form_of_a_call_is_that_of_its_version() {
        let lines: Vec<String> = samples()
            .iter()
            .map(|call| {
                let scalars = encoded(call).into_iter().map(|scalar| match scalar {
                    ScalarIr::Float(value) => format!("{value:?}"),
                    ScalarIr::Int(value) => format!("{value}i"),
                    ScalarIr::UInt(value) => format!("{value}"),
                    ScalarIr::Bool(value) => format!("{value}"),
                });
                let scalars: Vec<String> = scalars.collect();
                format!("{} {}", call.name(), scalars.join(" ")).trim_end().to_string()
            })
            .collect();
        let version_2 = [
            "faster_rcnn::roi_align 1.5 2.5 3.5 7 6 0.25 2 true",
            "faster_rcnn::roi_align_backward false 2 3 5 7 1.5 2.5 3.5 7 6 0.25 2 true",
            "faster_rcnn::roi_align_backward true 1 8 16 17 1 8 8 9 1 8 4 5 1 8 2 3 1.5 2.5 3.5 7 6 0.25 2 \
             true",
            "faster_rcnn::top_k 9 1",
            "faster_rcnn::batched_nms 0.5",
            "faster_rcnn::convolution true 2 3 4 5 6 7 8 9 1",
            "faster_rcnn::convolution_input_backward 2 3 5 7 2 3 4 5 6 7 8 9 1",
            "faster_rcnn::convolution_weight_backward 2 3 5 7 2 3 4 5 6 7 8 9 1",
            "faster_rcnn::convolution_bias_backward",
            "faster_rcnn::max_pool 3 4 2 1 1 2",
            "faster_rcnn::max_pool_backward 3 4 2 1 1 2",
            "faster_rcnn::normalize false true 32 1e-5",
            "faster_rcnn::normalize_backward false 0.5",
        ];
        assert_eq!((WIRE_VERSION, lines.as_slice()), (2, version_2.map(String::from).as_slice()));
        let sampled = |name: &&str| lines.iter().any(|line| line.split(' ').next() == Some(name));
        assert!(NAMES.iter().all(sampled), "a sample of each operation");
    }
}
