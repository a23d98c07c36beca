//! What burn-train writes and reads checkpoints through. It hands over a model, an optimiser and a schedule
//! one by one, each on a thread of its own; here the three become one [`Checkpoints::write`].

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
    /// Epochs whose records are not all there yet. While one is written, the next may begin.
    pending: Mutex<BTreeMap<usize, Pending>>,
    /// What a resumed run goes on from, until burn-train has taken it.
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
    /// All three, or what there is.
    fn whole(self) -> Result<Records, Self> {
        match (self.model, self.optimizer, self.schedule) {
            (Some(model), Some(optimizer), Some(schedule)) => Ok(Records { model, optimizer, schedule }),
            (model, optimizer, schedule) => Err(Self { model, optimizer, schedule }),
        }
    }
}

impl CheckpointHandle {
    /// `resumed` is what a resumed run goes on from. A checkpoint that cannot be written ends the run by its
    /// `interrupter`.
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
        let Pending { best, mut parts } = pending.remove(&epoch).expect("the strategy announced the epoch");
        add(&mut parts);
        match parts.whole() {
            Ok(records) => {
                let result = self.0.checkpoints.write(epoch, best, records);
                self.0.interrupter.fail_on_error(result.map_err(DatasetError::new));
            }
            Err(parts) => {
                pending.insert(epoch, Pending { best, parts });
            }
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

            /// Old checkpoints go when a new one is whole.
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
