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
use burn::train::metric::store::{Aggregate, EventStoreClient, Split};

use super::best::{BEST_METRIC, BestEpoch};
use super::checkpoint::{Checkpoints, Records};
use super::position::Position;

/// Handle on the checkpoints of a run, for each of burn-train's threads.
#[derive(Clone)]
pub(super) struct CheckpointHandle(Arc<Shared>);

struct Shared {
    checkpoints: Checkpoints,
    interrupter: Interrupter,
    /// Batches of an epoch.
    per_epoch: usize,
    /// Checkpoints with records still missing. The run may go on while one is being written.
    pending: Mutex<BTreeMap<Position, Pending>>,
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
    pub fn new(
        checkpoints: Checkpoints,
        per_epoch: usize,
        resumed: Option<Records>,
        interrupter: Interrupter,
    ) -> Self {
        let resumed = resumed.map_or_else(Parts::default, |records| Parts {
            model: Some(records.model),
            optimizer: Some(records.optimizer),
            schedule: Some(records.schedule),
        });
        let (pending, resumed) = (Mutex::default(), Mutex::new(resumed));
        Self(Arc::new(Shared { checkpoints, interrupter, per_epoch, pending, resumed }))
    }

    fn pending(&self) -> MutexGuard<'_, BTreeMap<Position, Pending>> {
        self.0.pending.lock().expect("no checkpoint thread panics")
    }

    /// What burn-train calls an epoch is the number of batches up to the checkpoint.
    fn position(&self, key: usize) -> Position {
        Position::of_batches(key, self.0.per_epoch)
    }

    /// Adds a record of a checkpoint; the last of the three writes it.
    fn put(&self, key: usize, add: impl FnOnce(&mut Parts)) {
        // The lock is held while a checkpoint is written, so that checkpoints are written in their order.
        let (mut pending, position) = (self.pending(), self.position(key));
        let announced = pending.get_mut(&position).expect("the strategy announced the checkpoint");
        add(&mut announced.parts);
        if let Some(records) = announced.parts.take() {
            let result = self.0.checkpoints.write(position, announced.best, records);
            pending.remove(&position);
            self.0.interrupter.fail_on_error(result.map_err(DatasetError::new));
        }
    }
}

/// Saves whenever it is asked, and notes which epoch is the best so far.
impl CheckpointingStrategy for CheckpointHandle {
    fn checkpointing(&mut self, key: usize, store: &EventStoreClient) -> Vec<CheckpointingAction> {
        let position = self.position(key);
        // The store answers when all lines up to here are in `metrics.jsonl`.
        store.find_metric(BEST_METRIC, position.epoch + 1, Aggregate::Mean, &Split::Valid);
        let best = BestEpoch::in_store(position.epoch, store);
        self.pending().insert(position, Pending { best, parts: Parts::default() });
        vec![CheckpointingAction::Save]
    }
}

macro_rules! checkpointer {
    ($record:ty, $field:ident) => {
        impl Checkpointer<$record> for CheckpointHandle {
            fn save(&self, key: usize, record: $record) -> Result<(), CheckpointerError> {
                self.put(key, |parts| parts.$field = Some(record));
                Ok(())
            }

            /// Nothing to do: `Checkpoints::write` removes old files once a new checkpoint is complete.
            fn delete(&self, _key: usize) -> Result<(), CheckpointerError> {
                Ok(())
            }

            fn restore(&self, _key: usize) -> Result<$record, CheckpointerError> {
                let record = self.0.resumed.lock().expect("no checkpoint thread panics").$field.take();
                record.ok_or_else(|| CheckpointerError::Unknown("this run is not resumed".to_string()))
            }
        }
    };
}
checkpointer!(ModuleRecord, model);
checkpointer!(OptimizerRecord, optimizer);
checkpointer!(LrSchedulerRecord, schedule);
