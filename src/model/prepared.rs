//! The detector at inference.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor};

use super::config::FasterRcnnConfig;
use super::layers::PreparedConvNorm;
use super::network::{Activations, Network};
use super::transform::ImageList;
use crate::error::{Error, Result};
use crate::structures::{Detection, Image};

/// A detector that is ready for inference, made by [`FasterRcnn::prepare`](super::FasterRcnn::prepare).
///
/// Its weights are in the form that the device multiplies with, so they cannot be replaced, trained or moved.
/// A clone shares them.
#[derive(Debug, Clone)]
pub struct PreparedFasterRcnn {
    network: Arc<Network<PreparedConvNorm>>,
    config: FasterRcnnConfig,
    device: Device,
}

/// The parts of the detector that [`PreparedFasterRcnn::detect`] checks, in the order of its flags.
const CHECKED: [&str; 3] = ["backbone", "region proposal network", "RoI heads"];

impl PreparedFasterRcnn {
    pub(super) fn new(network: Network, config: FasterRcnnConfig) -> Self {
        let device = network.devices().into_iter().next().expect("a detector has weights");
        Self { network: Arc::new(network.prepare()), config, device }
    }

    /// The settings.
    pub fn config(&self) -> &FasterRcnnConfig {
        &self.config
    }

    /// The device the weights are on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The same weights, shared, with other inference settings. Only changes that need no other weights have
    /// an effect, such as thresholds and the image size.
    ///
    /// # Errors
    ///
    /// As [`FasterRcnnConfig::validate`].
    pub(crate) fn with_settings(&self, change: impl FnOnce(&mut FasterRcnnConfig)) -> Result<Self> {
        let mut changed = self.clone();
        change(&mut changed.config);
        changed.config.validate()?;
        Ok(changed)
    }

    /// Detects: images to detections by falling score, in pixels of the original images.
    ///
    /// # Panics
    ///
    /// If there is no image.
    pub fn forward(&self, images: &[Image]) -> Vec<Vec<Detection>> {
        let images = self.config.transform.batch(images, &self.device);
        self.detections(&images, &self.activations(&images))
    }

    /// As [`forward`](Self::forward), and checks what the network computes.
    ///
    /// # Errors
    ///
    /// [`Error::NonFinite`] if it computes a NaN or an infinity. Comparisons with a NaN are false, so without
    /// this check an image would look empty to a detector with broken weights.
    pub fn detect(&self, images: &[Image]) -> Result<Vec<Vec<Detection>>> {
        let images = self.config.transform.batch(images, &self.device);
        let activations = self.activations(&images);
        let found = activations.detections(&images, &self.config).with_flags(finite(&activations));
        let found = found.download(&images);
        match CHECKED.iter().zip(found.flags).find(|(_, finite)| !finite) {
            None => Ok(found.detections),
            Some((part, _)) => Err(Error::NonFinite(format!(
                "the detector's {part} computes NaN or infinity: its weights are broken"
            ))),
        }
    }

    /// Runs the network on a batch and keeps what each part of it gives, to look inside.
    #[doc(hidden)]
    pub fn activations(&self, images: &ImageList) -> Activations {
        self.network.activations(images, &self.config)
    }

    /// The last step of [`forward`](Self::forward).
    #[doc(hidden)]
    pub fn detections(&self, images: &ImageList, activations: &Activations) -> Vec<Vec<Detection>> {
        activations.detections(images, &self.config).download(images).detections
    }

    /// The layers.
    #[doc(hidden)]
    pub fn network(&self) -> &Network<PreparedConvNorm> {
        &self.network
    }
}

/// 1 for each of [`CHECKED`] whose values are all finite, else 0.
fn finite(activations: &Activations) -> Tensor<1> {
    fn all<const D: usize>(tensor: &Tensor<D>) -> Tensor<1, Bool> {
        tensor.clone().is_finite().all()
    }
    let backbone =
        activations.pyramid.iter().map(all).reduce(Tensor::bool_and).expect("a pyramid has levels");
    let rpn = all(&activations.rpn.objectness).bool_and(all(&activations.rpn.deltas));
    let roi_heads = all(&activations.roi.class_logits).bool_and(all(&activations.roi.box_deltas));
    Tensor::cat([backbone, rpn, roi_heads].map(|all| all.float()).to_vec(), 0)
}
