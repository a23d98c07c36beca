//! SGD with momentum, and with other weight decays for norms and biases where the settings have them.
//!
//! Source: torchvision's detection reference, `torchvision.ops._utils.split_normalization_params`.

use burn::module::ParamGroup;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{ModuleOptimizer, Sgd, SgdConfig};

use super::TrainConfig;

/// Parts of the paths of the norms' weights and biases. A frozen norm has no parameter to train.
const NORMS: [&str; 2] = [".gamma", ".beta"];

/// The optimiser of a run.
pub(super) fn sgd(config: &TrainConfig) -> ModuleOptimizer {
    let with_decay = |decay: f64| -> Sgd {
        let momentum = MomentumConfig::new().with_momentum(config.momentum).with_dampening(0.0);
        let decay = (decay > 0.0).then(|| WeightDecayConfig::new(decay as f32));
        SgdConfig::new().with_momentum(Some(momentum)).with_weight_decay(decay).build()
    };
    let mut optimizer = ModuleOptimizer::from(with_decay(config.weight_decay));
    if let Some(decay) = config.bias_weight_decay {
        optimizer = optimizer.with_group(ParamGroup::from_predicate(".bias"), with_decay(decay), None);
    }
    if let Some(decay) = config.norm_weight_decay {
        let norms = ParamGroup::from_any_predicates(NORMS.to_vec());
        optimizer = optimizer.with_group(norms, with_decay(decay), None);
    }
    optimizer
}
