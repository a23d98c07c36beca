//! SGD with momentum, or AdamW. Norms and biases have their own weight decay if the settings give one.
//!
//! Source: torchvision's detection reference, `torchvision.ops._utils.split_normalization_params`;
//! `torch.optim.AdamW`.

use burn::module::ParamGroup;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamW, AdamWConfig, ModuleOptimizer, Sgd, SgdConfig};

use super::config::{Optimizer, TrainConfig};

/// Parts of the paths of the norms' weights and biases. A frozen norm has no parameter to train.
const NORMS: [&str; 2] = [".gamma", ".beta"];

/// The optimiser of a run.
pub(super) fn optimizer(config: &TrainConfig) -> ModuleOptimizer {
    match config.optimizer {
        Optimizer::Sgd => grouped(config, |decay| sgd(config, decay)),
        Optimizer::AdamW => grouped(config, |decay| adamw(config, decay)),
    }
}

fn sgd(config: &TrainConfig, decay: f64) -> Sgd {
    let momentum = MomentumConfig::new().with_momentum(config.momentum).with_dampening(0.0);
    let decay = (decay > 0.0).then(|| WeightDecayConfig::new(decay as f32));
    SgdConfig::new().with_momentum(Some(momentum)).with_weight_decay(decay).build()
}

fn adamw(config: &TrainConfig, decay: f64) -> AdamW {
    let betas = AdamWConfig::new().with_beta_1(config.momentum as f32).with_beta_2(0.999);
    betas.with_epsilon(1e-8).with_weight_decay(decay as f32).build()
}

/// The same optimiser with another weight decay for some parameters.
fn grouped<O: burn::optim::Optimizer + 'static>(
    config: &TrainConfig,
    with_decay: impl Fn(f64) -> O,
) -> ModuleOptimizer {
    let mut optimizer: ModuleOptimizer = with_decay(config.weight_decay).into();
    if let Some(decay) = config.bias_weight_decay {
        optimizer = optimizer.with_group(ParamGroup::from_predicate(".bias"), with_decay(decay), None);
    }
    if let Some(decay) = config.norm_weight_decay {
        let norms = ParamGroup::from_any_predicates(NORMS.to_vec());
        optimizer = optimizer.with_group(norms, with_decay(decay), None);
    }
    optimizer
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use burn::optim::GradientsParams;
    use burn::tensor::Device;

    use super::*;
    use crate::model::FasterRcnnConfig;
    use crate::model::NormKind;
    use crate::model::ResNetDepth;
    use crate::weights::collect;

    #[test]
    fn norms_and_biases_decay_as_they_are_told() {
        [Optimizer::Sgd, Optimizer::AdamW].into_iter().for_each(check_decay);
    }

    fn check_decay(kind: Optimizer) {
        let mut config = FasterRcnnConfig::new(ResNetDepth::ResNet18, 7)
            .with_norm(NormKind::Group)
            .with_trainable_layers(5)
            .with_image_size(64, 64);
        config.fpn_channels = 8;
        config.roi_heads.representation_size = 8;
        let device = Device::flex().autodiff();
        // All ones, so that biases are not zero and can decay, too.
        let ones = collect(&config.init(&device)).into_iter().map(|mut tensor| {
            tensor.values.fill(1.0);
            tensor
        });
        let model = crate::weights::apply(config.init(&device), ones.collect()).unwrap();
        let settings = TrainConfig {
            optimizer: kind,
            weight_decay: 0.5,
            norm_weight_decay: Some(0.25),
            bias_weight_decay: Some(0.0),
            ..TrainConfig::default()
        };
        // Gradients of zero: decay is all that moves a weight.
        let squares = Squares::of(&model);
        let gradients = GradientsParams::from_grads((squares.0 * 0.0).backward(), &model);
        let model = optimizer(&settings).step(1.0, model, gradients);

        let mut counts = [0; 3];
        for tensor in collect(&model) {
            let is_norm = [".bn1.", ".bn2.", ".downsample.1."].iter().any(|norm| tensor.name.contains(norm));
            let (kind, expected) = match (is_norm, tensor.name.ends_with(".bias")) {
                (true, _) => (0, 0.75),
                (false, true) => (1, 1.0),
                (false, false) => (2, 0.5),
            };
            counts[kind] += 1;
            assert!(
                tensor.values.iter().all(|value| *value == expected),
                "{}: {}",
                tensor.name,
                tensor.values[0]
            );
        }
        assert!(counts.iter().all(|count| *count > 5), "{counts:?}");
    }

    /// A resumed run goes on with the optimiser's state, whatever the optimiser.
    #[test]
    fn a_state_that_is_saved_and_read_takes_the_same_next_step() {
        for kind in [Optimizer::Sgd, Optimizer::AdamW] {
            let settings = TrainConfig {
                optimizer: kind,
                norm_weight_decay: Some(0.0),
                bias_weight_decay: Some(0.0),
                ..TrainConfig::default()
            };
            let device = Device::flex().autodiff();
            let step = |optimizer: &mut ModuleOptimizer, model: crate::model::FasterRcnn| {
                let gradients = GradientsParams::from_grads(Squares::of(&model).0.backward(), &model);
                optimizer.step(0.01, model, gradients)
            };
            let mut going_on = optimizer(&settings);
            let model = step(&mut going_on, FasterRcnnConfig::tiny(3).init(&device));
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("state.bpk");
            going_on.save(&path).unwrap();
            let mut read = optimizer(&settings).load(&path).unwrap();

            let expected = collect(&step(&mut going_on, model.clone()));
            for (expected, found) in expected.iter().zip(collect(&step(&mut read, model))) {
                assert!(
                    expected.values == found.values,
                    "{kind:?}: {}: {} for {}",
                    expected.name,
                    found.values[0],
                    expected.values[0]
                );
            }
        }
    }

    /// A function of all weights.
    struct Squares(burn::tensor::Tensor<1>);

    impl Squares {
        fn of(model: &crate::model::FasterRcnn) -> Self {
            let mut squares = Self(burn::tensor::Tensor::zeros([1], &model.device()));
            model.visit(&mut squares);
            squares
        }
    }

    impl burn::module::ModuleVisitor for Squares {
        fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<burn::tensor::Tensor<D>>) {
            self.0 = self.0.clone() + param.val().powi_scalar(2).sum();
        }
    }
}
