//! The stages of a training pass. Training on several devices updates the weights of a stage only when the
//! next pass needs them, and has the gradients of the last stages before those of the first.

use std::borrow::Cow;

use burn::module::{Module, ModuleVisitor};
use burn::tensor::Tensor;

use super::network::Network;

/// A part of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// conv1, layer1 and layer2 of the backbone.
    Lower,
    /// Its layer3.
    Layer3,
    /// Its layer4.
    Layer4,
    /// The feature pyramid.
    Fpn,
    /// The RPN.
    Rpn,
    /// The RoI heads.
    Heads,
}

impl Stage {
    /// All of them, in the order of a forward pass.
    pub const ALL: [Self; 6] = [Self::Lower, Self::Layer3, Self::Layer4, Self::Fpn, Self::Rpn, Self::Heads];

    /// Visits the parameters of this stage.
    pub fn visit(self, network: &Network, visitor: &mut impl ModuleVisitor) {
        let Network { body, fpn, rpn, roi_heads } = network;
        match self {
            Self::Lower => {
                body.conv1.visit(visitor);
                body.layer1.visit(visitor);
                body.layer2.visit(visitor);
            }
            Self::Layer3 => body.layer3.visit(visitor),
            Self::Layer4 => body.layer4.visit(visitor),
            Self::Fpn => fpn.visit(visitor),
            Self::Rpn => rpn.visit(visitor),
            Self::Heads => roi_heads.visit(visitor),
        }
    }
}

/// What happens between the stages of a pass.
pub trait Stages {
    /// The network whose weights a stage takes.
    fn network(&mut self, stage: Stage) -> Cow<'_, Network>;

    /// What later stages, and the losses, get for a map that `stage` computed.
    fn hand_on(&mut self, stage: Stage, map: Tensor<4>) -> Tensor<4>;
}

/// A pass without anything between its stages.
#[derive(Debug)]
pub struct Whole<'a>(pub &'a Network);

impl Stages for Whole<'_> {
    fn network(&mut self, _stage: Stage) -> Cow<'_, Network> {
        Cow::Borrowed(self.0)
    }

    fn hand_on(&mut self, _stage: Stage, map: Tensor<4>) -> Tensor<4> {
        map
    }
}
