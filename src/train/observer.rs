//! What hears of a run while it goes on, besides the run's own files.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::rows::Row;

/// Hears of a run. Its own faults never end the run.
pub(super) trait Observer: Send {
    /// A line of `metrics.jsonl`. `step` counts the training steps since the run began.
    fn row(&mut self, row: &Row, step: usize);

    /// A file is written, with this path within the run's folder.
    fn file(&mut self, name: &str);

    /// The run ends. Gives what went wrong, in words.
    fn end(&mut self, succeeded: bool) -> Vec<String>;
}

/// All that hear of a run; a handle for each of the run's threads.
#[derive(Clone, Default)]
pub(super) struct Observers(Arc<Mutex<Vec<Box<dyn Observer>>>>);

impl Observers {
    pub fn new(observers: Vec<Box<dyn Observer>>) -> Self {
        Self(Arc::new(Mutex::new(observers)))
    }

    pub fn row(&self, row: &Row, step: usize) {
        self.all().iter_mut().for_each(|observer| observer.row(row, step));
    }

    pub fn file(&self, name: &str) {
        self.all().iter_mut().for_each(|observer| observer.file(name));
    }

    /// Gives what went wrong, in words.
    pub fn end(&self, succeeded: bool) -> Vec<String> {
        self.all().iter_mut().flat_map(|observer| observer.end(succeeded)).collect()
    }

    fn all(&self) -> MutexGuard<'_, Vec<Box<dyn Observer>>> {
        // After a panic in one of them, the others still hear of the run.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
