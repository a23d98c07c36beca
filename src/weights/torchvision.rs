//! What a file of tensors holds: a detector, or a classifier to start its backbone from.
//!
//! Three namings are known: today's detectors', the older one of the published v1 file
//! (`rpn.head.conv.weight`, `backbone.fpn.inner_blocks.0.weight`), and the classifiers'
//! (`conv1.weight`, ..., `fc.bias`). Each may stand under the key of a training checkpoint.
//!
//! Source: torchvision `models/detection/{faster_rcnn,rpn,backbone_utils}.py`,
//! `ops/feature_pyramid_network.py` (`_load_from_state_dict`).

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::coco::COCO_CLASSES;
use super::file::WeightFile;
use crate::error::{Error, Result};
use crate::model::FasterRcnnConfig;
use crate::model::BoxHeadKind;
use crate::model::layers::{FrozenBatchNorm, NormKind};
use crate::model::ResNetDepth;

/// Where a state dict may stand in a file: at its root, or under a checkpoint's key, either bare or
/// saved from a `DistributedDataParallel` wrapper.
const PREFIXES: [&str; 8] = [
    "",
    "model.",
    "state_dict.",
    "model_state_dict.",
    "module.",
    "model.module.",
    "state_dict.module.",
    "model_state_dict.module.",
];

/// What the names of a detector's ResNet begin with.
const BODY: &str = "backbone.body.";

/// The tensor that every detector has, and after [`BODY`] every classifier.
const STEM: &str = "backbone.body.conv1.weight";

/// A batch norm's count of batches, which no computation looks at.
const COUNTER: &str = ".num_batches_tracked";

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A ResNet that classifies images.
    Classifier,
    /// A whole Faster R-CNN.
    Detector,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Classifier => "classifier",
            Self::Detector => "detector",
        })
    }
}

/// What a file holds, and its architecture.
#[derive(Debug, Clone, PartialEq)]
pub enum Model {
    /// A ResNet that classifies images.
    Classifier(ResNetDepth),
    /// A whole Faster R-CNN.
    Detector(Box<FasterRcnnConfig>),
}

/// A file's tensors under today's names of a detector.
#[derive(Debug)]
pub(super) struct Contents {
    pub kind: Kind,
    /// Today's name to the file's.
    pub names: BTreeMap<String, String>,
    /// The file's names of tensors that no detector has: a classifier's last layer, counters.
    pub left_out: Vec<String>,
    /// Whether it has the older names.
    old_names: bool,
}

impl Contents {
    pub fn of(file: &WeightFile) -> Result<Self> {
        let classifier_stem = STEM.trim_start_matches(BODY);
        let has = |prefix: &str, name: &str| file.tensors().contains_key(&format!("{prefix}{name}"));
        let found = PREFIXES.iter().find_map(|prefix| match () {
            () if has(prefix, STEM) => Some((prefix, Kind::Detector)),
            () if has(prefix, classifier_stem) => Some((prefix, Kind::Classifier)),
            () => None,
        });
        let Some((prefix, kind)) = found else {
            let message = format!("is missing, and so is {classifier_stem}: neither a detector nor a ResNet");
            return Err(Error::tensor(file.path(), STEM, message));
        };
        let mut contents = Self { kind, names: BTreeMap::new(), left_out: Vec::new(), old_names: false };
        for stored in file.tensors().keys() {
            // The rest of a checkpoint, such as the optimiser's state, is none of the model's.
            let Some(name) = stored.strip_prefix(prefix) else { continue };
            let classifiers_last = kind == Kind::Classifier && name.starts_with("fc.");
            if classifiers_last || name.ends_with(COUNTER) {
                contents.left_out.push(stored.clone());
                continue;
            }
            let today = match kind {
                Kind::Classifier => format!("{BODY}{name}"),
                Kind::Detector => todays_name(name),
            };
            contents.old_names |= kind == Kind::Detector && today != name;
            if contents.names.insert(today.clone(), stored.clone()).is_some() {
                return Err(Error::tensor(file.path(), stored, format!("stands for {today} a second time")));
            }
        }
        Ok(contents)
    }

    /// What torchvision's frozen batch norms add to the variance with these weights: 0 for the published
    /// COCO v1 detector, which was trained so and is the one with the older names.
    pub fn frozen_epsilon(&self) -> f64 {
        if self.old_names { 0.0 } else { FrozenBatchNorm::EPSILON }
    }

    /// Which ResNet it is or has.
    pub fn depth(&self) -> ResNetDepth {
        let has = |name: String| self.names.contains_key(&name);
        let blocks =
            (0..).take_while(|block| has(format!("backbone.body.layer3.{block}.conv1.weight"))).count();
        match (has("backbone.body.layer1.0.conv3.weight".to_string()), blocks) {
            (false, ..=2) => ResNetDepth::ResNet18,
            (false, _) => ResNetDepth::ResNet34,
            (true, ..=6) => ResNetDepth::ResNet50,
            (true, _) => ResNetDepth::ResNet101,
        }
    }

