//! What a registry can do, wherever it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::card::{ModelCard, ModelVersion};
use super::new_version::{FILES, NewVersion, WEIGHTS, copy};
use super::version_name::{VersionName, Which};
use crate::error::{Error, Result};
use crate::files::{sync_folder, write_folder_atomically};
use crate::sha256::sha256_of;

/// Models with their versions and aliases.
pub trait Registry {
    /// How it is called in messages.
    fn place(&self) -> String;

    /// The names of all models with versions, in the order of the alphabet.
    ///
    /// # Errors
    ///
    /// Those of reading files or of asking a server, as for all of these methods.
    fn models(&self) -> Result<Vec<String>>;

    /// The numbers of a model's versions, rising; none for a model that is not there.
    ///
    /// # Errors
    ///
    /// As [`models`](Self::models), and [`Error::Config`] for a name that no model can have.
    fn numbers(&self, model: &str) -> Result<Vec<u32>>;

    /// The aliases of a model, and the versions that they point at.
    ///
    /// # Errors
    ///
    /// As [`numbers`](Self::numbers).
    fn aliases(&self, model: &str) -> Result<BTreeMap<String, u32>>;

    /// What is known of a version that is there.
    ///
    /// # Errors
    ///
    /// As [`numbers`](Self::numbers), and [`Error::File`] where there is no such version.
    fn show(&self, model: &str, number: u32) -> Result<ModelVersion>;

    /// Adds a version, and gives its number: one more than that of any version before, even of a deleted one.
    ///
    /// # Errors
    ///
    /// As [`numbers`](Self::numbers), and those of detecting in the sample.
    fn register(&self, model: &str, new: &NewVersion) -> Result<u32>;

    /// Lets an alias point at a version.
    ///
    /// # Errors
    ///
    /// As [`show`](Self::show), and [`Error::Config`] for an alias that cannot be.
    fn set_alias(&self, model: &str, alias: &str, number: u32) -> Result<()>;

    /// Takes an alias away.
    ///
    /// # Errors
    ///
    /// As [`numbers`](Self::numbers), and [`Error::File`] where there is no such alias.
    fn remove_alias(&self, model: &str, alias: &str) -> Result<()>;

    /// Deletes a version. Its number is never given to another one.
    ///
    /// # Errors
    ///
    /// As [`show`](Self::show), and [`Error::File`] where an alias points at the version.
    fn delete(&self, model: &str, number: u32) -> Result<()>;

    /// A folder on this machine with the files of a version: weights, card and sample.
    ///
    /// # Errors
    ///
    /// As [`show`](Self::show).
    fn files(&self, model: &str, number: u32) -> Result<PathBuf>;

    /// The number that a name stands for. It is not checked whether there is such a version.
    ///
    /// # Errors
    ///
    /// As [`aliases`](Self::aliases), and [`Error::File`] where there is no such alias.
    fn number(&self, name: &VersionName) -> Result<u32> {
        match &name.which {
            Which::Number(number) => Ok(*number),
            Which::Alias(alias) => self.aliases(&name.model)?.get(alias).copied().ok_or_else(|| {
                Error::file(self.place(), format!("has no alias {alias} of a model {}", name.model))
            }),
        }
    }

    /// What is known of a version.
    ///
    /// # Errors
    ///
    /// As [`number`](Self::number) and [`show`](Self::show).
    fn version(&self, name: &VersionName) -> Result<ModelVersion> {
        self.show(&name.model, self.number(name)?)
    }

    /// The weights of a version. Their SHA-256 is that on record.
    ///
    /// # Errors
    ///
    /// As [`version`](Self::version), and [`Error::File`] where the file has another SHA-256.
    fn weights(&self, name: &VersionName) -> Result<ResolvedWeights> {
        let ModelVersion { model, version, card, .. } = self.version(name)?;
        let path = self.files(&model, version)?.join(WEIGHTS);
        let sha256 = sha256_of(&path)?;
        check(&path, &sha256, &card)?;
        Ok(ResolvedWeights { path, name: Some(model), version: Some(version), sha256 })
    }

    /// Copies the files of a version into `folder`, a new or an empty one. Gives the path of the weights,
    /// whose SHA-256 is checked after they were copied.
    ///
    /// # Errors
    ///
    /// As [`weights`](Self::weights), and those of writing files.
    fn download(&self, name: &VersionName, folder: &Path) -> Result<PathBuf> {
        let ModelVersion { model, version, card, .. } = self.version(name)?;
        let from = self.files(&model, version)?;
        write_folder_atomically(folder, |temporary| {
            for file in FILES.into_iter().filter(|file| from.join(file).exists()) {
                let (sha256, _) = copy(&from.join(file), &temporary.join(file))?;
                if file == WEIGHTS {
                    check(&from.join(file), &sha256, &card)?;
                }
            }
            sync_folder(temporary)
        })?;
        Ok(folder.join(WEIGHTS))
    }
}

fn check(path: &Path, sha256: &str, card: &ModelCard) -> Result<()> {
    if sha256 == card.sha256 {
        return Ok(());
    }
    let message = format!("is damaged: its SHA-256 is {sha256}, that on record is {}", card.sha256);
    Err(Error::file(path, message))
}

/// A weight file, and where it is from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResolvedWeights {
    /// Where it is.
    pub path: PathBuf,
    /// The model in the registry; `None` for a file that was given as such.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<u32>,
    /// Of the file's bytes, hexadecimal.
    pub sha256: String,
}
