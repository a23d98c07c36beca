//! What one step does: a training step computes losses and gradients and changes the weights, a validation
//! step computes losses and detects.

use std::sync::{Arc, OnceLock};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{ExecutionError, Tensor};
use burn::train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};

use super::average::WeightAverage;
use super::config::TrainConfig;
use crate::data::Batch;
use crate::eval::ImageResult;
use crate::model::{FasterRcnn, Losses, Sampling};
use crate::predict::Predictor;

/// The detector and how its gradients are used.
#[derive(Module, Debug)]
pub(super) struct Trainee {
    pub detector: FasterRcnn,
    /// The moving average of its weights, where the settings ask for one.
    pub average: Option<WeightAverage>,
    #[module(skip)]
    accumulation: usize,
    #[module(skip)]
    clip_norm: Option<f64>,
    /// The predictor for validation, built at the first validation image.
    #[module(skip)]
    predictor: OnceLock<Arc<Predictor>>,
}

impl Trainee {
    /// `average` is that of the detector's weights so far, where the settings ask for one.
    pub fn new(detector: FasterRcnn, average: Option<WeightAverage>, config: &TrainConfig) -> Self {
        let (accumulation, clip_norm) = (config.accumulation, config.clip_norm);
        let trainee = Self { detector, average, accumulation, clip_norm, predictor: OnceLock::new() };
        trainee.map(&mut NumberedParameters { next: 0 })
    }

    /// The detector that is validated and kept: that of the average weights where there is one.
    pub fn kept(&self) -> &FasterRcnn {
        self.average.as_ref().map_or(&self.detector, |average| &average.detector)
    }

    /// The gradients' part of the whole: of the batches of a step, and of a team's images.
    pub fn weight(&self, share: f32) -> f32 {
        share / self.accumulation as f32
    }

    /// Whether an update needs the gradients of all parameters at once, or makes something of all weights.
    pub fn updates_whole(&self) -> bool {
        self.clip_norm.is_some() || self.average.is_some()
    }
}

/// Parameter ids are positions, so a resumed run finds its optimiser state.
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
    /// The losses, in the order of [`Losses::NAMES`]. The losses of a team's members add up to those of the
    /// whole batch.
    pub losses: [f32; 4],
    /// File names of the images.
    pub names: Vec<String>,
}

impl Step {
    /// Reads the losses of a batch, which counts as its share of the whole one.
    pub fn read(losses: &Losses, share: f32, names: Vec<String>) -> Self {
        Self { losses: values(losses).map(|loss| loss * share), names }
    }

    /// A step without images.
    pub fn empty() -> Self {
        Self { losses: [0.0; 4], names: Vec::new() }
    }

    /// Whether all losses are numbers.
    pub fn is_finite(&self) -> bool {
        self.losses.iter().all(|loss| loss.is_finite())
    }
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
        let sampling = &mut Sampling::seeded(batch.seeds);
        let losses = self.detector.losses(&batch.images, &batch.annotations, sampling);
        let step = Step::read(&losses, batch.share, batch.names);
        if !step.is_finite() {
            // `Step::sync` ends the run; until then the weights stay as they are.
            return TrainOutput { grads: GradientsParams::new(), item: step };
        }
        let mean = losses.sum() * self.weight(batch.share);
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
        let mut next = optimizer.step(learning_rate, self, gradients);
        next.average = next.average.map(|average| average.updated(&next.detector));
        next
    }
}

impl InferenceStep for Trainee {
    type Input = Batch;
    type Output = Validated;

    /// Detects image by image, like [`Predictor`], so that an epoch's numbers equal those of an evaluation of
    /// its weights. The losses are those of the images alone, too, with the same samples in each epoch.
    fn step(&self, batch: Batch) -> Validated {
        let predictor = self.predictor.get_or_init(|| Arc::new(Predictor::new(self.kept().clone())));
        let Batch { names, images, annotations, seeds, .. } = batch;
        let validate = |index: usize| {
            let detections = predictor.detect_one(images[index].clone());
            let detections = detections.map_err(|error| format!("{}: {error:#}", names[index]))?;
            let (image, targets) = (&images[index..=index], &annotations[index..=index]);
            let losses = self.kept().losses(image, targets, &mut Sampling::seeded([seeds[index]]));
            let result = ImageResult { annotations: targets[0].clone(), detections };
            Ok(ValidatedImage { result, losses: values(&losses) })
        };
        let images: Result<Vec<_>, String> = (0..names.len()).map(validate).collect();
        Validated(images.map(Arc::from))
    }
}

/// The four losses, in the order of [`Losses::NAMES`], by one read from the device.
fn values(losses: &Losses) -> [f32; 4] {
    let values = Tensor::cat(losses.terms().to_vec(), 0).into_data();
    let values: Vec<f32> = values.try_into_vec().expect("losses are f32");
    values.try_into().expect("four losses")
}

/// What validation gives of an image.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ValidatedImage {
    pub result: ImageResult,
    /// In the order of [`Losses::NAMES`].
    pub losses: [f32; 4],
}

