//! The folder of a run: where each file is, and checks that training overwrites nothing that another program
//! or a person wrote.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::checkpoint::{best_path, is_first_state, last_path};
use super::config::RunConfig;
use super::rows::Row;
use super::run_info::RunInfo;
use crate::error::{Error, Result};
use crate::files::write_bytes;

/// Files that only a finished run leaves.
const RESULTS: [&str; 4] = ["evaluation.json", "precision_recall.png", "confusion_matrix.png", "samples"];

/// The folder of a run.
#[derive(Debug, Clone)]
pub(super) struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// # Errors
    ///
    /// [`Error::File`] where `path` is a file.
    pub fn new(path: &Path) -> Result<Self> {
        if path.is_file() {
            return Err(Error::file(path, "is a file, not a folder"));
        }
        Ok(Self { path: path.to_path_buf() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// The files that a finished run leaves, by their paths in the folder.
    pub fn results(&self) -> Vec<String> {
        let samples = fs::read_dir(self.path.join("samples")).into_iter().flatten().flatten();
        let samples = samples.filter_map(|entry| entry.file_name().into_string().ok());
        let mut samples: Vec<String> = samples.map(|name| format!("samples/{name}")).collect();
        samples.sort_unstable();
        let others = RESULTS.iter().filter(|name| self.path.join(name).is_file());
        others.map(|name| name.to_string()).chain(samples).collect()
    }

    fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// Checks that a new run can be written here: there is no run yet, and no file that the run would
    /// overwrite. Files of a run that ended before its first checkpoint may be overwritten. A `config.toml`
    /// with the run's own settings stays. `given` are the settings from the caller, `complete` those that the
    /// run makes of them.
    ///
    /// # Errors
    ///
    /// [`Error::File`] that names what is there.
    pub fn check_unused(&self, given: &RunConfig, complete: &RunConfig) -> Result<()> {
        if last_path(&self.checkpoints()).exists() {
            return Err(Error::file(&self.path, "holds a run already: resume it, or take another folder"));
        }
        for path in RESULTS.map(|name| self.path.join(name)) {
            refuse(&path, !path.exists())?;
        }
        let began = self.began()?;
        refuse(&self.metrics(), !self.metrics().exists() || began && self.has_own_metrics())?;
        let curves = self.path.join("curves.png");
        refuse(&curves, !curves.exists() || began && self.metrics().exists())?;
        match self.settings()? {
            None => Ok(()),
            Some(found) if found.has(given) || found.has(complete) => Ok(()),
            Some(found) => refuse(&self.config(), began && found.is_generated()),
        }
    }

    /// Makes the folder. Writes `config.toml`, unless there is one with these settings or one that a person
    /// wrote. `given` and `complete` are as for [`check_unused`](Self::check_unused).
    pub fn create(&self, given: &RunConfig, complete: &RunConfig) -> Result<()> {
        let (checkpoints, path) = (self.checkpoints(), self.config());
        // This folder comes first, because it marks all later files as those of a run.
        fs::create_dir_all(&checkpoints).map_err(Error::io(&checkpoints))?;
        match self.settings()? {
            Some(found) if found.has(given) || found.has(complete) => Ok(()),
            Some(found) if !found.is_generated() => {
                tracing::warn!(
                    path = %path.display(),
                    "keeps its text, although this run has other settings; those are in the checkpoints"
                );
                Ok(())
            }
            _ => write_bytes(&path, complete.to_toml().as_bytes()),
        }
    }

    /// Whether a run began here and ended before its first checkpoint.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where the folder for checkpoints holds something else.
    fn began(&self) -> Result<bool> {
        let folder = self.checkpoints();
        if !folder.exists() {
            return Ok(false);
        }
        for entry in fs::read_dir(&folder).map_err(Error::io(&folder))? {
            let path = entry.map_err(Error::io(&folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_first_best = || {
                let info = (path == best_path(&folder)).then(|| RunInfo::read(&path).ok().flatten());
                info.flatten().is_some_and(|info| info.epoch == 1)
            };
            refuse(&path, name.starts_with('.') || is_first_state(&name) || is_first_best())?;
        }
        Ok(true)
    }

    /// Whether the file is empty or starts with a line of a run.
    fn has_own_metrics(&self) -> bool {
        let mut line = String::new();
        let read = File::open(self.metrics()).and_then(|file| BufReader::new(file).read_line(&mut line));
        // A line without a line break was cut off; it counts as a run's.
        read.is_ok() && (!line.ends_with('\n') || serde_json::from_str::<Row>(&line).is_ok())
    }

    fn settings(&self) -> Result<Option<Settings>> {
        let path = self.config();
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
        let config = RunConfig::load(&path, &[]).ok();
        Ok(Some(Settings { text, config }))
    }
}

/// The `config.toml` that is there.
struct Settings {
    text: String,
    /// `None` where it is not the settings of a run.
    config: Option<RunConfig>,
}

impl Settings {
    fn has(&self, config: &RunConfig) -> bool {
        self.config.as_ref() == Some(config)
    }

    /// Whether the text is what this program writes for these settings, letter by letter. A person's has
    /// comments, or another order.
    fn is_generated(&self) -> bool {
        self.config.as_ref().is_some_and(|config| config.to_toml() == self.text)
    }
}

fn refuse(path: &Path, is_free: bool) -> Result<()> {
    if is_free {
        return Ok(());
    }
    Err(Error::file(path, "is there already, and training would write over it: take another folder"))
}
