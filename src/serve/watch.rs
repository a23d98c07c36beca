//! Takes up a new version of an alias while the server answers.

use std::sync::Arc;
use std::time::Duration;

use tokio::task;
use tokio::time::sleep;

use super::app::App;
use super::served_model::ModelSource;

/// How often the registry is asked.
const INTERVAL: Duration = Duration::from_secs(2);

/// Asks where the alias points, and serves what it points at. A version that cannot be read leaves the old one
/// in service.
pub async fn watch(app: Arc<App>, source: Arc<ModelSource>) {
    // A version that failed is not tried again.
    let mut failed = None;
    loop {
        sleep(INTERVAL).await;
        let served = app.model.get().weights.version;
        let from = source.clone();
        let taken_up = task::spawn_blocking(move || {
            let version = from.current_version().map_err(|error| (failed, error))?;
            if version == served || version == failed {
                return Ok((version, None));
            }
            from.load().map(|model| (version, Some(model))).map_err(|error| (version, error))
        });
        match taken_up.await {
            Ok(Ok((_, Some(model)))) => {
                tracing::warn!(from = ?served, to = ?model.weights.version, "serving another version");
                app.model.set(model);
                failed = None;
            }
            Ok(Ok((_, None))) => {}
            Ok(Err((version, error))) => {
                tracing::error!("a version of the alias cannot be served: {error:#}");
                failed = version;
            }
            Err(error) => tracing::error!("the version of the alias cannot be read: {error}"),
        }
    }
}
