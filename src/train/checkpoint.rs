//! The checkpoints of a run, in its `checkpoints` folder:
//!
//! - `last.safetensors`: the weights after the last whole epoch, with what a resumed run needs to know;
//! - `best.safetensors`: those of the epoch with the best AP on the validation images;
//! - `optimizer-E.bpk`: the optimiser's state (burn's own format) after the epoch E of `last.safetensors`.
//!
//! Each file is written under a temporary name and renamed, and `last.safetensors` last of all: it always
//! finds the optimiser's state that belongs to it, whenever a run is killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use burn::lr_scheduler::LrSchedulerRecord;
use burn::module::Module;
use burn::optim::OptimizerRecord;
use burn::store::ModuleRecord;
use burn::tensor::Device;
use burn::train::EarlyStoppingStrategy;
use burn::train::checkpoint::{Checkpointer, CheckpointerError, CheckpointingAction, CheckpointingStrategy};
use burn::train::metric::store::{Aggregate, Direction, EventStoreClient, Split};
use serde::{Deserialize, Serialize};

use super::RunConfig;
use super::schedule::STEP;
use super::step::Trainee;
use crate::error::{Error, Result};
use crate::model::FasterRcnn;
use crate::weights::{self, LoadOptions, WeightFile};

/// Name of the metric that says which epoch is the best.
pub(super) const BEST_METRIC: &str = "ap";

/// Where the state stands in the metadata of `last.safetensors`, as JSON.
const STATE_KEY: &str = "faster_rcnn_training";

/// burn's name for the parameters that the only schedule is for: all.
const FIRST_GROUP: &str = "0";

/// What a resumed run needs to know beside weights and optimiser.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TrainState {
    /// Whole epochs done.
    pub epoch: usize,
    /// Steps of the optimiser done.
    pub step: u64,
    /// The settings of the run.
    pub config: RunConfig,
}

/// The folder, and the records of an epoch until all three are there.
pub(super) struct Checkpoints {
    folder: PathBuf,
    /// A model to load records into.
    template: Trainee,
    config: RunConfig,
    pending: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    best: bool,
    model: Option<ModuleRecord>,
    optimizer: Option<OptimizerRecord>,
    schedule: Option<LrSchedulerRecord>,
}

