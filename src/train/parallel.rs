//! Data-parallel training: each member of a team has a replica of the model and a part of each batch; the
//! gradients are summed over the team, and each replica takes the same step.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::tensor::Tensor;
use burn::train::Learner;
use crc32fast::Hasher;

use super::all_reduce::all_reduce;
use super::gradients::{flatten, unflatten};
use super::learners::Learners;
use super::step::{Step, Trainee};
use super::team::{Member, each};
use crate::data::Batch;

/// The members' sides, the first member's first.
pub(super) struct Replicas(Vec<Replica>);

/// One member's side.
struct Replica {
    learner: Learner<Trainee>,
    /// The gradients of the batches since the last step of the optimiser.
    gradients: Option<Tensor<1>>,
}

impl Replicas {
    pub fn new(learner: &Learner<Trainee>, members: &[Member]) -> Self {
        Self(each(members, |_, member| {
            let mut learner = learner.clone();
            learner.fork(&member.device.clone().autodiff());
            Replica { learner, gradients: None }
        }))
    }
}

impl Learners for Replicas {
    fn step(&mut self, parts: Vec<Batch>, is_last: bool) -> Step {
        let step = backward(&mut self.0, parts);
        if is_last && step.is_finite() {
            optimize(&mut self.0);
        }
        step
    }

    fn take_step(&mut self) {
        optimize(&mut self.0);
    }

    fn learning_rate(&self) -> ModuleLearningRate {
        self.0[0].learner.lr_current()
    }

    fn first(&mut self) -> &Learner<Trainee> {
        &self.0[0].learner
    }

    fn check_equal(&mut self) {
        check_equal(&self.0);
    }

    fn detectors(&mut self) -> Vec<Trainee> {
        each(&self.0, |_, Replica { learner, .. }| learner.model().valid())
    }
}

/// Computes the gradients of each member's part of a batch; gives the losses of the whole batch.
fn backward(replicas: &mut [Replica], batches: Vec<Batch>) -> Step {
    let steps = each(replicas.iter_mut().zip(batches), |_, (replica, batch)| {
        let output = replica.learner.train_step(batch);
        let model = replica.learner.model();
        let gradients = flatten(&model, output.grads, &model.detector.device().inner());
        replica.gradients = Some(match replica.gradients.take() {
            Some(sum) => sum + gradients,
            None => gradients,
        });
        output.item
    });
    let mut whole = Step { losses: [0.0; 4], names: Vec::new() };
    for step in steps {
        for (sum, loss) in whole.losses.iter_mut().zip(step.losses) {
            *sum += loss;
        }
        whole.names.extend(step.names);
    }
    whole
}

/// Takes the same step with all replicas, with the sum of their gradients.
fn optimize(replicas: &mut [Replica]) {
    let gradients = replicas.iter_mut().map(|replica| replica.gradients.take().expect("a batch came before"));
    let sums = all_reduce(gradients.collect());
    // Flush and sync before anything else is sent. A worker that waits for a transfer stops taking orders
    // when its queue is full. The thread that then cannot send may be the one that serves the other end of
    // the transfer.
    each(&sums, |_, sum| sum.device().flush().unwrap_or_else(|error| panic!("{error}")));
    each(&sums, |_, sum| sum.device().sync().unwrap_or_else(|error| panic!("{error}")));
    each(replicas.iter_mut().zip(sums), |_, (Replica { learner, .. }, sum)| {
        let gradients = unflatten(&learner.model(), sum);
        learner.lr_step();
        learner.optimizer_step(gradients);
    });
}

/// Checks that all replicas have the same weights, bit for bit, because they took the same steps. This finds
/// a member that computes wrongly.
///
/// # Panics
///
/// If a member's weights differ from those of the first one; the panic names the member.
fn check_equal(replicas: &[Replica]) {
    let checksums = each(replicas, |_, replica| {
        let mut checksum = Checksum(Hasher::new());
        replica.learner.model().visit(&mut checksum);
        checksum.0.finalize()
    });
    each(&checksums, |_, checksum| {
        assert!(*checksum == checksums[0], "its weights are not those of the first member any more");
    });
}

/// A checksum of all weights that are trained.
struct Checksum(Hasher);

impl ModuleVisitor for Checksum {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad() {
            self.0.update(param.val().inner().into_data().as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::super::config::RunConfig;
    use super::super::learning_rates::LearningRates;
    use super::super::optimizer::optimizer;
    use super::super::team::Team;
    use super::*;
    use crate::model::FasterRcnnConfig;
    use crate::model::NormKind;
    use crate::model::ResNetDepth;

    fn replica(seed: u64) -> Replica {
        let mut config = FasterRcnnConfig::new(ResNetDepth::ResNet18, 7)
            .with_norm(NormKind::Group)
            .with_trainable_layers(5)
            .with_image_size(64, 64);
        config.fpn_channels = 8;
        config.roi_heads.representation_size = 8;
        config.seed = seed;
        let model = config.init(&Device::flex().autodiff());
        let settings = RunConfig::new(config).train;
        let rates = LearningRates::new(&settings, 2);
        let learner = Learner::new(Trainee::new(model, None, &settings), optimizer(&settings), rates);
        Replica { learner, gradients: None }
    }

    #[test]
    fn a_member_whose_weights_are_others_is_named() {
        let team = Team::new([Device::flex(), Device::flex(), Device::flex()]);
        let check = |seeds: [u64; 3]| {
            team.work(move || {
                check_equal(&seeds.map(replica));
                Ok(())
            })
        };
        check([1, 1, 1]).unwrap();
        let error = check([1, 1, 2]).unwrap_err();
        let expected = format!("worker {}: its weights", team.members()[2].name);
        assert!(error.to_string().starts_with(&expected), "{error}");
    }

    #[test]
    fn gradients_come_back_as_they_were() {
        let model = replica(1).learner.model();
        let device = Device::flex();
        let count = flatten(&model, Default::default(), &device).dims()[0];
        let values = Tensor::<1, burn::tensor::Int>::arange(0..count as i64, &device).float();
        let gradients = unflatten(&model, values.clone());
        let back = flatten(&model, gradients, &device);
        assert_eq!(back.into_data(), values.into_data());
    }
}
