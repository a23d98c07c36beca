//! From settings to a server that answers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::sleep;

use super::app::App;
use super::exports::Exports;
use super::limits::{Limits, Memory};
use super::listen::{Connections, answer, listen};
use super::metrics::Metrics;
use super::pictures::Studio;
use super::queue::Queue;
use super::router::router;
use super::served_model::{Current, ModelSource};
use super::sign_in::SignIn;
use super::watch::watch;
use crate::error::{Error, Result};
use crate::records::{Keep, Records};
use crate::signals::told_to_end;

/// How often records beyond the limit are removed.
const KEEP_INTERVAL: Duration = Duration::from_secs(60);

/// What a server needs to know.
#[derive(Debug)]
pub struct ServeConfig {
    /// Where the detector comes from.
    pub model: ModelSource,
    /// Whether a new version of the alias is taken up.
    pub watch: bool,
    /// The address to listen on; port 0 is any free one.
    pub listen: SocketAddr,
    /// A file with a token a line. Without it, everybody on this machine may ask.
    pub token_file: Option<PathBuf>,
    /// The database: `sqlite:FILE` or `postgres://...`.
    pub database: String,
    /// The folder for images. Files that are made to be sent are in a hidden folder in it.
    pub images: PathBuf,
    /// How much is kept; everything if not given.
    pub keep: Option<Keep>,
    /// What clients may cost.
    pub limits: Limits,
}

/// Serves until the process is told to end (SIGTERM, or SIGINT), then finishes what was accepted. Calls
/// `ready` with the address when connections are taken.
///
/// # Errors
///
/// [`Error::Config`] where other machines could reach the server and there are no tokens, where the alias to
/// watch is none, or where the address cannot be listened on; those of reading tokens and weights and of
/// opening the records.
pub fn serve(config: ServeConfig, ready: impl FnOnce(SocketAddr)) -> Result<()> {
    let ServeConfig { listen: address, .. } = config;
    if config.token_file.is_none() && !address.ip().is_loopback() {
        let message = format!("{address} can be reached from other machines: it needs --token-file");
        return Err(Error::Config(message));
    }
    if config.watch && config.model.alias()?.is_none() {
        let weights = config.model.weights.display();
        return Err(Error::Config(format!("{weights}: only an alias can be watched, as models:/NAME@ALIAS")));
    }
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Config(format!("the server cannot start: {error}")))?;
    let served = runtime.block_on(run(config, ready));
    // Threads that still decode would hold the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

async fn run(config: ServeConfig, ready: impl FnOnce(SocketAddr)) -> Result<()> {
    let ServeConfig { model, token_file, database, images, keep, limits, .. } = config;
    let sign_in = token_file.as_deref().map(SignIn::read).transpose()?.unwrap_or_default();
    // The address first: a second server must not wait for its weights to find out.
    let (listener, address) = listen(config.listen).await?;
    let records = Records::open(&database, &images).await?;
    let memory = Memory::new(limits.memory);
    let app = Arc::new(App {
        model: Current::new(model.load()?),
        queue: Queue::start(limits.queue)?,
        studio: Studio::new(memory.clone(), limits.pixels),
        memory,
        limits,
        sign_in,
        records,
        exports: Exports::new(&images),
        metrics: Metrics::new(),
        connections: Connections::default(),
    });
    if config.watch {
        tokio::spawn(watch(app.clone(), Arc::new(model)));
    }
    if let Some(keep) = keep {
        tokio::spawn(remove_old(app.clone(), keep));
    }
    ready(address);
    answer(listener, router(app.clone()), &app.limits, &app.connections, told_to_end()).await;
    Ok(())
}

/// Keeps the records within their limit.
async fn remove_old(app: Arc<App>, keep: Keep) {
    loop {
        match app.records.keep(keep).await {
            Ok(removed) if removed.inspections > 0 => tracing::info!(?removed, "old records are removed"),
            Ok(_) => {}
            Err(error) => tracing::error!("old records cannot be removed: {error:#}"),
        }
        sleep(KEEP_INTERVAL).await;
    }
}
