//! Where versions of models are looked up. All commands that take weights share this.

use std::path::PathBuf;

use anyhow::Result;
use faster_rcnn::registry::{self, Registry, RegistryName, VersionName};

/// Where versions of models are.
#[derive(clap::Args)]
pub struct RegistryArguments {
    /// The registry of `models:/NAME/N` and `models:/NAME@ALIAS`: a folder, or the URL of MLflow's server
    /// [default: `faster-rcnn/registry` in the user's data folder].
    #[arg(long, value_name = "DIR_OR_URL", env = "FASTER_RCNN_REGISTRY", hide_env_values = true)]
    registry: Option<RegistryName>,
}

impl RegistryArguments {
    /// Where the registry is.
    pub fn name(&self) -> Result<RegistryName> {
        Ok(self.registry.clone().map_or_else(RegistryName::of_user, Ok)?)
    }

    /// The registry.
    pub fn open(&self) -> Result<Box<dyn Registry>> {
        Ok(registry::open(&self.name()?)?)
    }

    /// The file of weights that may be given as a version, whose SHA-256 is checked.
    pub fn file(&self, weights: PathBuf) -> Result<PathBuf> {
        match VersionName::of_weights(&weights) {
            None => Ok(weights),
            Some(name) => {
                let found = self.open()?.weights(&name?)?;
                tracing::info!(version = found.version, sha256 = found.sha256, "took a registered model");
                Ok(found.path)
            }
        }
    }
}
