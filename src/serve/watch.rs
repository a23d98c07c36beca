//! Takes up a new version of an alias while the server answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task;
use tokio::time::sleep;

use super::app::App;
use super::served_model::{ModelSource, ServedModel};
use crate::error::Result;

/// How often the registry is asked.
const INTERVAL: Duration = Duration::from_secs(2);

/// The longest pause before a version that could not be read is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A version that could not be read. A network may fail for a moment, so it is tried again.
#[derive(Clone, Copy)]
struct Failed {
    version: Option<u32>,
    pause: Duration,
    again: Instant,
}

/// Asks where the alias points, and serves what it points at. A version that cannot be read leaves the old
/// one in service, and is tried again after pauses that grow.
pub async fn watch(app: Arc<App>, source: Arc<ModelSource>) {
    let mut failed: Option<Failed> = None;
    // Each fault is logged once.
    let mut told = String::new();
    loop {
        sleep(INTERVAL).await;
        let served = app.model.get().weights.version;
        let from = source.clone();
        let fault = match task::spawn_blocking(move || look(&from, served, failed)).await {
            Ok(Ok(Found::Same)) => {
                failed = None;
                String::new()
            }
            Ok(Ok(Found::Failed)) => continue,
            Ok(Ok(Found::Other(version, Ok(model)))) => {
                tracing::warn!(from = ?served, to = ?version, "serving another version");
                app.model.set(*model);
                failed = None;
                String::new()
            }
            Ok(Ok(Found::Other(version, Err(error)))) => {
                failed = Some(Failed::after(failed, version));
                format!("a version of the alias cannot be served: {error:#}")
            }
            Ok(Err(error)) => format!("the version of the alias cannot be read: {error:#}"),
            Err(error) => format!("the version of the alias cannot be read: {error}"),
        };
        if fault != told {
            if !fault.is_empty() {
                tracing::error!("{fault}");
            }
            told = fault;
        }
    }
}

/// What the alias points at.
enum Found {
    /// The version that is served.
    Same,
    /// One that could not be read, and is not tried again yet.
    Failed,
    Other(Option<u32>, Result<Box<ServedModel>>),
}

fn look(source: &ModelSource, served: Option<u32>, failed: Option<Failed>) -> Result<Found> {
    let version = source.current_version()?;
    if version == served {
        return Ok(Found::Same);
    }
    let waits = |failed: Failed| failed.version == version && Instant::now() < failed.again;
    if failed.is_some_and(waits) {
        return Ok(Found::Failed);
    }
    Ok(Found::Other(version, source.load().map(Box::new)))
}

impl Failed {
    /// The pause is twice as long as the one before, if that was for the same version.
    fn after(before: Option<Self>, version: Option<u32>) -> Self {
        let before = before.filter(|before| before.version == version);
        let pause = before.map_or(INTERVAL, |before| (before.pause * 2).min(LONGEST_PAUSE));
        Self { version, pause, again: Instant::now() + pause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_for_one_version_and_begin_anew_for_another() {
        let (mut failed, mut pauses) = (None, Vec::new());
        for version in [3, 3, 3, 3, 3, 3, 3, 4] {
            let next = Failed::after(failed, Some(version));
            pauses.push(next.pause.as_secs());
            failed = Some(next);
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60, 2]);
    }
}
