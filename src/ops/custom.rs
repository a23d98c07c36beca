//! An operation's call as burn describes it to another place, for devices whose tensors are not at hand:
//! its name, its tensors and its options, flattened to scalars; and its execution there.

use burn::backend::ir::{BackendIr, CustomOpIr, HandleContainer, ScalarIr, TensorId, TensorIr};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{IntDType, Shape};

use super::{
    DetectionOps, FeatureMaps, MapShapes, NormOptions, PoolOptions, Residual, RoiAlignOptions, conv2d_shape,
    pool_shape,
};

/// The options of one call of an operation.
#[derive(Debug, Clone)]
pub(super) enum Call {
    RoiAlign([f32; 3], RoiAlignOptions),
    RoiAlignBackward(MapShapes, [f32; 3], RoiAlignOptions),
    TopK(usize, IntDType),
    BatchedNms { iou_threshold: f32 },
    Convolution { relu: bool, options: ConvOptions<2> },
    ConvolutionInputBackward([usize; 4], ConvOptions<2>),
    ConvolutionWeightBackward([usize; 4], ConvOptions<2>),
    ConvolutionBiasBackward,
    MaxPool(PoolOptions),
    MaxPoolBackward(PoolOptions),
    Normalize { relu: bool, options: NormOptions },
    NormalizeBackward(NormOptions),
}

/// Names of all operations, as they travel.
pub(super) const NAMES: [&str; 12] = [
    "faster_rcnn::roi_align",
    "faster_rcnn::roi_align_backward",
    "faster_rcnn::batched_nms",
    "faster_rcnn::convolution",
    "faster_rcnn::convolution_input_backward",
    "faster_rcnn::convolution_weight_backward",
    "faster_rcnn::convolution_bias_backward",
    "faster_rcnn::normalize",
    "faster_rcnn::normalize_backward",
    "faster_rcnn::top_k",
    "faster_rcnn::max_pool",
    "faster_rcnn::max_pool_backward",
];

