//! Finds out that a worker does not answer any more. A process that is stopped, or behind a cut link, leaves the
//! trainer's connection open and silent, so each worker is asked for a sign of life over a connection of its own:
//! any answer to an HTTP request of its WebSocket port, or iroh's handshake.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use burn::remote::{Endpoint, EndpointAddr, EndpointId};
use burn::server::BURN_REMOTE_ALPN;
use iroh::RelayMode;
use iroh::endpoint::presets;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::{Address, one_line};

/// Between two questions.
const PAUSE: Duration = Duration::from_secs(2);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// After so long without any answer a worker is lost.
const SILENCE: Duration = Duration::from_secs(12);

/// Watches workers; the receiver gets the place of the first one that is lost, and why.
pub(super) fn start(addresses: &[Address]) -> Receiver<(usize, String)> {
    let (sender, receiver) = channel();
    for (index, address) in addresses.iter().enumerate() {
        let (address, sender) = (address.clone(), sender.clone());
        thread::spawn(move || {
            let mut answered = Instant::now();
            loop {
                thread::sleep(PAUSE);
                match ask(&address) {
                    Ok(()) => answered = Instant::now(),
                    Err(Silent(cause, sure)) if sure || answered.elapsed() > SILENCE => {
                        // Nobody listens where the run is over.
                        let _ = sender.send((index, cause));
                        return;
                    }
                    Err(_) => {}
                }
            }
        });
    }
    receiver
}

/// One question before connecting, whose errors say more than burn's.
pub(super) fn answers(address: &Address) -> Result<(), String> {
    ask(address).map_err(|Silent(cause, _)| cause)
}

/// No answer: why, and whether there is no use in asking again.
struct Silent(String, bool);

fn ask(address: &Address) -> Result<(), Silent> {
    match address {
        Address::WebSocket(place) => ask_websocket(place),
        Address::Iroh { id, address } => ask_iroh(*id, *address),
    }
}

fn ask_websocket(place: &str) -> Result<(), Silent> {
    let silent = |what: &str, error: std::io::Error| match error.kind() {
        ErrorKind::ConnectionRefused => Silent("is not running: connection refused".to_string(), true),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Silent("does not answer".to_string(), false),
        _ => Silent(format!("{what}: {error}"), false),
    };
    let mut found = place.to_socket_addrs().map_err(|error| silent("no such address", error))?;
    let found = found.next().ok_or_else(|| Silent("no such address".to_string(), true))?;
    let mut stream =
        TcpStream::connect_timeout(&found, PATIENCE).map_err(|error| silent("cannot be reached", error))?;
    let mut exchange = || -> std::io::Result<usize> {
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET / HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n")?;
        stream.read(&mut [0; 1])
    };
    match exchange() {
        Ok(0) => Err(Silent("closed the connection".to_string(), false)),
        Ok(_) => Ok(()),
        Err(error) => Err(silent("does not answer", error)),
    }
}

fn ask_iroh(id: EndpointId, address: SocketAddr) -> Result<(), Silent> {
    /// What the questions are asked from.
    static NETWORK: LazyLock<Result<(Runtime, Endpoint), String>> = LazyLock::new(|| {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let endpoint = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled).bind();
        let endpoint = runtime.block_on(endpoint).map_err(|error| one_line(&error.to_string()))?;
        Ok((runtime, endpoint))
    });
    let (runtime, endpoint) = NETWORK.as_ref().map_err(|error| Silent(error.clone(), true))?;
    let worker = EndpointAddr::new(id).with_ip_addr(address);
    match runtime.block_on(async { timeout(PATIENCE, endpoint.connect(worker, BURN_REMOTE_ALPN)).await }) {
        Ok(Ok(connection)) => {
            connection.close(0u32.into(), b"");
            Ok(())
        }
        Ok(Err(error)) => Err(Silent(format!("cannot be reached: {}", one_line(&error.to_string())), false)),
        Err(_) => Err(Silent("does not answer".to_string(), false)),
    }
}
