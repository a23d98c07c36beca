//! From what a user gives as weights to a file.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use etcetera::BaseStrategy;

use super::folder::FolderRegistry;
use super::interface::{Registry, ResolvedWeights};
use super::version_name::VersionName;
use crate::error::{Error, Result};
use crate::sha256::sha256_of;

/// Where a registry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryName {
    /// A folder on this machine.
    Folder(PathBuf),
    /// The URL of MLflow's server.
    Server(String),
}

impl RegistryName {
    /// The user's own: `faster-rcnn/registry` in the data folder (on Linux `$XDG_DATA_HOME` or
    /// `~/.local/share`).
    ///
    /// # Errors
    ///
    /// [`Error::Config`] where the user has no home folder.
    pub fn of_user() -> Result<Self> {
        let strategy = etcetera::choose_base_strategy().map_err(|error| Error::Config(error.to_string()))?;
        Ok(Self::Folder(strategy.data_dir().join("faster-rcnn/registry")))
    }
}

impl FromStr for RegistryName {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let is_url = text.starts_with("http://") || text.starts_with("https://");
        Ok(if is_url { Self::Server(text.to_string()) } else { Self::Folder(text.into()) })
    }
}

/// The registry of a name. A folder need not be there yet.
///
/// # Errors
///
/// [`Error::Config`] for a server, in a program without the feature `mlflow`.
pub fn open(name: &RegistryName) -> Result<Box<dyn Registry>> {
    match name {
        RegistryName::Folder(folder) => Ok(Box::new(FolderRegistry::new(folder))),
        RegistryName::Server(url) => Err(Error::Config(format!(
            "{url}: a registry on a server needs the Cargo feature `mlflow`, which this program was built \
             without"
        ))),
    }
}

/// The file of weights that are given as a path, or as a version of a registry: `models:/NAME/N` or
/// `models:/NAME@ALIAS`. The SHA-256 of a version's file is checked.
///
/// # Errors
///
/// [`Error::Io`] where the file cannot be read, [`Error::Config`] for an impossible name, [`Error::File`]
/// where there is no such version, or its file is damaged.
pub fn resolve(weights: impl AsRef<Path>, registry: &RegistryName) -> Result<ResolvedWeights> {
    let path = weights.as_ref();
    match VersionName::of_weights(path) {
        Some(name) => open(registry)?.weights(&name?),
        None => {
            let sha256 = sha256_of(path)?;
            Ok(ResolvedWeights { path: path.to_path_buf(), name: None, version: None, sha256 })
        }
    }
}
