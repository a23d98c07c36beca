//! Writes and reads checkpoints for burn-train. burn-train passes the model, the optimiser and the schedule
//! one by one, each on its own thread. This module joins the three into one [`Checkpoints::write`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use burn::data::dataset::DatasetError;
use burn::lr_scheduler::LrSchedulerRecord;
use burn::optim::OptimizerRecord;
use burn::store::ModuleRecord;
use burn::train::Interrupter;
use burn::train::checkpoint::{Checkpointer, CheckpointerError, CheckpointingAction, CheckpointingStrategy};
use burn::train::metric::store::EventStoreClient;

use super::best::BestEpoch;
use super::checkpoint::{Checkpoints, Records};

/// Handle on the checkpoints of a run, for each of burn-train's threads.
#[derive(Clone)]
pub(super) struct CheckpointHandle(Arc<Shared>);

struct Shared {
    checkpoints: Checkpoints,
    interrupter: Interrupter,
    /// Epochs with records still missing. The next epoch may begin while one is being written.
    pending: Mutex<BTreeMap<usize, Pending>>,
    /// The state that a resumed run continues from, until burn-train has taken it.
    resumed: Mutex<Parts>,
}

struct Pending {
    best: BestEpoch,
    parts: Parts,
}

#[derive(Default)]
struct Parts {
    model: Option<ModuleRecord>,
    optimizer: Option<OptimizerRecord>,
    schedule: Option<LrSchedulerRecord>,
}

impl Parts {
    /// All three, once they are there.
    fn take(&mut self) -> Option<Records> {
        if self.model.is_none() || self.optimizer.is_none() || self.schedule.is_none() {
            return None;
        }
        Some(Records {
            model: self.model.take()?,
            optimizer: self.optimizer.take()?,
            schedule: self.schedule.take()?,
        })
    }
}

impl CheckpointHandle {
    /// `resumed` is the state that a resumed run continues from. If a checkpoint cannot be written,
    /// `interrupter` ends the run.
    pub fn new(checkpoints: Checkpoints, resumed: Option<Records>, interrupter: Interrupter) -> Self {
        let resumed = resumed.map_or_else(Parts::default, |records| Parts {
            model: Some(records.model),
            optimizer: Some(records.optimizer),
            schedule: Some(records.schedule),
        });
        let (pending, resumed) = (Mutex::default(), Mutex::new(resumed));
        Self(Arc::new(Shared { checkpoints, interrupter, pending, resumed }))
    }

    fn pending(&self) -> MutexGuard<'_, BTreeMap<usize, Pending>> {
        self.0.pending.lock().expect("no checkpoint thread panics")
    }

    /// Adds a record of an epoch; the last of the three writes the checkpoint.
    fn put(&self, epoch: usize, add: impl FnOnce(&mut Parts)) {
        // The lock is held while a checkpoint is written, so that epochs are written in their order.
        let mut pending = self.pending();
        let of_epoch = pending.get_mut(&epoch).expect("the strategy announced the epoch");
        add(&mut of_epoch.parts);
        if let Some(records) = of_epoch.parts.take() {
            let result = self.0.checkpoints.write(epoch, of_epoch.best, records);
            pending.remove(&epoch);
            self.0.interrupter.fail_on_error(result.map_err(DatasetError::new));
        }
    }
}

/// Saves every epoch, and notes which one is the best so far.
impl CheckpointingStrategy for CheckpointHandle {
    fn checkpointing(&mut self, epoch: usize, store: &EventStoreClient) -> Vec<CheckpointingAction> {
        let best = BestEpoch::in_store(epoch, store);
        self.pending().insert(epoch, Pending { best, parts: Parts::default() });
        vec![CheckpointingAction::Save]
    }
}

macro_rules! checkpointer {
    ($record:ty, $field:ident) => {
        impl Checkpointer<$record> for CheckpointHandle {
            fn save(&self, epoch: usize, record: $record) -> Result<(), CheckpointerError> {
                self.put(epoch, |parts| parts.$field = Some(record));
                Ok(())
            }

            /// Nothing to do: `Checkpoints::write` removes old files once a new checkpoint is complete.
            fn delete(&self, _epoch: usize) -> Result<(), CheckpointerError> {
                Ok(())
            }

            fn restore(&self, epoch: usize) -> Result<$record, CheckpointerError> {
                let record = self.0.resumed.lock().expect("no checkpoint thread panics").$field.take();
                record.ok_or_else(|| CheckpointerError::Unknown(format!("epoch {epoch} is not resumed")))
            }
        }
    };
}
checkpointer!(ModuleRecord, model);
checkpointer!(OptimizerRecord, optimizer);
checkpointer!(LrSchedulerRecord, schedule);
