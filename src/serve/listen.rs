//! Connections: taken, limited, and finished when the process is told to end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time;

use super::connection::Connection;
use super::limits::Limits;
use crate::error::{Error, Result};

/// The most bytes of a request's head, and of what is read of a connection at a time.
const BUFFER: usize = 64 << 10;

/// How long what was accepted may take to end, after its body has come.
const LAST_WORK: Duration = Duration::from_secs(60);

/// Files that are open besides connections: records, images, weights.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const OTHER_FILES: u64 = 256;

/// What a client gets where there are too many connections.
const TOO_MANY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
    retry-after: 1\r\ncontent-length: 48\r\nconnection: close\r\n\r\n\
    {\"error\":\"There are too many connections now.\"}\n";

/// How many connections there are.
#[derive(Debug, Clone, Default)]
pub struct Connections(Arc<AtomicUsize>);

/// One of them.
struct Counted(Connections);

impl Connections {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// One more, unless there are `most`.
    fn enter(&self, most: usize) -> Option<Counted> {
        let add = |count| (count < most).then_some(count + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok()?;
        Some(Counted(self.clone()))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A socket that listens.
pub async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let fault = |error: io::Error| {
        let message = format!("cannot listen on {address}: {error}");
        Error::Config(message)
    };
    let listener = TcpListener::bind(address).await.map_err(fault)?;
    let address = listener.local_addr().map_err(fault)?;
    Ok((listener, address))
}

/// Answers until `stop`, then finishes what was accepted.
pub async fn answer(
    listener: TcpListener,
    router: Router,
    limits: &Limits,
    connections: &Connections,
    stop: impl Future<Output = ()>,
) {
    let most = limits.connections.min(open_files());
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head_time).max_buf_size(BUFFER);
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Mostly a lack of file descriptors, which passes.
                    tracing::warn!("a connection cannot be taken: {error}");
                    time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = &mut stop => break,
        };
        let Some(counted) = connections.enter(most) else {
            tokio::spawn(refuse(stream));
            continue;
        };
        // An answer goes out as it is written.
        let _ = stream.set_nodelay(true);
        let io = TokioIo::new(Connection::new(stream, limits.stall_time));
        let connection = builder.serve_connection(io, TowerToHyperService::new(router.clone()));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _counted = counted;
            if let Err(error) = connection.await {
                tracing::debug!("a connection ends: {error}");
            }
        });
    }
    drop(listener);
    tracing::info!(connections = connections.count(), "finishing what was accepted");
    if time::timeout(limits.body_time + LAST_WORK, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests are not finished");
    }
}

async fn refuse(mut stream: TcpStream) {
    let _ = time::timeout(Duration::from_secs(1), async {
        stream.write_all(TOO_MANY.as_bytes()).await?;
        stream.shutdown().await
    })
    .await;
}

/// How many connections the system allows, after this process's limit is raised as far as it can be.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn open_files() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a pointer to a whole `rlimit` that outlives them.
    let known = unsafe {
        let known = libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0;
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
        if known && libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) == 0 {
            limit = raised;
        }
        known
    };
    if !known {
        return usize::MAX;
    }
    // With a very low limit a few connections are still taken.
    usize::try_from(limit.rlim_cur.saturating_sub(OTHER_FILES).max(16)).unwrap_or(usize::MAX)
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn open_files() -> usize {
    usize::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_has_the_length_that_it_says() {
        let (head, body) = TOO_MANY.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }

    #[test]
    fn connections_are_counted() {
        let connections = Connections::default();
        let one = connections.enter(1).unwrap();
        assert!(connections.enter(1).is_none());
        drop(one);
        assert_eq!(connections.count(), 0);
    }
}
