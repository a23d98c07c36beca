//! How far a run is.

use std::fmt;

/// How far a run is: whole epochs, and batches of the next one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub epoch: usize,
    pub batches: usize,
}

impl Position {
    /// After a whole epoch.
    pub fn after(epoch: usize) -> Self {
        Self { epoch, batches: 0 }
    }

    /// As a number of batches since the run began, where an epoch has `per_epoch` of them.
    pub fn in_batches(self, per_epoch: usize) -> usize {
        self.epoch * per_epoch + self.batches
    }

    /// The opposite of [`in_batches`](Self::in_batches).
    pub fn of_batches(batches: usize, per_epoch: usize) -> Self {
        Self { epoch: batches / per_epoch, batches: batches % per_epoch }
    }
}

/// As it is in the names of files: `3`, or `3-120` within the fourth epoch.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.batches {
            0 => write!(f, "{}", self.epoch),
            batches => write!(f, "{}-{batches}", self.epoch),
        }
    }
}
