//! Backward passes: the operations on burn's autodiff backend.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend, TensorMetadata};
use burn::tensor::IntDType;
use burn::tensor::ops::ConvOptions;

use super::backend::DetectionOps;
use super::options::{NormOptions, PoolOptions, RoiAlignOptions};
use super::primitives::{FeatureMaps, MapShapes, Residual};

impl<B: DetectionOps, C: CheckpointStrategy> DetectionOps for Autodiff<B, C> {
    fn roi_align(
        maps: FeatureMaps<Self>,
        rois: FloatTensor<Self>,
        min_areas: [f32; 3],
        options: RoiAlignOptions,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct RoiAlign;

        /// The parents are the maps.
        impl<B: DetectionOps, const N: usize> Backward<B, N> for RoiAlign {
            type State = (FloatTensor<B>, [f32; 3], MapShapes, RoiAlignOptions);

            fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
                let (rois, min_areas, shapes, options) = ops.state;
                let grad = grads.consume::<B>(&ops.node);
                let maps = B::roi_align_backward(grad, rois, min_areas, shapes, options);
                for (node, grad) in ops.parents.into_iter().zip(maps.into_vec()) {
                    if let Some(node) = node {
                        grads.register::<B>(node.id, grad);
                    }
                }
            }
        }

        let rois = rois.into_primitive();
        match maps {
            FeatureMaps::Single(map) => {
                let (guard, shape) = (map.node(), map.shape().dims());
                let map = FeatureMaps::Single(map.into_primitive());
                let output = B::roi_align(map, rois.clone(), min_areas, options);
                let state = (rois, min_areas, MapShapes::Single(shape), options);
                tracked::<C, _, _, _>(RoiAlign, [guard], state, output)
            }
            FeatureMaps::Pyramid(first, second, third, fourth) => {
                let maps = [first, second, third, fourth];
                let guards = maps.each_ref().map(|map| map.node());
                let shapes = maps.each_ref().map(|map| map.shape().dims());
                let [first, second, third, fourth] = maps.map(|map| map.into_primitive());
                let maps = FeatureMaps::Pyramid(first, second, third, fourth);
                let output = B::roi_align(maps, rois.clone(), min_areas, options);
                let state = (rois, min_areas, MapShapes::Pyramid(shapes), options);
                tracked::<C, _, _, _>(RoiAlign, guards, state, output)
            }
        }
    }

    fn roi_align_backward(
        _grad: FloatTensor<Self>,
        _rois: FloatTensor<Self>,
        _min_areas: [f32; 3],
        _shapes: MapShapes,
        _options: RoiAlignOptions,
    ) -> FeatureMaps<Self> {
        panic!("roi_align has no second derivative")
    }

    fn top_k(values: FloatTensor<Self>, k: usize, dtype: IntDType) -> IntTensor<Self> {
        B::top_k(values.into_primitive(), k, dtype)
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
        residual: Residual<Self>,
        relu: bool,
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        let kept = |tensor: &FloatTensor<Self>, needed: bool| needed.then(|| tensor.primitive().clone());
        let mut state = ConvolutionState::<B> {
            x: kept(&x, weight.is_tracked()),
            x_shape: x.shape().dims(),
            weight: kept(&weight, x.is_tracked()),
            weight_shape: weight.shape().dims(),
            output: None,
            options: options.clone(),
        };
        let guards = [x.node(), weight.node(), bias.node()];
        let (residual, residual_guard) = parts(residual);
        let output = B::convolution(
            x.into_primitive(),
            weight.into_primitive(),
            bias.into_primitive(),
            residual,
            relu,
            options,
        );
        state.output = relu.then(|| output.clone());
        match residual_guard {
            None => tracked::<C, _, _, _>(Convolution, guards, state, output),
            Some(residual) => {
                let [x, weight, bias] = guards;
                tracked::<C, _, _, _>(Convolution, [x, weight, bias, residual], state, output)
            }
        }
    }

    fn convolution_input_backward(
        _weight: FloatTensor<Self>,
        _grad: FloatTensor<Self>,
        _shape: [usize; 4],
        _options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        panic!("the gradient of a convolution's input has no derivative")
    }

    fn convolution_weight_backward(
        _x: FloatTensor<Self>,
        _grad: FloatTensor<Self>,
        _shape: [usize; 4],
        _options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        panic!("the gradient of a convolution's weight has no derivative")
    }

    fn convolution_bias_backward(_grad: FloatTensor<Self>) -> FloatTensor<Self> {
        panic!("the gradient of a convolution's bias has no derivative")
    }

    fn max_pool(x: FloatTensor<Self>, options: PoolOptions) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct MaxPool;

        impl<B: DetectionOps> Backward<B, 1> for MaxPool {
            type State = (FloatTensor<B>, FloatTensor<B>, PoolOptions);

            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let (x, output, options) = ops.state;
                let grad = grads.consume::<B>(&ops.node);
                if let [Some(node)] = ops.parents {
                    grads.register::<B>(node.id, B::max_pool_backward(x, output, grad, options));
                }
            }
        }

        let guard = x.node();
        let x = x.into_primitive();
        let output = B::max_pool(x.clone(), options);
        tracked::<C, _, _, _>(MaxPool, [guard], (x, output.clone(), options), output)
    }

    fn max_pool_backward(
        _x: FloatTensor<Self>,
        _output: FloatTensor<Self>,
        _grad: FloatTensor<Self>,
        _options: PoolOptions,
    ) -> FloatTensor<Self> {
        panic!("max_pool has no second derivative")
    }

    fn normalize(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        residual: Residual<Self>,
        relu: bool,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        #[derive(Debug)]
        struct Normalize;

        #[derive(Clone, Debug)]
        struct State<B: DetectionOps> {
            x: FloatTensor<B>,
            gamma: FloatTensor<B>,
            mean: FloatTensor<B>,
            variance: FloatTensor<B>,
            /// Where ReLU follows.
            output: Option<FloatTensor<B>>,
            options: NormOptions,
        }

        /// The parents are x, gamma, beta and, where there is one, the residual.
        impl<B: DetectionOps, const N: usize> Backward<B, N> for Normalize {
            type State = State<B>;

            fn backward(self, ops: Ops<State<B>, N>, grads: &mut Gradients, _: &mut Checkpointer) {
                let State { x, gamma, mean, variance, output, options } = ops.state;
                let grad = grads.consume::<B>(&ops.node);
                let grad = match output {
                    Some(output) => B::relu_backward(output, grad),
                    None => grad,
                };
                let (x, gamma, beta) = B::normalize_backward(x, gamma, mean, variance, grad.clone(), options);
                for (node, grad) in ops.parents.into_iter().zip([x, gamma, beta, grad]) {
                    if let Some(node) = node {
                        grads.register::<B>(node.id, grad);
                    }
                }
            }
        }

        let [x_guard, gamma_guard, beta_guard] = [x.node(), gamma.node(), beta.node()];
        let (residual, residual_guard) = parts(residual);
        let (x, gamma) = (x.into_primitive(), gamma.into_primitive());
        let (output, mean, variance) =
            B::normalize(x.clone(), gamma.clone(), beta.into_primitive(), residual, relu, options);
        let statistics = (FloatTensor::<Self>::new(mean.clone()), FloatTensor::<Self>::new(variance.clone()));
        let state = State::<B> { x, gamma, mean, variance, output: relu.then(|| output.clone()), options };
        let parents = [x_guard, gamma_guard, beta_guard];
        let output = match residual_guard {
            None => tracked::<C, _, _, _>(Normalize, parents, state, output),
            Some(residual) => {
                let [x, gamma, beta] = parents;
                tracked::<C, _, _, _>(Normalize, [x, gamma, beta, residual], state, output)
            }
        };
        (output, statistics.0, statistics.1)
    }

    fn normalize_backward(
        _x: FloatTensor<Self>,
        _gamma: FloatTensor<Self>,
        _mean: FloatTensor<Self>,
        _variance: FloatTensor<Self>,
        _grad: FloatTensor<Self>,
        _options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        panic!("normalize has no second derivative")
    }

    fn zero_with_gradient(x: FloatTensor<Self>, gradient: FloatTensor<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Zero;

        impl<B: DetectionOps> Backward<B, 1> for Zero {
            type State = FloatTensor<B>;

            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                if let [Some(node)] = ops.parents {
                    grads.register::<B>(node.id, ops.state);
                }
            }
        }

        let guard = x.node();
        let gradient = gradient.into_primitive();
        let zero = B::zero_with_gradient(x.into_primitive(), gradient.clone());
        tracked::<C, _, _, _>(Zero, [guard], gradient, zero)
    }
}

