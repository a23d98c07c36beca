//! The work that is timed, the same as `benches/compare_torchvision.py` gives torchvision: it says what
//! it is. Each round of the detector returns what both sides have to agree on.
#![allow(dead_code, reason = "each bench uses a part of this")]

#[path = "../../tests/common/mod.rs"]
pub mod common;

pub mod boxes;
pub mod data;

use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::Device;
use faster_rcnn::{Annotation, FasterRcnn, FasterRcnnConfig, Image, NormKind, PreparedFasterRcnn, Sampling};

const SEED: u64 = 10;
const LEARNING_RATE: f64 = 1e-6;

/// `(height, width)` of the images.
pub type Size = (usize, usize);

/// From images to detections.
pub struct Inference {
    model: PreparedFasterRcnn,
    images: Vec<Image>,
}

impl Inference {
    pub fn new(batch: usize, size: Size, device: &Device) -> Self {
        let config = FasterRcnnConfig::resnet50_fpn(7);
        Self { model: detector(config, size, device).prepare(), images: images(batch, size) }
    }

    /// The number of detections and the sum of their scores.
    pub fn round(&self) -> Vec<f64> {
        let detections = self.model.forward(&self.images).concat();
        let scores = detections.iter().map(|detection| f64::from(detection.score)).sum();
        vec![detections.len() as f64, scores]
    }
}

/// Steps of training: forward, backward, SGD with momentum.
pub struct Training {
    /// Taken out only while the optimizer turns it into the next one.
    model: Option<FasterRcnn>,
    optimizer: ModuleOptimizer,
    images: Vec<Image>,
    targets: Vec<Vec<Annotation>>,
}

impl Training {
    pub fn new(batch: usize, size: Size, norm: NormKind, stages: usize, device: &Device) -> Self {
        let config = FasterRcnnConfig::resnet50_fpn(7).with_norm(norm).with_trainable_layers(stages);
        let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
        Self {
            model: Some(detector(config, size, &device.clone().autodiff())),
            optimizer: SgdConfig::new().with_momentum(Some(momentum)).init(),
            images: images(batch, size),
            targets: (0..batch).map(|image| targets(image, size)).collect(),
        }
    }

    /// The four losses before the step.
    pub fn round(&mut self) -> Vec<f64> {
        let model = self.model.take().expect("the last step ended");
        let losses = model.losses(&self.images, &self.targets, &mut Sampling::First);
        let terms = losses.terms().map(|term| term.into_scalar::<f64>());
        assert!(terms.iter().all(|term| term.is_finite()), "losses are not finite: {terms:?}");
        let gradients = GradientsParams::from_grads(losses.sum().backward(), &model);
        self.model = Some(self.optimizer.step(LEARNING_RATE, model, gradients));
        terms.to_vec()
    }
}

fn detector(config: FasterRcnnConfig, (height, width): Size, device: &Device) -> FasterRcnn {
    let config = config.with_image_size(height.min(width), height.max(width));
    common::fill(config.init(device), SEED)
}

fn images(batch: usize, (height, width): Size) -> Vec<Image> {
    (0..batch).map(|index| common::image(&format!("bench{index}"), height, width)).collect()
}

/// Eight boxes with sides of 5 to 30 % of the image's, anywhere inside it.
fn targets(image: usize, (image_height, image_width): Size) -> Vec<Annotation> {
    let numbers: Vec<f64> = common::unit(&format!("bench{image}/boxes")).take(32).collect();
    let (boxes, _) = numbers.as_chunks::<4>();
    let (image_height, image_width) = (image_height as f64, image_width as f64);
    let target = |(index, [x, y, width, height]): (usize, &[f64; 4])| {
        let [width, height] =
            [(width, image_width), (height, image_height)].map(|(u, side)| (0.05 + 0.25 * u) * side);
        let (x, y) = (x * (image_width - width), y * (image_height - height));
        Annotation::new([x, y, x + width, y + height].map(|side| side as f32), index % 6 + 1)
    };
    boxes.iter().enumerate().map(target).collect()
}
