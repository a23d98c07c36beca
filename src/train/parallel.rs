//! Data-parallel training: each member of a team has a replica of the model and a part of each batch; the
//! gradients are summed over the team, and each replica takes the same step.

use std::sync::Arc;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::tensor::Tensor;
use burn::train::Learner;
use crc32fast::Hasher;

use super::config::GradientType;
use super::each::each;
use super::exchange::Exchange;
use super::learners::Learners;
use super::replica::Replica;
use super::step::{Step, Trainee};
use super::team::Member;
use crate::data::Batch;

/// The members' sides, the first member's first, and how they sum their gradients.
pub(super) struct Replicas {
    replicas: Vec<Replica>,
    exchange: Arc<dyn Exchange>,
}

impl Replicas {
    pub fn new(
        learner: &Learner<Trainee>,
        members: &[Member],
        exchange: &Arc<dyn Exchange>,
        on_the_way: GradientType,
    ) -> Self {
        let replicas = each(members, |index, member| {
            let mut learner = learner.clone();
            learner.fork(&member.device.clone().autodiff());
            Replica::new(learner, index, exchange.clone(), on_the_way)
        });
        Self { replicas, exchange: exchange.clone() }
    }

    fn next_learning_rate(&mut self) {
        self.replicas.iter_mut().for_each(Replica::next_learning_rate);
    }

    /// Changes all weights by the sums under way.
    fn update_all(&mut self) {
        each(&mut self.replicas, |_, replica| replica.update_all());
    }
}

impl Learners for Replicas {
    fn step(&mut self, parts: Vec<Batch>, is_last: bool) -> Step {
        let step = forward_and_backward(&mut self.replicas, parts, is_last);
        if is_last {
            self.exchange.all_have_begun();
        }
        match step.is_finite() {
            true if is_last => self.next_learning_rate(),
            true => {}
            false => self.replicas.iter_mut().for_each(Replica::forget),
        }
        step
    }

    fn take_step(&mut self) {
        each(&mut self.replicas, |_, replica| replica.begin_all());
        self.exchange.all_have_begun();
        self.next_learning_rate();
    }

    fn learning_rate(&self) -> ModuleLearningRate {
        self.replicas[0].learner().lr_current()
    }

    fn first(&mut self) -> &Learner<Trainee> {
        self.update_all();
        self.replicas[0].learner()
    }

    fn check_equal(&mut self) {
        self.update_all();
        check_equal(&self.replicas);
    }

    fn detectors(&mut self) -> Vec<Trainee> {
        self.update_all();
        each(models(&self.replicas), |_, model| model.valid())
    }
}

/// Computes the gradients of each member's part of a batch; gives the losses of the whole batch.
fn forward_and_backward(replicas: &mut [Replica], batches: Vec<Batch>, is_last: bool) -> Step {
    let steps = each(replicas.iter_mut().zip(batches), |_, (replica, batch)| replica.step(batch, is_last));
    let mut whole = Step::empty();
    for step in steps {
        for (sum, loss) in whole.losses.iter_mut().zip(step.losses) {
            *sum += loss;
        }
        whole.names.extend(step.names);
    }
    whole
}

fn models(replicas: &[Replica]) -> impl Iterator<Item = Trainee> {
    replicas.iter().map(|replica| replica.learner().model())
}

/// Checks that all replicas have the same weights, bit for bit, because they took the same steps. This finds
/// a member that computes wrongly.
///
/// # Panics
///
/// If a member's weights differ from those of the first one; the panic names the member.
fn check_equal(replicas: &[Replica]) {
    let checksums = each(models(replicas), |_, model| {
        let mut checksum = Checksum(Hasher::new());
        model.visit(&mut checksum);
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
    use super::super::exchange::Alone;
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
        Replica::new(learner, 0, Arc::new(Alone), GradientType::F32)
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
}
