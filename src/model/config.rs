//! The settings of the detector.

use serde::{Deserialize, Serialize};

use super::anchors::AnchorConfig;
use super::box_head::BoxHeadKind;
use super::layers::{FrozenBatchNorm, NormKind};
use super::resnet::ResNetDepth;
use super::roi_heads::RoiHeadsConfig;
use super::rpn::RpnConfig;
use super::tiles::Tiles;
use super::transform::TransformConfig;
use crate::bounds::{self, MAX_COUNT};
use crate::error::{Error, Result};
use crate::structures::{Corners, ReferenceAlign, ReferenceInput};

/// Architecture and settings; the defaults are torchvision's `fasterrcnn_resnet50_fpn`.
///
/// ```
/// use faster_rcnn::{AnchorConfig, FasterRcnnConfig, NormKind, ResNetDepth};
///
/// let anchors = AnchorConfig { sizes: [8.0, 16.0, 32.0, 64.0, 128.0], ..AnchorConfig::default() };
/// let config = FasterRcnnConfig::new(ResNetDepth::ResNet18, 3)
///     .with_class_names(&["open", "short"])
///     .with_norm(NormKind::Group)
///     .with_trainable_layers(5)
///     .with_anchors(anchors)
///     .with_image_size(640, 640);
/// assert!(config.validate().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FasterRcnnConfig {
    /// The backbone.
    pub backbone: ResNetDepth,
    /// The norm in the backbone.
    pub norm: NormKind,
    /// The norm in the pyramid; none in torchvision's v1 detector, batch norm in its v2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fpn_norm: Option<NormKind>,
    /// What frozen batch norms add to the variance; torchvision uses 0 with its COCO v1 weights.
    #[serde(default = "default_frozen_epsilon")]
    pub frozen_epsilon: f64,
    /// How many of the backbone's five layers (conv1, layer1..layer4) are trained, counted from the last.
    pub trainable_layers: usize,
    /// Channels of the pyramid.
    pub fpn_channels: usize,
    /// Classes, the background (0) included. 0 in training settings means as many as the data set has; see
    /// [`for_classes`](Self::for_classes).
    #[serde(default)]
    pub num_classes: usize,
    /// Names of the classes 1, 2, ...; empty where they are not known.
    #[serde(default)]
    pub class_names: Vec<String>,
    /// Seed of the random weights.
    pub seed: u64,
    /// What the detector sees besides the image.
    #[serde(default)]
    pub reference: ReferenceInput,
    /// How a reference is brought onto the image.
    #[serde(default)]
    pub reference_align: ReferenceAlign,
    /// What the corners of boxes are, in the data set and in what is detected. In training settings none means
    /// as in the data set, elsewhere edges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corners: Option<Corners>,
    /// How many views of an image a [`Predictor`](crate::Predictor) looks at: 1, or also the image mirrored
    /// from left to right (2), from top to bottom (4) and along its diagonal (8). Several take as many times
    /// as long, and find more and alarm less, if training showed the detector such views.
    #[serde(default = "default_views")]
    pub views: usize,
    /// The windows through which a [`Predictor`](crate::Predictor) looks at larger images. In the settings of
    /// a run, none means windows like `augment.crop`, if that is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiles: Option<Tiles>,
    /// The input transform.
    #[serde(default)]
    pub transform: TransformConfig,
    /// The anchors.
    #[serde(default)]
    pub anchors: AnchorConfig,
    /// The region proposal network.
    #[serde(default)]
    pub rpn: RpnConfig,
    /// The RoI heads.
    #[serde(default)]
    pub roi_heads: RoiHeadsConfig,
}

fn default_views() -> usize {
    1
}

fn default_frozen_epsilon() -> f64 {
    FrozenBatchNorm::EPSILON
}

impl FasterRcnnConfig {
    /// A backbone of any depth with torchvision's defaults for pre-trained weights: frozen batch norm, the
    /// last three layers trained. `num_classes` counts the background.
    pub fn new(backbone: ResNetDepth, num_classes: usize) -> Self {
        Self {
            backbone,
            norm: NormKind::FrozenBatch,
            fpn_norm: None,
            frozen_epsilon: FrozenBatchNorm::EPSILON,
            trainable_layers: 3,
            fpn_channels: 256,
            num_classes,
            class_names: Vec::new(),
            seed: 0,
            reference: ReferenceInput::None,
            reference_align: ReferenceAlign::Off,
            corners: None,
            views: default_views(),
            tiles: None,
            transform: TransformConfig::default(),
            anchors: AnchorConfig::default(),
            rpn: RpnConfig::default(),
            roi_heads: RoiHeadsConfig::default(),
        }
    }

