//! What one step does: losses, their gradients and the change of the weights; and what a validation
//! step gives.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{ExecutionError, Tensor};
use burn::train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};

use super::TrainConfig;
use crate::data::Batch;
use crate::eval::ImageResult;
use crate::model::{FasterRcnn, Losses, Sampling};

/// The detector and how its gradients are used.
#[derive(Module, Debug)]
pub(super) struct Trainee {
    pub detector: FasterRcnn,
    #[module(skip)]
    accumulation: usize,
    #[module(skip)]
    clip_norm: Option<f64>,
}

impl Trainee {
    pub fn new(detector: FasterRcnn, config: &TrainConfig) -> Self {
        let trainee = Self { detector, accumulation: config.accumulation, clip_norm: config.clip_norm };
        trainee.map(&mut NumberedParameters { next: 0 })
    }
}

/// The optimiser's state belongs to parameters by their ids, so a run that is resumed must give each
/// the id it had: its position in the model.
struct NumberedParameters {
    next: u64,
}

impl ModuleMapper for NumberedParameters {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.next += 1;
        let (_, tensor, mapper) = param.consume();
        Param::from_mapped_value(ParamId::from(self.next), tensor, mapper)
    }
}

/// What a training step was made of and what it gave.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// The losses, in the order of [`Losses::NAMES`]; those of a team's members sum to the whole batch's.
    pub losses: [f32; 4],
    /// File names of the images.
    pub names: Vec<String>,
}

impl ItemLazy for Step {
    /// Stops the run where a loss is not finite.
    fn sync(self) -> Result<Self, ExecutionError> {
        let terms = Losses::NAMES.iter().zip(&self.losses);
        match terms.into_iter().find(|(_, loss)| !loss.is_finite()) {
            None => Ok(self),
            Some((term, loss)) => {
                let images = self.names.join(", ");
                Err(ExecutionError::with_context(format!("the loss {term} is {loss} (images: {images})")))
            }
        }
    }
}

impl TrainStep for Trainee {
    type Input = Batch;
    type Output = Step;

    fn step(&self, batch: Batch) -> TrainOutput<Step> {
        if batch.images.is_empty() {
            return TrainOutput {
                grads: GradientsParams::new(),
                item: Step { losses: [0.0; 4], names: batch.names },
            };
        }
        let sampling = &mut Sampling::seeded(batch.seeds);
        let losses = self.detector.losses(&batch.images, &batch.annotations, sampling);
        // One read from the device for all four.
        let values = Tensor::cat(losses.terms().to_vec(), 0).into_data();
        let values: Vec<f32> = values.try_into_vec().expect("losses are f32");
        let values = values.into_iter().map(|loss| loss * batch.share).collect::<Vec<_>>();
        let step = Step { losses: values.try_into().expect("four losses"), names: batch.names };
        if step.losses.iter().any(|loss| !loss.is_finite()) {
            // `Step::sync` ends the run; until then the weights stay as they are.
            return TrainOutput { grads: GradientsParams::new(), item: step };
        }
        let mean = losses.sum() * (batch.share / self.accumulation as f32);
        TrainOutput::new(self, mean.backward(), step)
    }

    fn optimize(
        self,
        optimizer: &mut ModuleOptimizer,
        learning_rate: ModuleLearningRate,
        mut gradients: GradientsParams,
    ) -> Self {
        if let Some(longest) = self.clip_norm {
            clip_norm(&self, &mut gradients, longest);
        }
        optimizer.step(learning_rate, self, gradients)
    }
}

impl InferenceStep for Trainee {
    type Input = Batch;
    type Output = Validated;

    fn step(&self, batch: Batch) -> Validated {
        let detections = self.detector.forward(&batch.images);
        let results = batch.annotations.into_iter().zip(detections);
        Validated(results.map(|(annotations, detections)| ImageResult { annotations, detections }).collect())
    }
}

/// What a validation step gave.
#[derive(Debug, Clone)]
pub(super) struct Validated(pub Vec<ImageResult>);

impl ItemLazy for Validated {
    fn sync(self) -> Result<Self, ExecutionError> {
        Ok(self)
    }
}

/// Shortens the gradient of all parameters together to `longest`, as `torch.nn.utils.clip_grad_norm_`; all on
/// the device.
fn clip_norm(module: &impl Module, gradients: &mut GradientsParams, longest: f64) {
    let mut squares = SquareSums { gradients, sums: Vec::new() };
    module.visit(&mut squares);
    if squares.sums.is_empty() {
        return;
    }
    let norm = Tensor::cat(squares.sums, 0).sum().sqrt();
    let factor = ((norm + 1e-6).recip() * longest).clamp_max(1.0);
    module.visit(&mut Scale { gradients, factor });
}

struct SquareSums<'a> {
    gradients: &'a GradientsParams,
    sums: Vec<Tensor<1>>,
}

impl ModuleVisitor for SquareSums<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            self.sums.push(gradient.powi_scalar(2).sum());
        }
    }
}

struct Scale<'a> {
    gradients: &'a mut GradientsParams,
    /// `[1]`
    factor: Tensor<1>,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            let factor = self.factor.clone().reshape([1; D]);
            self.gradients.register::<D>(param.id, gradient * factor);
        }
    }
}
