//! What became of each tensor when a file was loaded into a detector.

use std::fmt;

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

/// What became of each tensor of a file and of a detector.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LoadReport {
    /// The detector's tensors that have the file's values now.
    pub applied: Vec<String>,
    /// The detector's tensors that the file should have and has not.
    pub missing: Vec<String>,
    /// The file's tensors, by their names there, that the detector has no place for.
    pub unused: Vec<String>,
    /// Tensors that were not applied for their shape: the predictor of another number of classes.
    pub reshaped: Vec<Reshaped>,
    /// The file's tensors that no detector has: a classifier's `fc`, batch norms' `num_batches_tracked`.
    pub left_out: Vec<String>,
    /// The detector's tensors that a classifier cannot have: all but the backbone's.
    pub kept: Vec<String>,
    /// What the detector's frozen batch norms add to the variance now.
    pub frozen_epsilon: f64,
}

impl LoadReport {
    /// Names of the tensors that did not find their counterpart, and what is wrong with each; without
    /// those whose other shape is `expected`.
    pub(super) fn mismatches(
        &self,
        expected: impl Fn(&Reshaped) -> bool,
    ) -> impl Iterator<Item = (&str, String)> {
        let missing = self.missing.iter().map(|name| (name.as_str(), "is missing".to_string()));
        let unused =
            self.unused.iter().map(|name| (name.as_str(), "does not belong to this detector".to_string()));
        let reshaped = self.reshaped.iter().filter(move |reshaped| !expected(reshaped)).map(|reshaped| {
            let Reshaped { name, file, model } = reshaped;
            (name.as_str(), format!("has shape {file:?}, expected {model:?}"))
        });
        missing.chain(unused).chain(reshaped)
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "applied: {} tensors", self.applied.len())?;
        write_names(f, "missing, kept as they were", &self.missing, usize::MAX)?;
        write_names(f, "unused", &self.unused, usize::MAX)?;
        // Nothing is wrong with these, and they can be whole stages.
        write_names(f, "left out", &self.left_out, SHOWN)?;
        write_names(f, "not in a classifier, kept as they were", &self.kept, SHOWN)?;
        for Reshaped { name, file, model } in &self.reshaped {
            writeln!(f, "reshaped, kept as initialised: {name} is {model:?}, in the file {file:?}")?;
        }
        write!(f, "frozen batch norm epsilon: {:e}", self.frozen_epsilon)
    }
}

/// How many names are told of a list that needs no attention.
const SHOWN: usize = 4;

/// A line a list, and none for an empty one.
fn write_names(f: &mut fmt::Formatter<'_>, what: &str, names: &[String], shown: usize) -> fmt::Result {
    let more = match names.len() {
        0 => return Ok(()),
        count if count > shown => ", ...",
        _ => "",
    };
    writeln!(f, "{what}: {} ({}{more})", names.len(), names[..names.len().min(shown)].join(", "))
}
