//! A backward pass in parts, so that the gradients of the last stages are there while those of the first are
//! still computed.

use burn::tensor::{Gradients, Tensor};

use crate::model::stages::Stage;
use crate::ops::zero_with_gradient;

/// The maps between the stages of one forward pass, where the backward pass is cut.
#[derive(Default)]
pub(super) struct Cuts(Vec<Cut>);

struct Cut {
    /// The stage that computed the map.
    stage: Stage,
    map: Tensor<4>,
    /// The same values as a new leaf, from which later stages compute.
    leaf: Tensor<4>,
    /// The sum of the later stages' gradients.
    gradient: Option<Tensor<4>>,
}

impl Cuts {
    /// Cuts at a map that `stage` computed. A map that needs no gradient is handed on as it is.
    pub fn cut(&mut self, stage: Stage, map: Tensor<4>) -> Tensor<4> {
        if !map.is_tracked() {
            return map;
        }
        let leaf = map.clone().detach().require_grad();
        self.0.push(Cut { stage, map, leaf: leaf.clone(), gradient: None });
        leaf
    }

    /// The gradients of a stage's parameters: those of its loss and of all that later stages computed from its
    /// maps. `None` where nothing of it is trained. Begin with the last stage, and go back.
    pub fn backward(&mut self, stage: Stage, loss: Option<Tensor<1>>) -> Option<Gradients> {
        let mut roots: Vec<Tensor<1>> = loss.filter(Tensor::is_tracked).into_iter().collect();
        for cut in self.0.extract_if(.., |cut| cut.stage == stage) {
            roots.extend(cut.gradient.map(|gradient| zero_with_gradient(cut.map, gradient)));
        }
        let root = roots.into_iter().reduce(|sum, root| sum + root)?;
        let mut gradients = root.backward();
        for cut in &mut self.0 {
            if let Some(gradient) = cut.leaf.grad_remove(&mut gradients) {
                cut.gradient = Some(match cut.gradient.take() {
                    Some(sum) => sum + gradient,
                    None => gradient,
                });
            }
        }
        Some(gradients)
    }
}
