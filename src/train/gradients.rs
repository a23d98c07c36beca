//! The gradients of a stage's parameters as one tensor, and back.

use burn::module::{ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Gradients, Tensor, s};

use crate::model::network::Network;
use crate::model::stages::Stage;

/// The gradients of all parameters of a stage that are trained, in the network's order: `[P]`. A parameter
/// without a gradient has zeros. `None` if the stage has no such parameter.
pub(super) fn flatten(
    network: &Network,
    stage: Stage,
    gradients: Option<&mut Gradients>,
    device: &Device,
) -> Option<Tensor<1>> {
    let mut visitor = Flatten { gradients, device, parts: Vec::new() };
    stage.visit(network, &mut visitor);
    (!visitor.parts.is_empty()).then(|| Tensor::cat(visitor.parts, 0))
}

struct Flatten<'a> {
    gradients: Option<&'a mut Gradients>,
    device: &'a Device,
    parts: Vec<Tensor<1>>,
}

impl ModuleVisitor for Flatten<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad() {
            let elements = param.lazy_shape().num_elements();
            let gradient =
                self.gradients.as_deref_mut().and_then(|gradients| param.val().grad_remove(gradients));
            self.parts.push(match gradient {
                Some(gradient) => gradient.reshape([elements]),
                None => Tensor::zeros([elements], self.device),
            });
        }
    }
}

/// The opposite of [`flatten`]: puts the gradients `[P]` of a stage into `gradients`, as those of each
/// parameter.
pub(super) fn unflatten(network: &Network, stage: Stage, flat: Tensor<1>, gradients: &mut GradientsParams) {
    stage.visit(network, &mut Unflatten { flat, start: 0, gradients });
}

struct Unflatten<'a> {
    flat: Tensor<1>,
    start: usize,
    gradients: &'a mut GradientsParams,
}

impl ModuleVisitor for Unflatten<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad() {
            let shape = param.lazy_shape();
            let end = self.start + shape.num_elements();
            let gradient: Tensor<D> = self.flat.clone().slice(s![self.start..end]).reshape(shape);
            self.gradients.register(param.id, gradient);
            self.start = end;
        }
    }
}