    /// The tensors of a classifier: torchvision's name and the file's.
    pub fn classifier_names(&self) -> impl Iterator<Item = (&str, &str)> {
        let body = self.names.iter().map(|(name, stored)| (name.trim_start_matches(BODY), stored.as_str()));
        let last = self.left_out.iter().filter_map(|stored| {
            let start = stored.rfind("fc.").filter(|_| !stored.ends_with(COUNTER))?;
            Some((&stored[start..], stored.as_str()))
        });
        body.chain(last)
    }

    /// The settings of a detector, from the names and shapes of its tensors; the others are torchvision's
    /// defaults. 91 classes are taken for those of COCO.
    pub fn config(&self, file: &WeightFile) -> Result<FasterRcnnConfig> {
        if self.kind == Kind::Classifier {
            let message = "a classifier, not a detector: it can only be what training starts from";
            return Err(Error::file(file.path(), message));
        }
        let has = |name: &str| self.names.contains_key(name);
        let side = |name: &str, axis: usize| {
            let stored = self.names.get(name).and_then(|name| file.tensors().get(name));
            let tensor = stored.ok_or_else(|| Error::tensor(file.path(), name, "is missing"))?;
            let side = tensor.shape.get(axis).copied();
            side.ok_or_else(|| Error::tensor(file.path(), name, format!("has shape {:?}", tensor.shape)))
        };
        let num_classes = side("roi_heads.box_predictor.cls_score.weight", 0)?;
        let mut config = FasterRcnnConfig::new(self.depth(), num_classes);
        let counts_batches = self.left_out.iter().any(|name| name.ends_with("body.bn1.num_batches_tracked"));
        config.norm = match (has("backbone.body.bn1.running_mean"), counts_batches) {
            (true, true) => NormKind::Batch,
            (true, false) => NormKind::FrozenBatch,
            (false, _) => NormKind::Group,
        };
        config.frozen_epsilon = self.frozen_epsilon();
        config.fpn_channels = side("backbone.fpn.inner_blocks.0.0.weight", 0)?;
        let fpn_norm = |kind: &str| has(&format!("backbone.fpn.inner_blocks.0.1.{kind}"));
        config.fpn_norm = match (fpn_norm("running_mean"), fpn_norm("weight")) {
            (true, _) => Some(NormKind::Batch),
            (false, true) => Some(NormKind::Group),
            (false, false) => None,
        };
        config.rpn.conv_depth =
            (0..).take_while(|index| has(&format!("rpn.head.conv.{index}.0.weight"))).count().max(1);
        let first_linear = if has("roi_heads.box_head.5.weight") {
            config.roi_heads.box_head = BoxHeadKind::FourConv;
            "roi_heads.box_head.5.weight"
        } else {
            "roi_heads.box_head.fc6.weight"
        };
        config.roi_heads.representation_size = side(first_linear, 0)?;
        config.roi_heads.output_size = (side(first_linear, 1)? / config.fpn_channels.max(1)).isqrt();
        if num_classes == COCO_CLASSES.len() + 1 {
            config.class_names = COCO_CLASSES.map(str::to_string).to_vec();
        }
        config.validate().map_err(|error| Error::file(file.path(), error))?;
        Ok(config)
    }
}

/// The name that torchvision has today for a detector's tensor.
fn todays_name(name: &str) -> String {
    if let Some(parameter) = name.strip_prefix("rpn.head.conv.").filter(|rest| !rest.contains('.')) {
        return format!("rpn.head.conv.0.0.{parameter}");
    }
    for blocks in ["backbone.fpn.inner_blocks.", "backbone.fpn.layer_blocks."] {
        let rest = name.strip_prefix(blocks).and_then(|rest| rest.split_once('.'));
        if let Some((level, parameter)) = rest.filter(|(_, parameter)| !parameter.contains('.')) {
            return format!("{blocks}{level}.0.{parameter}");
        }
    }
    name.to_string()
}

#[cfg(test)]
mod tests {
    use super::todays_name;

    #[test]
    fn older_names_are_todays_with_the_layer_in_its_sequence() {
        for (old, today) in [
            ("rpn.head.conv.bias", "rpn.head.conv.0.0.bias"),
            ("rpn.head.conv.0.0.bias", "rpn.head.conv.0.0.bias"),
            ("backbone.fpn.inner_blocks.3.weight", "backbone.fpn.inner_blocks.3.0.weight"),
            ("backbone.fpn.layer_blocks.0.1.running_var", "backbone.fpn.layer_blocks.0.1.running_var"),
            ("rpn.head.cls_logits.weight", "rpn.head.cls_logits.weight"),
        ] {
            assert_eq!(todays_name(old), today);
        }
    }
}