impl Checkpoints {
    /// Makes the folder. `template` is a model of the run, on a device without gradients.
    pub fn new(folder: &Path, template: Trainee, config: &RunConfig) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let (folder, config) = (folder.to_path_buf(), config.clone());
        Ok(Self { folder, template, config, pending: Mutex::default() })
    }

    /// Reads `last.safetensors`.
    pub fn last(folder: &Path, device: &Device) -> Result<(FasterRcnn, TrainState)> {
        let path = folder.join("last.safetensors");
        if !path.exists() {
            return Err(Error::file(&path, "is not there: the run has no whole epoch yet, start it anew"));
        }
        let file = WeightFile::open(&path)?;
        let model = file.load(&LoadOptions::default(), device)?;
        let state =
            file.metadata().get(STATE_KEY).ok_or_else(|| Error::file(&path, "not a run's checkpoint"))?;
        let state = serde_json::from_str(state).map_err(|error| Error::file(&path, error))?;
        Ok((model, state))
    }

    /// Gives burn-train, which asks for the parts of a checkpoint one by one, those of [`last`](Self::last).
    pub fn resume(&self, model: Trainee, state: &TrainState) -> Result<()> {
        let path = optimizer_path(&self.folder, state.epoch);
        let optimizer = OptimizerRecord::load(&path).map_err(|error| Error::file(&path, error))?;
        let schedule = LrSchedulerRecord::new().with_scalar(STEP, state.step);
        *self.lock() = Pending {
            best: false,
            model: Some(model.into_record()),
            optimizer: Some(optimizer),
            schedule: Some(LrSchedulerRecord::new().with_record(FIRST_GROUP, schedule)),
        };
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().expect("no checkpoint thread panics")
    }

    /// Adds a record; the last of the three writes the checkpoint.
    fn put(&self, epoch: usize, add: impl FnOnce(&mut Pending)) -> Result<(), CheckpointerError> {
        let mut pending = self.lock();
        add(&mut pending);
        let parts = (pending.model.take(), pending.optimizer.take(), pending.schedule.take());
        match parts {
            (Some(model), Some(optimizer), Some(schedule)) => self
                .write(epoch, pending.best, model, optimizer, &schedule)
                .map_err(|error| CheckpointerError::Unknown(error.to_string())),
            (model, optimizer, schedule) => {
                *pending = Pending { best: pending.best, model, optimizer, schedule };
                Ok(())
            }
        }
    }

    fn write(
        &self,
        epoch: usize,
        best: bool,
        model: ModuleRecord,
        optimizer: OptimizerRecord,
        schedule: &LrSchedulerRecord,
    ) -> Result<()> {
        let step = schedule.record(FIRST_GROUP).scalar(STEP).unwrap_or(0);
        let state = TrainState { epoch, step, config: self.config.clone() };
        let metadata = [(STATE_KEY.to_string(), serde_json::to_string(&state).expect("a state is JSON"))];
        let template = self.template.clone();
        let model = template.try_load_record(model).map_err(|error| Error::training(error))?.detector;

        let path = optimizer_path(&self.folder, epoch);
        let temporary = path.with_extension("bpk.tmp");
        optimizer.save(&temporary).map_err(|error| Error::file(&temporary, error))?;
        fs::rename(&temporary, &path).map_err(Error::io(&path))?;
        if best {
            weights::save_with_metadata(&model, &self.folder.join("best.safetensors"), &metadata)?;
        }
        weights::save_with_metadata(&model, &self.folder.join("last.safetensors"), &metadata)?;
        self.remove_old_optimizers(&path)
    }

    fn remove_old_optimizers(&self, current: &Path) -> Result<()> {
        let entries = fs::read_dir(&self.folder).map_err(Error::io(&self.folder))?;
        for entry in entries {
            let path = entry.map_err(Error::io(&self.folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("optimizer-") && path != current {
                fs::remove_file(&path).map_err(Error::io(&path))?;
            }
        }
        Ok(())
    }
}

fn optimizer_path(folder: &Path, epoch: usize) -> PathBuf {
    folder.join(format!("optimizer-{epoch}.bpk"))
}

/// burn-train saves model, optimiser and schedule one by one, each with such a handle.
#[derive(Clone)]
pub(super) struct Part(pub Arc<Checkpoints>);

macro_rules! checkpointer {
    ($record:ty, $field:ident) => {
        impl Checkpointer<$record> for Part {
            fn save(&self, epoch: usize, record: $record) -> Result<(), CheckpointerError> {
                self.0.put(epoch, |pending| pending.$field = Some(record))
            }

            /// Old checkpoints go when a new one is whole.
            fn delete(&self, _epoch: usize) -> Result<(), CheckpointerError> {
                Ok(())
            }

            fn restore(&self, epoch: usize) -> Result<$record, CheckpointerError> {
                let record = self.0.lock().$field.take();
                record.ok_or_else(|| CheckpointerError::Unknown(format!("epoch {epoch} is not resumed")))
            }
        }
    };
}
checkpointer!(ModuleRecord, model);
checkpointer!(OptimizerRecord, optimizer);
checkpointer!(LrSchedulerRecord, schedule);

/// Saves every epoch, and notes whether it is the best so far.
impl CheckpointingStrategy for Part {
    fn checkpointing(&mut self, epoch: usize, store: &EventStoreClient) -> Vec<CheckpointingAction> {
        self.0.lock().best = best_epoch(store) == Some(epoch);
        vec![CheckpointingAction::Save]
    }
}

/// Stops after `patience` epochs without a better one.
#[derive(Clone)]
pub(super) struct EarlyStopping {
    pub patience: usize,
}

impl EarlyStoppingStrategy for EarlyStopping {
    fn should_stop(&mut self, epoch: usize, store: &EventStoreClient) -> bool {
        best_epoch(store).is_some_and(|best| epoch - best >= self.patience)
    }
}

/// The first one with the highest AP, of all epochs of the run, those before it was resumed included.
fn best_epoch(store: &EventStoreClient) -> Option<usize> {
    store.find_epoch(BEST_METRIC, Aggregate::Mean, Direction::Highest, &Split::Valid)
}