/// The results of a validation step, or the reason why the detector cannot be used any more.
#[derive(Debug, Clone)]
pub(super) struct Validated(Result<Arc<[ValidatedImage]>, String>);

impl Validated {
    /// The images of several parts of a batch as those of the whole, in their order.
    pub fn joined(parts: Vec<Self>) -> Self {
        let parts: Result<Vec<_>, String> = parts.into_iter().map(|part| part.0).collect();
        Self(parts.map(|parts| parts.iter().flat_map(|part| part.iter().cloned()).collect()))
    }

    /// The images of the batch; empty if the step failed, which ends the run.
    pub fn images(&self) -> &[ValidatedImage] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl ItemLazy for Validated {
    /// Stops the run where the detector computes NaN or infinity.
    fn sync(self) -> Result<Self, ExecutionError> {
        match self.0 {
            Ok(images) => Ok(Self(Ok(images))),
            Err(message) => Err(ExecutionError::with_context(message)),
        }
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

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use image::{Rgb, RgbImage};

    use super::*;
    use crate::model::{FasterRcnnConfig, ResNetDepth, Tiles};
    use crate::structures::{Annotation, Image};
    use crate::weights;

    fn detector() -> FasterRcnn {
        let mut config = FasterRcnnConfig::new(ResNetDepth::ResNet18, 3).with_image_size(64, 96);
        config.fpn_channels = 8;
        config.roi_heads.representation_size = 8;
        config.roi_heads.score_thresh = 0.0;
        config.init(&Device::flex())
    }

    fn batch(images: &[RgbImage]) -> Batch {
        Batch {
            names: (1..=images.len()).map(|number| format!("{number}.png")).collect(),
            images: images.iter().map(Image::from).collect(),
            annotations: vec![Vec::new(); images.len()],
            seeds: vec![0; images.len()],
            share: 1.0,
        }
    }

    fn images() -> Vec<RgbImage> {
        // Two different shapes: in one batch both would be padded.
        let pixel = |x: u32, y: u32| Rgb([(7 * x) as u8, (5 * y) as u8, (x * y) as u8]);
        vec![RgbImage::from_fn(96, 64, pixel), RgbImage::from_fn(64, 96, pixel)]
    }

    #[test]
    fn validation_detects_what_a_predictor_detects() {
        for tiles in [None, Some(Tiles { size: 64, overlap: 16 })] {
            let config = FasterRcnnConfig { tiles, ..detector().config().clone() };
            validation_detects_as_a_predictor(config.init(&Device::flex()));
        }
    }

    fn validation_detects_as_a_predictor(detector: FasterRcnn) {
        let images = images();
        let trainee = Trainee::new(detector.clone(), None, &TrainConfig::default());
        let validated = InferenceStep::step(&trainee, batch(&images)).sync().unwrap();
        let found: Vec<_> = validated.images().iter().map(|image| image.result.detections.clone()).collect();
        let together = detector.forward(&batch(&images).images);
        let predictor = Predictor::new(detector);
        let expected: Vec<_> = images.iter().map(|image| predictor.detect(image).unwrap()).collect();
        assert!(expected.iter().all(|detections| !detections.is_empty()));
        assert_eq!(found, expected);
        assert_ne!(found, together);
    }

    #[test]
    fn validation_has_the_losses_of_each_image() {
        let (detector, images) = (detector(), images());
        let mut batch = batch(&images);
        batch.annotations = vec![vec![Annotation::new([10.0, 8.0, 40.0, 30.0], 2)], Vec::new()];
        batch.seeds = vec![5, 6];
        let trainee = Trainee::new(detector.clone(), None, &TrainConfig::default());
        let validated = InferenceStep::step(&trainee, batch.clone()).sync().unwrap();
        let again = InferenceStep::step(&trainee, batch.clone()).sync().unwrap();
        for index in 0..2 {
            let one = index..index + 1;
            let sampling = &mut Sampling::seeded(batch.seeds[one.clone()].to_vec());
            let losses = detector.losses(&batch.images[one.clone()], &batch.annotations[one], sampling);
            assert_eq!(validated.images()[index].losses, values(&losses));
            assert_eq!(validated.images()[index].losses, again.images()[index].losses);
        }
        let [with_object, without] = [0, 1].map(|index| validated.images()[index].losses);
        assert!(with_object.iter().all(|loss| *loss > 0.0), "{with_object:?}");
        assert_eq!((without[1], without[3]), (0.0, 0.0), "there is no box to learn");
    }

    #[test]
    fn broken_weights_end_the_run_in_validation() {
        let mut tensors = weights::collect(&detector());
        tensors[0].values[0] = f32::NAN;
        let detector = weights::apply(detector(), tensors).unwrap();
        let trainee = Trainee::new(detector, None, &TrainConfig::default());
        let error = InferenceStep::step(&trainee, batch(&images())).sync().unwrap_err();
        assert!(error.to_string().contains("1.png: the detector's backbone computes NaN"), "{error}");
    }
}
