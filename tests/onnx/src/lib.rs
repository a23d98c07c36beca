//! `RoiAlign` for tract, which lacks this operator: as ONNX describes it, pixel by pixel.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::tract_ndarray::{Array4, ArrayView2};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

/// Averages of samples in the bins of each box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoiAlign {
    /// Bins along each axis.
    bins: usize,
    /// Samples of a bin along each axis.
    samples: usize,
    /// Pixels of the image along one of the map.
    stride: usize,
}

/// Makes tract know the operator.
pub fn with_roi_align(mut onnx: tract_onnx::Onnx) -> tract_onnx::Onnx {
    onnx.op_register.insert("RoiAlign", roi_align);
    onnx
}

fn roi_align(_: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let whole = |name: &str| node.get_attr::<i64>(name).map(|value| value as usize);
    let (bins, samples) = (whole("output_height")?, whole("sampling_ratio")?);
    ensure!(bins == whole("output_width")? && samples > 0);
    ensure!(node.get_attr::<&str>("coordinate_transformation_mode")? == "output_half_pixel");
    let stride = node.get_attr::<f32>("spatial_scale")?.recip() as usize;
    Ok((expand(RoiAlign { bins, samples, stride }), vec![]))
}

impl Expansion for RoiAlign {
    fn name(&self) -> StaticName {
        "RoiAlign".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 3)?;
        check_output_arity(outputs, 1)?;
        s.equals(&outputs[0].datum_type, &inputs[0].datum_type)?;
        s.equals(&outputs[0].rank, 4)?;
        s.equals(&outputs[0].shape[0], &inputs[1].shape[0])?;
        s.equals(&outputs[0].shape[1], &inputs[0].shape[1])?;
        s.equals(&outputs[0].shape[2], self.bins.to_dim())?;
        s.equals(&outputs[0].shape[3], self.bins.to_dim())
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }
}

impl Op for RoiAlign {
    fn name(&self) -> StaticName {
        "RoiAlign".into()
    }

    op_as_typed_op!();
}

impl TypedOp for RoiAlign {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let (boxes, channels) = (inputs[1].shape[0].clone(), inputs[0].shape[1].clone());
        Ok(tvec![f32::fact([boxes, channels, self.bins.to_dim(), self.bins.to_dim()])])
    }

    as_op!();
}

impl EvalOp for RoiAlign {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let maps = inputs[0].to_plain_array_view::<f32>()?.into_dimensionality::<tract_ndarray::Ix4>()?;
        let boxes = inputs[1].to_plain_array_view::<f32>()?.into_dimensionality::<tract_ndarray::Ix2>()?;
        let images = inputs[2].to_plain_array_view::<i64>()?.into_dimensionality::<tract_ndarray::Ix1>()?;
        let shape = (boxes.nrows(), maps.shape()[1], self.bins, self.bins);
        let output = Array4::from_shape_fn(shape, |(index, channel, row, column)| {
            let map = maps.index_axis(tract_ndarray::Axis(0), images[index] as usize);
            let map = map.index_axis_move(tract_ndarray::Axis(0), channel);
            let [x1, y1, x2, y2] = [0, 1, 2, 3].map(|side| boxes[(index, side)] / self.stride as f32);
            let mut sum = 0.0;
            for y in self.positions(y1, y2, row) {
                for x in self.positions(x1, x2, column) {
                    sum += interpolate(&map, y, x);
                }
            }
            sum / (self.samples * self.samples) as f32
        });
        Ok(tvec![output.into_tvalue()])
    }
}

impl RoiAlign {
    /// Where the samples of a bin are along an axis. A box is at least a pixel long.
    fn positions(&self, low: f32, high: f32, bin: usize) -> impl Iterator<Item = f32> {
        let size = (high - low).max(1.0) / self.bins as f32;
        let start = low + bin as f32 * size;
        let samples = self.samples;
        (0..samples).map(move |sample| start + (sample as f32 + 0.5) * size / samples as f32)
    }
}

/// The map between its pixels; zero more than a pixel outside.
fn interpolate(map: &ArrayView2<f32>, y: f32, x: f32) -> f32 {
    let (height, width) = map.dim();
    if y < -1.0 || y > height as f32 || x < -1.0 || x > width as f32 {
        return 0.0;
    }
    let axis = |at: f32, size: usize| {
        let low = (at.max(0.0) as usize).min(size - 1);
        let high = (low + 1).min(size - 1);
        (low, high, if low == high { 0.0 } else { at.max(0.0) - low as f32 })
    };
    let ((top, bottom, down), (left, right, over)) = (axis(y, height), axis(x, width));
    let row = |y: usize| map[(y, left)] * (1.0 - over) + map[(y, right)] * over;
    row(top) * (1.0 - down) + row(bottom) * down
}