impl Call {
    fn name(&self) -> &'static str {
        NAMES[match self {
            Self::RoiAlign(..) => 0,
            Self::RoiAlignBackward(..) => 1,
            Self::BatchedNms { .. } => 2,
            Self::Convolution { .. } => 3,
            Self::ConvolutionInputBackward(..) => 4,
            Self::ConvolutionWeightBackward(..) => 5,
            Self::ConvolutionBiasBackward => 6,
            Self::Normalize { .. } => 7,
            Self::NormalizeBackward(_) => 8,
            Self::TopK(..) => 9,
            Self::MaxPool(_) => 10,
            Self::MaxPoolBackward(_) => 11,
        }]
    }

    /// The call with `inputs`, in the order of the operation's arguments, a residual last, each of several maps.
    pub fn describe(&self, inputs: &[TensorIr], mut new_id: impl FnMut() -> TensorId) -> CustomOpIr {
        let first = &inputs[0];
        let mut output = |shape: &[usize], like: &TensorIr| {
            TensorIr::uninit(new_id(), Shape::from(shape.to_vec()), like.dtype)
        };
        let dims = |tensor: &TensorIr| -> [usize; 4] { tensor.shape.dims() };
        let outputs = match self {
            Self::RoiAlign(_, options) => {
                let rois = inputs.last().expect("maps and boxes");
                let (height, width) = options.output_size;
                vec![output(&[rois.shape[0], first.shape[1], height, width], first)]
            }
            Self::RoiAlignBackward(shapes, ..) => {
                shapes.as_slice().iter().map(|shape| output(shape, first)).collect()
            }
            Self::TopK(k, dtype) => {
                vec![TensorIr::uninit(new_id(), Shape::from(vec![first.shape[0], *k]), (*dtype).into())]
            }
            Self::BatchedNms { .. } => vec![output(&inputs[2].shape.to_vec(), &inputs[2])],
            Self::Convolution { options, .. } => {
                vec![output(&conv2d_shape(dims(first), dims(&inputs[1]), options), first)]
            }
            Self::ConvolutionInputBackward(shape, _) | Self::ConvolutionWeightBackward(shape, _) => {
                vec![output(shape, first)]
            }
            Self::ConvolutionBiasBackward => vec![output(&[first.shape[1]], first)],
            Self::MaxPool(options) => vec![output(&pool_shape(dims(first), *options), first)],
            Self::MaxPoolBackward(_) => vec![output(&dims(first), first)],
            Self::Normalize { options, .. } => {
                let [batch, channels, ..] = dims(first);
                let sets = options.groups.map_or(channels, |groups| batch * groups);
                vec![output(&dims(first), first), output(&[sets], first), output(&[sets], first)]
            }
            Self::NormalizeBackward(_) => {
                let channels = first.shape[1];
                vec![output(&dims(first), first), output(&[channels], first), output(&[channels], first)]
            }
        };
        CustomOpIr::with_scalars(self.name(), inputs, &outputs, self.scalars())
    }

    fn scalars(&self) -> Vec<ScalarIr> {
        let mut list = Scalars(Vec::new());
        match self {
            Self::RoiAlign(min_areas, options) => list.roi_align(min_areas, options),
            Self::RoiAlignBackward(shapes, min_areas, options) => {
                list.roi_align(min_areas, options);
                shapes.as_slice().iter().for_each(|shape| list.sizes(shape));
            }
            Self::TopK(k, _) => list.sizes(&[*k]),
            Self::BatchedNms { iou_threshold } => list.0.push(ScalarIr::Float((*iou_threshold).into())),
            Self::Convolution { relu, options } => {
                list.0.push(ScalarIr::Bool(*relu));
                list.convolution(options);
            }
            Self::ConvolutionInputBackward(shape, options)
            | Self::ConvolutionWeightBackward(shape, options) => {
                list.sizes(shape);
                list.convolution(options);
            }
            Self::ConvolutionBiasBackward => {}
            Self::MaxPool(PoolOptions { kernel, stride, padding })
            | Self::MaxPoolBackward(PoolOptions { kernel, stride, padding }) => {
                [kernel, stride, padding].into_iter().for_each(|sizes| list.sizes(sizes));
            }
            Self::Normalize { relu, options } => {
                list.0.push(ScalarIr::Bool(*relu));
                list.norm(options);
            }
            Self::NormalizeBackward(options) => list.norm(options),
        }
        list.0
    }

    /// The call that [`describe`](Self::describe) described.
    fn parse(description: &CustomOpIr) -> Self {
        let mut list = Parsed(description.scalars.iter());
        match NAMES.iter().position(|name| *name == description.id) {
            Some(0) => {
                let (min_areas, options) = list.roi_align();
                Self::RoiAlign(min_areas, options)
            }
            Some(1) => {
                let (min_areas, options) = list.roi_align();
                let shapes = match description.outputs.len() {
                    1 => MapShapes::Single(list.sizes()),
                    _ => MapShapes::Pyramid(std::array::from_fn(|_| list.sizes())),
                };
                Self::RoiAlignBackward(shapes, min_areas, options)
            }
            Some(2) => Self::BatchedNms { iou_threshold: list.float() as f32 },
            Some(3) => Self::Convolution { relu: list.bool(), options: list.convolution() },
            Some(4) => Self::ConvolutionInputBackward(list.sizes(), list.convolution()),
            Some(5) => Self::ConvolutionWeightBackward(list.sizes(), list.convolution()),
            Some(6) => Self::ConvolutionBiasBackward,
            Some(7) => Self::Normalize { relu: list.bool(), options: list.norm() },
            Some(8) => Self::NormalizeBackward(list.norm()),
            Some(9) => {
                let [k] = list.sizes();
                Self::TopK(k, description.outputs[0].dtype.into())
            }
            Some(10) => Self::MaxPool(list.pool()),
            Some(11) => Self::MaxPoolBackward(list.pool()),
            _ => panic!("no operation is called {}", description.id),
        }
    }
}