#[derive(Debug)]
struct Convolution;

/// What the backward pass of a convolution needs to compute the requested gradients.
#[derive(Clone, Debug)]
struct ConvolutionState<B: DetectionOps> {
    x: Option<FloatTensor<B>>,
    x_shape: [usize; 4],
    weight: Option<FloatTensor<B>>,
    weight_shape: [usize; 4],
    /// Where ReLU follows.
    output: Option<FloatTensor<B>>,
    options: ConvOptions<2>,
}

/// The parents are x, the weight, the bias and, where there is one, the residual.
impl<B: DetectionOps, const N: usize> Backward<B, N> for Convolution {
    type State = ConvolutionState<B>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let ConvolutionState { x, x_shape, weight, weight_shape, output, options } = ops.state;
        let mut parents = ops.parents.into_iter().map(|node| node.map(|node| node.id));
        let mut next = || parents.next().flatten();
        let (x_id, weight_id, bias_id, residual_id) = (next(), next(), next(), next());

        let grad = grads.consume::<B>(&ops.node);
        let grad = match output {
            Some(output) => B::relu_backward(output, grad),
            None => grad,
        };
        if let (Some(id), Some(weight)) = (x_id, weight) {
            let grad = B::convolution_input_backward(weight, grad.clone(), x_shape, options.clone());
            grads.register::<B>(id, grad);
        }
        if let (Some(id), Some(x)) = (weight_id, x) {
            let grad = B::convolution_weight_backward(x, grad.clone(), weight_shape, options);
            grads.register::<B>(id, grad);
        }
        if let Some(id) = bias_id {
            grads.register::<B>(id, B::convolution_bias_backward(grad.clone()));
        }
        if let Some(id) = residual_id {
            grads.register::<B>(id, grad);
        }
    }
}

/// A residual without autodiff, and its node in the graph.
fn parts<B: Backend, C: CheckpointStrategy>(
    residual: Residual<Autodiff<B, C>>,
) -> (Residual<B>, Option<NodeGuard>) {
    match residual {
        Residual::None => (Residual::None, None),
        Residual::Add(residual) => {
            let guard = residual.node();
            (Residual::Add(residual.into_primitive()), Some(guard))
        }
    }
}

/// Adds an operation to the graph, if one of its parents is in it.
fn tracked<C: CheckpointStrategy, B: Backend, const N: usize, O: Backward<B, N>>(
    operation: O,
    parents: [NodeGuard; N],
    state: O::State,
    output: FloatTensor<B>,
) -> FloatTensor<Autodiff<B, C>> {
    match operation.prepare::<C>(parents).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(state, output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}
