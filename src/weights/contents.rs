//! Which model a file of tensors holds: a detector, or a classifier to start its backbone from.
//!
//! Three namings are known: today's detectors', the older one of the published v1 file
//! (`rpn.head.conv.weight`, `backbone.fpn.inner_blocks.0.weight`), and the classifiers' (`conv1.weight`, ...,
//! `fc.bias`). Each may be in any dictionary of a training checkpoint, and behind any prefix that a wrapper
//! adds (`module.` of `DistributedDataParallel`, `_orig_mod.` of `torch.compile`, ...). All of them only add
//! a prefix, so the prefix is searched for.
//!
//! Source: torchvision `models/detection/{faster_rcnn,rpn,backbone_utils}.py`,
//! `ops/feature_pyramid_network.py` (`_load_from_state_dict`).

use std::collections::BTreeMap;

use super::coco::COCO_CLASSES;
use super::file::WeightFile;
use super::kind::WeightFileKind;
use super::options::LoadOptions;
use super::report::EpsilonSource;
use crate::error::{Error, Result};
use crate::model::BoxHeadKind;
use crate::model::FasterRcnnConfig;
use crate::model::ResNetDepth;
use crate::model::layers::{FrozenBatchNorm, NormKind};

/// What the names of a detector's ResNet begin with.
pub(super) const BODY: &str = "backbone.body.";

/// A tensor that every detector has.
const DETECTORS_STEM: &str = "backbone.body.conv1.weight";

/// Tensors that every classifier has. The first alone proves nothing: the blocks of a ResNet have a tensor
/// with that name, too.
const CLASSIFIERS_STEM: [&str; 2] = ["conv1.weight", "layer1.0.conv1.weight"];

/// A batch norm's count of batches, which no computation looks at.
const COUNTER: &str = ".num_batches_tracked";

/// A file's tensors under today's names of a detector.
#[derive(Debug)]
pub(super) struct Contents {
    pub kind: WeightFileKind,
    /// The prefix of the model's names in the file.
    pub prefix: String,
    /// From today's name to the name in the file.
    pub names: BTreeMap<String, String>,
    /// The file's names of tensors that no detector has: a classifier's last layer, counters.
    pub left_out: Vec<String>,
    /// Whether it has the older names.
    old_names: bool,
}

impl Contents {
    /// # Errors
    ///
    /// [`Error::Tensor`] if the file holds no model, [`Error::File`] if it holds several and the options do
    /// not select one.
    pub fn of(file: &WeightFile, options: &LoadOptions) -> Result<Self> {
        let (prefix, kind) = find_model(file, options)?;
        let mut contents =
            Self { kind, prefix, names: BTreeMap::new(), left_out: Vec::new(), old_names: false };
        for stored in file.tensors().keys() {
            // The rest of a checkpoint, such as the optimizer's state, does not belong to the model.
            let Some(name) = stored.strip_prefix(&contents.prefix) else { continue };
            let classifiers_last = kind == WeightFileKind::Classifier && name.starts_with("fc.");
            if classifiers_last || name.ends_with(COUNTER) {
                contents.left_out.push(stored.clone());
                continue;
            }
            let today = match kind {
                WeightFileKind::Classifier => format!("{BODY}{name}"),
                WeightFileKind::Detector => todays_name(name),
            };
            contents.old_names |= kind == WeightFileKind::Detector && today != name;
            if contents.names.insert(today.clone(), stored.clone()).is_some() {
                return Err(Error::tensor(file.path(), stored, format!("stands for {today} a second time")));
            }
        }
        Ok(contents)
    }

