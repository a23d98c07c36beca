//! The checkpoints of a run, in its `checkpoints` folder:
//!
//! - `last.safetensors`: the weights after the last whole epoch, or within the next one if the run writes
//!   checkpoints there, with a [`RunInfo`] in the metadata;
//! - `best.safetensors`: those of the [best epoch](super::BestEpoch);
//! - `average-P.safetensors`: the average of the weights up to the position P of `last.safetensors`, of a run
//!   that averages them; `best.safetensors` has average weights then, too;
//! - `optimizer-P.bpk`: the state of the optimiser (burn's own format) at the position P of
//!   `last.safetensors`.
//!
//! A position is `3` after the third epoch, and `3-120` after 120 more batches. What else the run has to know
//! follows from it: the order of an epoch's images and all random choices come from the seed, the epoch and
//! the image. The numbers of the steps up to there are in `metrics.jsonl`.
//!
//! Each file is written whole or not at all, and `last.safetensors` after the others. So the optimiser's
//! state for `last.safetensors` is always there, even after a kill or a power failure.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use burn::lr_scheduler::LrSchedulerRecord;
use burn::module::Module;
use burn::optim::OptimizerRecord;
use burn::store::ModuleRecord;

use super::best::BestEpoch;
use super::learning_rates::STEP;
use super::observer::Observers;
use super::position::Position;
use super::run_info::RunInfo;
use super::step::Trainee;
use crate::error::{Error, Result};
use crate::files::write_atomically;
use crate::weights::{self, NamedTensor, TRAINING_KEY};

/// burn's name for the first group of parameters. Here it has all parameters, and the only schedule.
const FIRST_GROUP: &str = "0";

/// What burn-train keeps in a checkpoint.
pub(super) struct Records {
    pub model: ModuleRecord,
    pub optimizer: OptimizerRecord,
    pub schedule: LrSchedulerRecord,
}

/// Writes the checkpoints of a run.
pub(super) struct Checkpoints {
    folder: PathBuf,
    /// The file with the numbers of the steps, which a checkpoint relies on.
    metrics: PathBuf,
    /// A model to load records into.
    template: Trainee,
    info: RunInfo,
    observers: Observers,
}

impl Checkpoints {
    /// `template` is a model of the run, on a device without gradients; `info` describes the run at its
    /// beginning.
    pub fn new(
        folder: PathBuf,
        metrics: PathBuf,
        template: Trainee,
        info: RunInfo,
        observers: Observers,
    ) -> Self {
        Self { folder, metrics, template, info, observers }
    }

    /// Reads the state that a resumed run continues from. `model` already has the weights of
    /// `last.safetensors`; the optimiser's state is that of the position of `info`.
    pub fn read(folder: &Path, model: Trainee, info: &RunInfo) -> Result<Records> {
        let path = optimizer_path(folder, info.position());
        let unusable = |error| Error::file_because(&path, "is not the state of this run's optimiser", error);
        let optimizer = OptimizerRecord::load(&path).map_err(unusable)?;
        let schedule = LrSchedulerRecord::new().with_scalar(STEP, info.step);
        Ok(Records {
            model: model.into_record(),
            optimizer,
            schedule: LrSchedulerRecord::new().with_record(FIRST_GROUP, schedule),
        })
    }

    /// Writes a checkpoint, and removes the optimiser's states of others.
    ///
    /// # Errors
    ///
    /// [`Error::NonFinite`] where a weight is NaN or infinite within an epoch: the checkpoint before stays. At
    /// the end of an epoch, validation has found it.
    pub fn write(&self, position: Position, best: BestEpoch, records: Records) -> Result<()> {
        let Records { model, optimizer, schedule } = records;
        let step = schedule.record(FIRST_GROUP).scalar(STEP).unwrap_or(0);
        let info = self.info.at(position, step, best);
        let metadata =
            [(TRAINING_KEY.to_string(), serde_json::to_string(&info).expect("plain data is JSON"))];
        let template = self.template.clone();
        let model = template.try_load_record(model).map_err(Error::training)?;
        if position.batches > 0 {
            check_finite(&model, step)?;
        }

        let path = optimizer_path(&self.folder, position);
        write_atomically(&path, |temporary| {
            let failed = |error| Error::file_because(&path, "cannot be written", error);
            optimizer.save(temporary).map_err(failed)
        })?;
        if position == Position::after(best.epoch) {
            weights::save_with_metadata(model.kept(), best_path(&self.folder), &metadata)?;
            self.observers.file("checkpoints/best.safetensors");
        }
        let average = average_path(&self.folder, position);
        if model.average.is_some() {
            weights::save_with_metadata(model.kept(), &average, &metadata)?;
        }
        // Also after a power failure, the lines up to here are there.
        let metrics = File::options().append(true).open(&self.metrics);
        metrics.and_then(|file| file.sync_data()).map_err(Error::io(&self.metrics))?;
        weights::save_with_metadata(&model.detector, last_path(&self.folder), &metadata)?;
        self.remove_leftovers(&[path, average])
    }

    /// Removes the averages and optimiser's states of other epochs, and temporary files that a killed process
    /// left.
    fn remove_leftovers(&self, present: &[PathBuf]) -> Result<()> {
        const STATES: [&str; 2] = ["optimizer-", "average-"];
        const TEMPORARY: [&str; 4] = [".last.safetensors.", ".best.safetensors.", ".optimizer-", ".average-"];
        let entries = fs::read_dir(&self.folder).map_err(Error::io(&self.folder))?;
        for entry in entries {
            let path = entry.map_err(Error::io(&self.folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let begins = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
            if begins(&STATES) && !present.contains(&path) || begins(&TEMPORARY) {
                fs::remove_file(&path).map_err(Error::io(&path))?;
            }
        }
        Ok(())
    }
}

/// Finds weights that are broken, though no loss has shown it yet.
fn check_finite(model: &Trainee, step: u64) -> Result<()> {
    let broken = |tensor: &NamedTensor| tensor.values.iter().any(|value| !value.is_finite());
    match weights::collect(&model.detector).iter().find(|tensor| broken(tensor)) {
        None => Ok(()),
        Some(NamedTensor { name, .. }) => {
            Err(Error::NonFinite(format!("{name} has NaN or infinity after {step} steps")))
        }
    }
}

/// Whether a run that has no `last.safetensors` yet may have written a file with this name.
pub(super) fn is_first_state(name: &str) -> bool {
    ["optimizer-1.bpk", "average-1.safetensors"].contains(&name)
        || ["optimizer-0-", "average-0-"].iter().any(|start| name.starts_with(start))
}

/// The last checkpoint's weights in a run's checkpoint folder.
pub(super) fn last_path(folder: &Path) -> PathBuf {
    folder.join("last.safetensors")
}

/// The best epoch's weights in a run's checkpoint folder.
pub(super) fn best_path(folder: &Path) -> PathBuf {
    folder.join("best.safetensors")
}

/// The average of the weights at a position.
pub(super) fn average_path(folder: &Path, position: Position) -> PathBuf {
    folder.join(format!("average-{position}.safetensors"))
}

fn optimizer_path(folder: &Path, position: Position) -> PathBuf {
    folder.join(format!("optimizer-{position}.bpk"))
}
