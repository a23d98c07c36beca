//! Backward passes: the own operations on burn's autodiff backend.

use burn::backend::Autodiff;
use burn::backend::TensorMetadata;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::ops::ConvOptions;

use super::{DetectionOps, RoiAlignOptions};

impl<B: DetectionOps, C: CheckpointStrategy> DetectionOps for Autodiff<B, C> {
    fn roi_align(
        features: FloatTensor<Self>,
        rois: FloatTensor<Self>,
        options: RoiAlignOptions,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct RoiAlign;

        impl<B: DetectionOps> Backward<B, 1> for RoiAlign {
            type State = (FloatTensor<B>, [usize; 4], RoiAlignOptions);

            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let (rois, shape, options) = ops.state;
                unary::<B, _>(ops.parents, ops.node, grads, |grad| {
                    B::roi_align_backward(grad, rois, shape, options)
                });
            }
        }

        let shape = features.shape().dims();
        let guard = features.node();
        let rois = rois.into_primitive();
        let output = B::roi_align(features.into_primitive(), rois.clone(), options);
        match RoiAlign.prepare::<C>([guard]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((rois, shape, options), output),
            OpsKind::UnTracked(prep) => prep.finish(output),
        }
    }

    fn roi_align_backward(
        _grad: FloatTensor<Self>,
        _rois: FloatTensor<Self>,
        _input_shape: [usize; 4],
        _options: RoiAlignOptions,
    ) -> FloatTensor<Self> {
        panic!("roi_align has no second derivative")
    }

    fn batched_nms(
        boxes: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        groups: IntTensor<Self>,
        iou_threshold: f32,
    ) -> IntTensor<Self> {
        B::batched_nms(boxes.into_primitive(), scores.into_primitive(), groups, iou_threshold)
    }

    fn convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Convolution;

        impl<B: DetectionOps> Backward<B, 3> for Convolution {
            type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, ConvOptions<2>);

            fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
                let (x, weight, bias, options) = ops.state;
                let [x_node, weight_node, bias_node] = ops.parents;
                let grad = grads.consume::<B>(&ops.node);
                if let Some(node) = x_node {
                    let grad = B::conv2d_x_backward(x.clone(), weight.clone(), grad.clone(), options.clone());
                    grads.register::<B>(node.id, grad);
                }
                if let Some(node) = weight_node {
                    let grad = B::convolution_weight_backward(x.clone(), weight, grad.clone(), options);
                    grads.register::<B>(node.id, grad);
                }
                if let Some(node) = bias_node {
                    grads.register::<B>(node.id, B::conv2d_bias_backward(x, bias, grad));
                }
            }
        }

        let guards = [x.node(), weight.node(), bias.node()];
        let (x, weight, bias) = (x.into_primitive(), weight.into_primitive(), bias.into_primitive());
        match Convolution.prepare::<C>(guards).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let output = B::convolution(x.clone(), weight.clone(), bias.clone(), options.clone());
                prep.finish((x, weight, bias, options), output)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::convolution(x, weight, bias, options)),
        }
    }

    fn convolution_weight_backward(
        _x: FloatTensor<Self>,
        _weight: FloatTensor<Self>,
        _grad: FloatTensor<Self>,
        _options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        panic!("the gradient of a convolution's weight has no derivative")
    }
}