    /// What torchvision's frozen batch norms add to the variance with these weights. It is 0 for the
    /// published COCO v1 detector, which was trained with 0; only that file has the older names. Detectors
    /// fine-tuned from it in Python have today's names, so they cannot be told from other files.
    pub fn frozen_epsilon(&self) -> (f64, EpsilonSource) {
        match self.old_names {
            true => (0.0, EpsilonSource::OldNames),
            false => (FrozenBatchNorm::EPSILON, EpsilonSource::Default),
        }
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
        if self.kind == WeightFileKind::Classifier {
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
        config.frozen_epsilon = self.frozen_epsilon().0;
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
        config
            .validate()
            .map_err(|error| Error::file_because(file.path(), "no detector that can work", error))?;
        Ok(config)
    }
}

/// The prefix of the one model in a file, and its kind.
fn find_model(file: &WeightFile, options: &LoadOptions) -> Result<(String, WeightFileKind)> {
    let has = |prefix: &str, name: &str| file.tensors().contains_key(&format!("{prefix}{name}"));
    let classifies = |prefix: &str| CLASSIFIERS_STEM.iter().all(|name| has(prefix, name));
    if let Some(prefix) = &options.prefix {
        return match () {
            () if has(prefix, DETECTORS_STEM) => Ok((prefix.clone(), WeightFileKind::Detector)),
            () if classifies(prefix) => Ok((prefix.clone(), WeightFileKind::Classifier)),
            () => Err(no_model(file, &format!(" behind {prefix:?}"))),
        };
    }
    let prefixes = |stem: &'static str| {
        let prefixes = file.tensors().keys().filter_map(move |name| name.strip_suffix(stem));
        prefixes.filter(|prefix| prefix.is_empty() || prefix.ends_with('.'))
    };
    let mut kind = WeightFileKind::Detector;
    let mut found: Vec<&str> = prefixes(DETECTORS_STEM).collect();
    if found.is_empty() {
        kind = WeightFileKind::Classifier;
        found = prefixes(CLASSIFIERS_STEM[0]).filter(|prefix| classifies(prefix)).collect();
    }
    match found.as_slice() {
        [] => Err(no_model(file, "")),
        [prefix] if kind == WeightFileKind::Classifier && has_other_layers(file, prefix) => {
            Err(no_model(file, ""))
        }
        [prefix] => Ok((prefix.to_string(), kind)),
        [first, second, ..] => {
            let message = format!(
                "holds {} {kind}s, with names that begin with {first:?} and {second:?}: choose one by its \
                 prefix",
                found.len()
            );
            Err(Error::file(file.path(), message))
        }
    }
}

/// Whether the file has layers outside the prefix. A ResNet is then only a part of another architecture.
fn has_other_layers(file: &WeightFile, prefix: &str) -> bool {
    file.tensors().iter().any(|(name, tensor)| {
        !name.starts_with(prefix) && name.ends_with(".weight") && tensor.shape.len() >= 2
    })
}

fn no_model(file: &WeightFile, place: &str) -> Error {
    let message = format!(
        "is missing{place}, and so is {}: neither a detector nor a ResNet; {}",
        CLASSIFIERS_STEM[0],
        beginnings(file)
    );
    Error::tensor(file.path(), DETECTORS_STEM, message)
}

/// How the names in a file begin, up to the second dot, for an error message. Only a few are listed.
fn beginnings(file: &WeightFile) -> String {
    const SHOWN: usize = 4;
    let mut beginnings: Vec<String> = Vec::new();
    for name in file.tensors().keys() {
        let beginning = match name.match_indices('.').nth(1) {
            Some((dot, _)) => &name[..=dot],
            None => name,
        };
        // A hostile name may be long.
        let beginning: String = beginning.chars().take(60).collect();
        if beginnings.len() <= SHOWN && !beginnings.contains(&beginning) {
            beginnings.push(beginning);
        }
    }
    if beginnings.is_empty() {
        return "it has no tensors".to_string();
    }
    let more = (beginnings.len() > SHOWN).then(|| "...".to_string());
    let shown = beginnings.iter().take(SHOWN).map(|beginning| format!("{beginning:?}"));
    format!("its names begin with {}", shown.chain(more).collect::<Vec<_>>().join(", "))
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
