//! Where a run is told while it goes on.

use std::path::Path;

use super::observer::{Observer, Observers};
use super::run_info::RunInfo;
use crate::error::Result;

/// Where a run is told, besides its own folder's files.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Logger {
    /// TensorBoard's event files, in the run's folder.
    #[cfg(feature = "tensorboard")]
    TensorBoard,
    /// MLflow's server. A server that is gone costs warnings, never the run.
    #[cfg(feature = "mlflow")]
    Mlflow {
        /// Of the server.
        url: String,
        /// The experiment; it is made where it is missing.
        experiment: String,
    },
}

impl Logger {
    /// Those of a run that begins or goes on in `folder`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::error::Error::Io) where files cannot be written.
    #[cfg_attr(
        not(any(feature = "tensorboard", feature = "mlflow")),
        expect(unused_variables, reason = "there is no logger")
    )]
    pub(super) fn open(loggers: Vec<Self>, folder: &Path, info: &RunInfo) -> Result<Observers> {
        let open = |logger| -> Result<Box<dyn Observer>> {
            match logger {
                #[cfg(feature = "tensorboard")]
                Self::TensorBoard => {
                    Ok(Box::new(super::tensorboard::EventFile::create(folder, info.training_lines())?))
                }
                #[cfg(feature = "mlflow")]
                Self::Mlflow { url, experiment } => {
                    Ok(Box::new(super::mlflow_log::MlflowLog::start(url, experiment, folder, info)))
                }
            }
        };
        Ok(Observers::new(loggers.into_iter().map(open).collect::<Result<_>>()?))
    }
}
