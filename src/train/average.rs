//! The moving average of a detector's weights over the steps of a run.
//!
//! Source: torchvision's `references/classification` (`ExponentialMovingAverage`, buffers included), with the
//! start of TensorFlow's `ExponentialMovingAverage`.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use crate::model::FasterRcnn;
use crate::weights::{apply, collect};

/// A copy of the detector that follows its weights slowly.
#[derive(Module, Debug)]
pub(super) struct WeightAverage {
    pub detector: FasterRcnn,
    /// Part of the old average that stays in each step.
    #[module(skip)]
    decay: f64,
    /// Steps so far.
    #[module(skip)]
    steps: u64,
}

impl WeightAverage {
    /// The average before the first step.
    pub fn of(detector: &FasterRcnn, decay: f64) -> Self {
        // Not a clone, which would share the running statistics of batch norms.
        let blank = detector.config().blank(&detector.device());
        let copy = apply(blank, collect(detector)).expect("the settings are the same");
        Self::new(copy, decay, 0)
    }

    /// The average of weights that took `steps` steps so far.
    pub fn new(detector: FasterRcnn, decay: f64, steps: u64) -> Self {
        Self { detector: detector.no_grad(), decay, steps }
    }

    /// With the weights of `detector` after one more step: `average += (1 - decay) * (detector - average)`.
    /// In the first steps the decay is `(1 + steps) / (10 + steps)`, so that random weights are soon
    /// forgotten.
    #[must_use]
    pub fn updated(self, detector: &FasterRcnn) -> Self {
        let steps = self.steps + 1;
        let decay = self.decay.min((1 + steps) as f64 / (10 + steps) as f64);
        let mut collect = Collect { ids: Vec::new(), values: GradientsParams::new() };
        detector.visit(&mut collect);
        let Collect { ids, values } = collect;
        let mut blend = Blend { ids: ids.into_iter(), values, part: 1.0 - decay };
        Self { detector: self.detector.map(&mut blend), steps, ..self }
    }
}

/// The values of all parameters, in the order of a visit.
struct Collect {
    ids: Vec<ParamId>,
    /// A map from parameters to tensors of any rank, which is all that is used of it.
    values: GradientsParams,
}

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.ids.push(param.id);
        self.values.register(param.id, param.val().detach());
    }
}

struct Blend {
    ids: std::vec::IntoIter<ParamId>,
    values: GradientsParams,
    part: f64,
}

impl ModuleMapper for Blend {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let id = self.ids.next().expect("the average has the detector's parameters");
        let value: Tensor<D> = self.values.remove(id).expect("each parameter was collected");
        param.map(|average| {
            let average = average.detach();
            average.clone() + (value - average) * self.part
        })
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::model::{FasterRcnnConfig, NormKind};

    /// A detector whose weights are all `value`.
    fn all(value: f32) -> FasterRcnn {
        let config = FasterRcnnConfig::tiny(3).with_norm(NormKind::Batch).with_trainable_layers(5);
        let detector = config.init(&Device::flex().autodiff());
        let tensors = collect(&detector).into_iter().map(|mut tensor| {
            tensor.values.fill(value);
            tensor
        });
        let tensors = tensors.collect();
        apply(detector, tensors).unwrap()
    }

    #[test]
    fn the_average_follows_by_its_decay_and_faster_in_the_first_steps() {
        let value = |average: &WeightAverage| {
            let tensors = collect(&average.detector);
            let first = tensors[0].values[0];
            for tensor in &tensors {
                assert!(tensor.values.iter().all(|value| *value == first), "{}", tensor.name);
            }
            first
        };
        let average = WeightAverage::new(all(0.0), 0.5, 0);
        // (1 + 1) / (10 + 1), then (1 + 2) / (10 + 2).
        let average = average.updated(&all(11.0));
        assert!((value(&average) - 9.0).abs() < 1e-5, "{}", value(&average));
        let average = average.updated(&all(13.0));
        assert!((value(&average) - 12.0).abs() < 1e-5, "{}", value(&average));

        let average = WeightAverage::new(all(0.0), 0.75, 1_000_000).updated(&all(4.0));
        assert_eq!(value(&average), 1.0);
        // Weights that do not move stay as they are, to the last bit.
        let still = WeightAverage::new(all(0.3), 0.999, 0).updated(&all(0.3));
        assert_eq!(value(&still), 0.3);
    }

    #[test]
    fn the_average_is_apart_from_the_detector() {
        let detector = all(0.0);
        let average = WeightAverage::of(&detector, 0.5).updated(&all(11.0));
        assert!(collect(&detector).iter().all(|tensor| tensor.values.iter().all(|value| *value == 0.0)));
        assert!(collect(&average.detector).iter().all(|tensor| tensor.values[0] > 1.0));
    }
}
