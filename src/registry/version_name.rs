//! How a version is named: `models:/NAME/N` and `models:/NAME@ALIAS`, as MLflow has it.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::names::{check_alias, check_model_name};
use crate::error::{Error, Result};

/// What the name of a version begins with where a file may stand, too.
const SCHEME: &str = "models:/";

/// A version of a model. Read from text, with or without `models:/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionName {
    /// The name of the model.
    pub model: String,
    /// Which of its versions.
    pub which: Which,
}

/// How a version of a model is told from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// By its number, counted from 1.
    Number(u32),
    /// By an alias that points at it.
    Alias(String),
}

impl VersionName {
    /// A version by its number.
    pub fn number(model: &str, number: u32) -> Self {
        Self { model: model.to_string(), which: Which::Number(number) }
    }

    /// The version that stands where weights are given; `None` for the path of a file.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a text that begins with `models:/` and names no version.
    pub fn of_weights(weights: &Path) -> Option<Result<Self>> {
        let text = weights.to_str().filter(|text| text.starts_with(SCHEME))?;
        Some(text.parse())
    }
}

impl FromStr for VersionName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let name = text.strip_prefix(SCHEME).unwrap_or(text);
        let (model, which) = if let Some((model, alias)) = name.split_once('@') {
            check_alias(alias)?;
            (model, Which::Alias(alias.to_string()))
        } else if let Some((model, number)) = name.split_once('/') {
            let digits = !number.starts_with(['0', '+']);
            let Some(number) = number.parse().ok().filter(|_| digits) else {
                let message = format!("{text}: a version is a number from 1 on, or an alias: NAME@ALIAS");
                return Err(Error::Config(message));
            };
            (model, Which::Number(number))
        } else {
            let message = format!("{text}: expected {SCHEME}NAME/N or {SCHEME}NAME@ALIAS");
            return Err(Error::Config(message));
        };
        check_model_name(model)?;
        Ok(Self { model: model.to_string(), which })
    }
}

impl fmt::Display for VersionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.which {
            Which::Number(number) => write!(f, "{SCHEME}{}/{number}", self.model),
            Which::Alias(alias) => write!(f, "{SCHEME}{}@{alias}", self.model),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_they_are_printed() {
        for text in ["models:/pcb/3", "models:/pcb@champion", "models:/a.b-c/4294967295"] {
            let name: VersionName = text.parse().unwrap();
            assert_eq!(name.to_string(), text);
            assert_eq!(text[SCHEME.len()..].parse::<VersionName>().unwrap(), name);
            assert_eq!(VersionName::of_weights(Path::new(text)).unwrap().unwrap(), name);
        }
        for text in [
            "models:/",
            "models:/pcb",
            "models:/pcb/",
            "models:/pcb/0",
            "models:/pcb/03",
            "models:/pcb/+3",
            "models:/pcb/3/4",
            "models:/pcb/4294967296",
            "models:/pcb/latest",
            "models:/../3",
            "models:/a/../3",
            "models:/pcb@3",
            "models:/pcb@a@b",
            "models:/@champion",
            "models://pcb/3",
            "models:/pcb@a/3",
        ] {
            assert!(text.parse::<VersionName>().is_err(), "{text}");
            assert!(VersionName::of_weights(Path::new(text)).unwrap().is_err(), "{text}");
        }
        assert!(VersionName::of_weights(Path::new("runs/pcb/3")).is_none());
        assert!(VersionName::of_weights(Path::new("pcb@champion")).is_none());
    }
}
