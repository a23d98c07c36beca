//! Numbers, most of them by class: computing, averaging and writing them.

use rayon::prelude::*;
use serde::{Serialize, Serializer};

/// Class names that can be kept.
pub fn owned(class_names: &[impl AsRef<str>]) -> Vec<String> {
    class_names.iter().map(|name| name.as_ref().to_string()).collect()
}

/// The result of `f` for every label, with the label's name. The classes are computed in parallel.
pub fn for_each_class<T: Send>(class_names: &[String], f: impl Fn(usize) -> T + Sync) -> Vec<(String, T)> {
    class_names.par_iter().enumerate().map(|(index, name)| (name.clone(), f(index + 1))).collect()
}

/// Mean of the known values; `None` where none is known.
pub fn mean_of_known(values: impl IntoIterator<Item = Option<f64>>) -> Option<f64> {
    let known: Vec<f64> = values.into_iter().flatten().collect();
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}

/// A number of a printed table; `-` where it is not known.
pub fn cell(value: Option<f64>) -> String {
    value.map_or("-".to_string(), |value| format!("{value:.3}"))
}

/// Writes pairs as a JSON object in their own order, which for classes is the order of their labels.
pub fn as_map<T: Serialize, S: Serializer>(pairs: &[(String, T)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, value)| (name, value)))
}
