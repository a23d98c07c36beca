//! What became of each tensor when a file was loaded into a detector.

use std::fmt;

use super::names::Mismatch;

/// A tensor that has another shape in the file than in the detector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reshaped {
    /// Its name in a detector.
    pub name: String,
    /// Its shape in the file.
    pub file: Vec<usize>,
    /// Its shape in the detector.
    pub model: Vec<usize>,
}

/// What decides what a detector's frozen batch norms add to the variance. A state dict does not hold it:
/// torchvision's COCO v1 weights were trained with 0, and all others with 1e-5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EpsilonSource {
    /// Nothing says so; torchvision's default.
    #[default]
    Default,
    /// The names of the tensors are the older ones of torchvision's COCO v1 file.
    OldNames,
    /// The metadata of a file that this crate wrote.
    Metadata,
    /// The settings of the detector that the file is loaded into.
    Detector,
    /// [`LoadOptions::set`](super::LoadOptions::set).
    Setting,
}

impl fmt::Display for EpsilonSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => {
                "the file cannot tell, this is the default; set frozen_epsilon=0 for what was trained \
                 from torchvision's COCO v1 weights"
            }
            Self::OldNames => "as its names are those of torchvision's COCO v1 weights",
            Self::Metadata => "as the file's metadata has it",
            Self::Detector => "as the detector's settings have it",
            Self::Setting => "as set",
        })
    }
}

/// What became of each tensor of a file and of a detector.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LoadReport {
    /// The detector's tensors that have the file's values now.
    pub applied: Vec<String>,
    /// The detector's tensors that are missing in the file.
    pub missing: Vec<String>,
    /// The file's tensors, by their names there, that the detector has no place for.
    pub unused: Vec<String>,
    /// Tensors that were not applied because of their shape: the predictor for another number of classes.
    pub reshaped: Vec<Reshaped>,
    /// The file's tensors that no detector has: a classifier's `fc`, batch norms' `num_batches_tracked`.
    pub left_out: Vec<String>,
    /// The detector's tensors that a classifier cannot have: all but the backbone's.
    pub kept: Vec<String>,
    /// What the detector's frozen batch norms add to the variance now.
    pub frozen_epsilon: f64,
    /// What decided that.
    pub epsilon_source: EpsilonSource,
}

impl LoadReport {
    /// The tensors that did not find their counterpart, without those whose other shape is `expected`.
    pub(super) fn mismatches(&self, expected: impl Fn(&Reshaped) -> bool) -> impl Iterator<Item = Mismatch> {
        let mismatch =
            |name: &String, message: &str| Mismatch { tensor: name.clone(), message: message.to_string() };
        let missing = self.missing.iter().map(move |name| mismatch(name, "is missing"));
        let unused = self.unused.iter().map(move |name| mismatch(name, "does not belong to this detector"));
        let reshaped =
            self.reshaped.iter().filter(move |reshaped| !expected(reshaped)).map(move |reshaped| {
                let Reshaped { name, file, model } = reshaped;
                // The anchors are not in the file, but their number is.
                let anchors = name.starts_with("rpn.head.") && file.get(1..) == model.get(1..);
                let hint =
                    if anchors { "; anchors.aspect_ratios says how many anchors a cell has" } else { "" };
                mismatch(name, &format!("has shape {file:?}, expected {model:?}{hint}"))
            });
        missing.chain(unused).chain(reshaped)
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "applied: {} tensors", self.applied.len())?;
        write_names(f, "missing, kept as they were", &self.missing, usize::MAX)?;
        write_names(f, "unused", &self.unused, usize::MAX)?;
        // Nothing is wrong with these, and there can be many.
        write_names(f, "left out", &self.left_out, SHOWN)?;
        write_names(f, "not in a classifier, kept as they were", &self.kept, SHOWN)?;
        for Reshaped { name, file, model } in &self.reshaped {
            writeln!(f, "reshaped, kept as initialised: {name} is {model:?}, in the file {file:?}")?;
        }
        write!(f, "frozen batch norm epsilon: {:e} ({})", self.frozen_epsilon, self.epsilon_source)
    }
}

/// How many names are shown of a list that needs no attention.
const SHOWN: usize = 4;

/// One line for a list, none for an empty one.
fn write_names(f: &mut fmt::Formatter<'_>, what: &str, names: &[String], shown: usize) -> fmt::Result {
    let more = match names.len() {
        0 => return Ok(()),
        count if count > shown => ", ...",
        _ => "",
    };
    writeln!(f, "{what}: {} ({}{more})", names.len(), names[..names.len().min(shown)].join(", "))
}