    /// torchvision's `fasterrcnn_resnet50_fpn`.
    pub fn resnet50_fpn(num_classes: usize) -> Self {
        Self::new(ResNetDepth::ResNet50, num_classes)
    }

    /// torchvision's `fasterrcnn_resnet50_fpn_v2`: batch norm in the backbone and the pyramid, two
    /// convolutions in the RPN, four in the box head.
    pub fn resnet50_fpn_v2(num_classes: usize) -> Self {
        let mut config = Self::resnet50_fpn(num_classes)
            .with_norm(NormKind::Batch)
            .with_fpn_norm(Some(NormKind::Batch))
            .with_box_head(BoxHeadKind::FourConv);
        config.rpn.conv_depth = 2;
        config
    }

    /// The smallest detector that trains from random weights, for tests: ResNet-18 with group norm, images of
    /// 64 pixels, and as few channels as there may be elsewhere.
    #[doc(hidden)]
    pub fn tiny(num_classes: usize) -> Self {
        Self::new(ResNetDepth::ResNet18, num_classes)
            .with_norm(NormKind::Group)
            .with_trainable_layers(5)
            .with_image_size(64, 64)
            .with_fpn_channels(8)
            .with_representation_size(8)
    }

    /// Names the classes 1, 2, ... and sets their number.
    #[must_use]
    pub fn with_class_names<S: ToString>(mut self, names: &[S]) -> Self {
        self.class_names = names.iter().map(S::to_string).collect();
        self.num_classes = names.len() + 1;
        self
    }

    /// Sets the norm of the backbone.
    #[must_use]
    pub fn with_norm(self, norm: NormKind) -> Self {
        Self { norm, ..self }
    }

    /// Sets the norm of the pyramid.
    #[must_use]
    pub fn with_fpn_norm(self, fpn_norm: Option<NormKind>) -> Self {
        Self { fpn_norm, ..self }
    }

    /// Sets what frozen batch norms add to the variance.
    #[must_use]
    pub fn with_frozen_epsilon(self, frozen_epsilon: f64) -> Self {
        Self { frozen_epsilon, ..self }
    }

    /// Sets how many of the backbone's five layers are trained.
    #[must_use]
    pub fn with_trainable_layers(self, trainable_layers: usize) -> Self {
        Self { trainable_layers, ..self }
    }

    /// Sets the channels of the pyramid.
    #[must_use]
    pub fn with_fpn_channels(self, fpn_channels: usize) -> Self {
        Self { fpn_channels, ..self }
    }

    /// Sets the seed of the random weights.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Sets what the detector sees besides the image.
    #[must_use]
    pub fn with_reference(self, reference: ReferenceInput) -> Self {
        Self { reference, ..self }
    }

    /// Sets how a reference is brought onto the image.
    #[must_use]
    pub fn with_reference_align(self, reference_align: ReferenceAlign) -> Self {
        Self { reference_align, ..self }
    }

    /// Sets what the corners of boxes are.
    #[must_use]
    pub fn with_corners(self, corners: Corners) -> Self {
        Self { corners: Some(corners), ..self }
    }

    /// Sets the short and the long side that images are resized to, in pixels.
    #[must_use]
    pub fn with_image_size(mut self, min_size: usize, max_size: usize) -> Self {
        (self.transform.min_size, self.transform.max_size) = (min_size, max_size);
        self
    }

    /// Sets everything of the input transform.
    #[must_use]
    pub fn with_transform(self, transform: TransformConfig) -> Self {
        Self { transform, ..self }
    }

    /// Sets the anchors.
    #[must_use]
    pub fn with_anchors(self, anchors: AnchorConfig) -> Self {
        Self { anchors, ..self }
    }

    /// Sets everything of the region proposal network.
    #[must_use]
    pub fn with_rpn(self, rpn: RpnConfig) -> Self {
        Self { rpn, ..self }
    }

    /// Sets everything of the RoI heads.
    #[must_use]
    pub fn with_roi_heads(self, roi_heads: RoiHeadsConfig) -> Self {
        Self { roi_heads, ..self }
    }

