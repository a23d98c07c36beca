//! The gradients of all parameters as one tensor, and their sum over the members of a team.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, s};

/// The gradients of all parameters that are trained, in the model's order: `[P]`. A parameter without a
/// gradient has zeros.
pub(super) fn flatten(module: &impl Module, gradients: GradientsParams, device: &Device) -> Tensor<1> {
    let mut visitor = Flatten { gradients, device, parts: Vec::new() };
    module.visit(&mut visitor);
    Tensor::cat(visitor.parts, 0)
}

struct Flatten<'a> {
    gradients: GradientsParams,
    device: &'a Device,
    parts: Vec<Tensor<1>>,
}

impl ModuleVisitor for Flatten<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad() {
            let elements = param.lazy_shape().num_elements();
            self.parts.push(match self.gradients.remove::<D>(param.id) {
                Some(gradient) => gradient.reshape([elements]),
                None => Tensor::zeros([elements], self.device),
            });
        }
    }
}

/// The opposite of [`flatten`]: gradients `[P]` back to those of each parameter.
pub(super) fn unflatten(module: &impl Module, flat: Tensor<1>) -> GradientsParams {
    let mut visitor = Unflatten { flat, start: 0, gradients: GradientsParams::new() };
    module.visit(&mut visitor);
    visitor.gradients
}

struct Unflatten {
    flat: Tensor<1>,
    start: usize,
    gradients: GradientsParams,
}

impl ModuleVisitor for Unflatten {
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