/// Runs what [`Call::describe`] described on the tensors of `handles`.
pub(super) fn execute<B: BackendIr + DetectionOps>(
    handles: &mut HandleContainer<B::Handle>,
    description: &CustomOpIr,
) {
    let inputs = &description.inputs;
    let mut float = |place: usize| handles.get_float_tensor::<B>(&inputs[place]);
    let floats = match Call::parse(description) {
        Call::RoiAlign(min_areas, options) => {
            let maps = match inputs.len() {
                2 => FeatureMaps::Single(float(0)),
                _ => FeatureMaps::Pyramid(float(0), float(1), float(2), float(3)),
            };
            vec![B::roi_align(maps, float(inputs.len() - 1), min_areas, options)]
        }
        Call::RoiAlignBackward(shapes, min_areas, options) => {
            B::roi_align_backward(float(0), float(1), min_areas, shapes, options).into_vec()
        }
        Call::TopK(k, dtype) => {
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
        Call::ConvolutionInputBackward(shape, options) => {
            vec![B::convolution_input_backward(float(0), float(1), shape, options)]
        }
        Call::ConvolutionWeightBackward(shape, options) => {
            vec![B::convolution_weight_backward(float(0), float(1), shape, options)]
        }
        Call::ConvolutionBiasBackward => vec![B::convolution_bias_backward(float(0))],
        Call::MaxPool(options) => vec![B::max_pool(float(0), options)],
        Call::MaxPoolBackward(options) => {
            vec![B::max_pool_backward(float(0), float(1), float(2), options)]
        }
        Call::Normalize { relu, options } => {
            let (x, gamma, beta) = (float(0), float(1), float(2));
            let residual = if inputs.len() > 3 { Residual::Add(float(3)) } else { Residual::None };
            let (output, mean, variance) = B::normalize(x, gamma, beta, residual, relu, options);
            vec![output, mean, variance]
        }
        Call::NormalizeBackward(options) => {
            let (x, gamma, beta) =
                B::normalize_backward(float(0), float(1), float(2), float(3), float(4), options);
            vec![x, gamma, beta]
        }
    };
    for (output, tensor) in description.outputs.iter().zip(floats) {
        handles.register_float_tensor::<B>(&output.id, tensor);
    }
}

/// Options, flattened.
struct Scalars(Vec<ScalarIr>);

impl Scalars {
    fn sizes(&mut self, sizes: &[usize]) {
        self.0.extend(sizes.iter().map(|size| ScalarIr::UInt(*size as u64)));
    }

    fn roi_align(&mut self, min_areas: &[f32; 3], options: &RoiAlignOptions) {
        self.0.extend(min_areas.map(|area| ScalarIr::Float(area.into())));
        let RoiAlignOptions { output_size: (height, width), spatial_scale, sampling_ratio, aligned } =
            *options;
        self.sizes(&[height, width, sampling_ratio]);
        self.0.extend([ScalarIr::Float(spatial_scale.into()), ScalarIr::Bool(aligned)]);
    }

    fn convolution(&mut self, options: &ConvOptions<2>) {
        let [(top, bottom), (left, right)] = options.padding;
        self.sizes(&options.stride);
        self.sizes(&[top, bottom, left, right]);
        self.sizes(&options.dilation);
        self.sizes(&[options.groups]);
    }

    fn norm(&mut self, options: &NormOptions) {
        self.0.push(ScalarIr::Bool(options.groups.is_some()));
        self.sizes(&[options.groups.unwrap_or(0)]);
        self.0.push(ScalarIr::Float(options.epsilon));
    }
}

/// The way back.
struct Parsed<'a>(std::slice::Iter<'a, ScalarIr>);

impl Parsed<'_> {
    fn next(&mut self) -> ScalarIr {
        *self.0.next().expect("an operation travels with all of its options")
    }

    fn float(&mut self) -> f64 {
        self.next().elem()
    }

    fn bool(&mut self) -> bool {
        self.next().elem()
    }

    fn sizes<const N: usize>(&mut self) -> [usize; N] {
        std::array::from_fn(|_| self.next().elem::<u64>() as usize)
    }

    fn roi_align(&mut self) -> ([f32; 3], RoiAlignOptions) {
        let min_areas = std::array::from_fn(|_| self.float() as f32);
        let [height, width, sampling_ratio] = self.sizes();
        let (spatial_scale, aligned) = (self.float() as f32, self.bool());
        (min_areas, RoiAlignOptions { output_size: (height, width), spatial_scale, sampling_ratio, aligned })
    }

    fn convolution(&mut self) -> ConvOptions<2> {
        let (stride, [top, bottom, left, right]) = (self.sizes(), self.sizes());
        let (dilation, [groups]) = (self.sizes(), self.sizes());
        ConvOptions::new_with_padding(stride, [(top, bottom), (left, right)], dilation, groups)
    }

    fn pool(&mut self) -> PoolOptions {
        PoolOptions { kernel: self.sizes(), stride: self.sizes(), padding: self.sizes() }
    }

    fn norm(&mut self) -> NormOptions {
        let (has_groups, [groups]) = (self.bool(), self.sizes());
        NormOptions { groups: has_groups.then_some(groups), epsilon: self.float() }
    }
}
