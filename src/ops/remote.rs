//! The operations on a device of another process: described, sent, and run there by the handlers that
//! [`registry`] registers.

use burn::backend::ir::{BackendIr, OperationIr, OperationOutput};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::IntDType;
use burn::tensor::ops::ConvOptions;
use burn_router::{BackendRouter, CustomOpRegistry, RouterChannel, RouterClient, RouterTensor};

use super::custom::{Call, NAMES, execute};
use super::{DetectionOps, FeatureMaps, MapShapes, NormOptions, Residual, RoiAlignOptions};

/// The handlers of a worker, on backend `B`.
pub(crate) fn registry<B: BackendIr + DetectionOps>() -> CustomOpRegistry<B> {
    let mut registry = CustomOpRegistry::new();
    for name in NAMES {
        registry.register(name, |handles, description, _device| execute::<B>(handles, description));
    }
    registry
}

/// Differs where operations travel differently.
pub(crate) fn wire_checksum() -> u32 {
    crc32fast::hash(include_bytes!("custom.rs"))
}

/// Sends a call, and gives its outputs, which are not there yet.
fn call<C: RouterClient>(
    call: Call,
    inputs: impl IntoIterator<Item = RouterTensor<C>>,
) -> Vec<RouterTensor<C>> {
    let mut inputs = inputs.into_iter().peekable();
    let client = inputs.peek().expect("every operation takes a tensor").client.clone();
    let inputs: Vec<_> = inputs.map(RouterTensor::into_ir).collect();
    let description = call.describe(&inputs, || client.create_empty_handle());
    client.register(OperationIr::Custom(description))
}

fn added<C: RouterChannel>(residual: Residual<BackendRouter<C>>) -> Option<RouterTensor<C::Client>> {
    match residual {
        Residual::None => None,
        Residual::Add(residual) => Some(residual),
    }
}

impl<C: RouterChannel> DetectionOps for BackendRouter<C> {
    fn roi_align(
        maps: FeatureMaps<Self>,
        rois: FloatTensor<Self>,
        min_areas: [f32; 3],
        options: RoiAlignOptions,
    ) -> FloatTensor<Self> {
        let inputs = maps.into_vec().into_iter().chain([rois]);
        call(Call::RoiAlign(min_areas, options), inputs).output()
    }

    fn roi_align_backward(
        grad: FloatTensor<Self>,
        rois: FloatTensor<Self>,
        min_areas: [f32; 3],
        shapes: MapShapes,
        options: RoiAlignOptions,
    ) -> FeatureMaps<Self> {
        let mut maps = call(Call::RoiAlignBackward(shapes, min_areas, options), [grad, rois]).into_iter();
        shapes.maps(|_| maps.next().expect("a gradient for each map"))
    }

    fn top_k(values: FloatTensor<Self>, k: usize, dtype: IntDType) -> IntTensor<Self> {
        call(Call::TopK(k, dtype), [values]).output()
    }

    fn batched_nms(
        boxes: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        groups: IntTensor<Self>,
        iou_threshold: f32,
    ) -> IntTensor<Self> {
        call(Call::BatchedNms { iou_threshold }, [boxes, scores, groups]).output()
    }

    fn convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: Residual<Self>,
        relu: bool,
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        let inputs = [x, weight, bias].into_iter().chain(added(residual));
        call(Call::Convolution { relu, options }, inputs).output()
    }

    fn convolution_input_backward(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        shape: [usize; 4],
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        call(Call::ConvolutionInputBackward(shape, options), [weight, grad]).output()
    }

    fn convolution_weight_backward(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        shape: [usize; 4],
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        call(Call::ConvolutionWeightBackward(shape, options), [x, grad]).output()
    }

    fn convolution_bias_backward(grad: FloatTensor<Self>) -> FloatTensor<Self> {
        call(Call::ConvolutionBiasBackward, [grad]).output()
    }

    fn normalize(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        residual: Residual<Self>,
        relu: bool,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let inputs = [x, gamma, beta].into_iter().chain(added(residual));
        call(Call::Normalize { relu, options }, inputs).outputs().into()
    }

    fn normalize_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        call(Call::NormalizeBackward(options), [x, gamma, mean, variance, grad]).outputs().into()
    }
}