    /// Sets which hidden layers the RoI heads have.
    #[must_use]
    pub fn with_box_head(mut self, box_head: BoxHeadKind) -> Self {
        self.roi_heads.box_head = box_head;
        self
    }

    /// Sets the width of the RoI heads' hidden layers.
    #[must_use]
    pub fn with_representation_size(mut self, representation_size: usize) -> Self {
        self.roi_heads.representation_size = representation_size;
        self
    }

    /// Sets the score that detections are above, in `0..=1`.
    #[must_use]
    pub fn with_score_thresh(mut self, score_thresh: f32) -> Self {
        self.roi_heads.score_thresh = score_thresh;
        self
    }

    /// Sets the IoU above which the lower-scored of two detections of a class is dropped, in `0..=1`.
    #[must_use]
    pub fn with_nms_thresh(mut self, nms_thresh: f64) -> Self {
        self.roi_heads.nms_thresh = nms_thresh;
        self
    }

    /// Sets the IoU above which detections of two classes are one object, in `0..=1`; 1 is off.
    #[must_use]
    pub fn with_exclusive_iou(mut self, exclusive_iou: f64) -> Self {
        self.roi_heads.exclusive_iou = exclusive_iou;
        self
    }

    /// Sets the most detections per image.
    #[must_use]
    pub fn with_detections_per_img(mut self, detections_per_img: usize) -> Self {
        self.roi_heads.detections_per_img = detections_per_img;
        self
    }

    /// The settings for a data set with these classes, 1, 2, ...: if the settings do not give the number and
    /// names of the classes, they come from the data set.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with both lists, if the settings give other classes.
    pub fn for_classes<S: AsRef<str>>(&self, class_names: &[S]) -> Result<Self> {
        let names: Vec<&str> = class_names.iter().map(AsRef::as_ref).collect();
        let unsaid = (self.num_classes == 0, self.class_names.is_empty());
        let fits = (unsaid.0 || self.num_classes == names.len() + 1)
            && (unsaid.1 || self.class_names.iter().eq(&names));
        if fits {
            return Ok(self.clone().with_class_names(&names));
        }
        let settings = match unsaid {
            (_, true) => format!("num_classes is {} with the background", self.num_classes),
            (true, false) => format!("class_names are {}", self.class_names.join(", ")),
            (false, false) => format!(
                "num_classes is {} with the background and class_names are {}",
                self.num_classes,
                self.class_names.join(", ")
            ),
        };
        Err(Error::Config(format!(
            "{settings}, but the data set has the {} classes {}",
            names.len(),
            names.join(", ")
        )))
    }

    /// Finds settings that cannot work.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] names the first one.
    pub fn validate(&self) -> Result<()> {
        bounds::within("num_classes", self.num_classes, 2..=MAX_COUNT)?;
        let named = self.class_names.len();
        bounds::ensure(named == 0 || named + 1 == self.num_classes, || {
            format!(
                "class_names must name each class but the background: {} names, there are {named}",
                self.num_classes - 1
            )
        })?;
        bounds::within("trainable_layers", self.trainable_layers, 0..=5)?;
        bounds::within("fpn_channels", self.fpn_channels, 1..=4096)?;
        bounds::ensure(
            self.fpn_norm != Some(NormKind::Group) || self.fpn_channels.is_multiple_of(32),
            || format!("fpn_channels must be a multiple of 32 for group norm, is {}", self.fpn_channels),
        )?;
        bounds::within("frozen_epsilon", self.frozen_epsilon, 0.0..=1.0)?;
        bounds::ensure(
            self.reference != ReferenceInput::None || self.reference_align == ReferenceAlign::Off,
            || "reference_align needs a reference: set reference to \"difference\"".to_string(),
        )?;
        bounds::ensure(cfg!(feature = "align") || self.reference_align == ReferenceAlign::Off, || {
            "reference_align needs the Cargo feature `align`, which this program was built without"
                .to_string()
        })?;
        bounds::ensure([1, 2, 4, 8].contains(&self.views), || {
            format!("views must be 1, 2, 4 or 8, is {}", self.views)
        })?;
        self.tiles.map_or(Ok(()), |tiles| tiles.validate())?;
        self.transform.validate()?;
        self.anchors.validate()?;
        self.rpn.validate()?;
        self.roi_heads.validate()
    }
}
