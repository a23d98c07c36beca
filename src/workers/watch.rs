//! Finds workers that no longer answer. If a process is stopped or its link is cut, the trainer's connection
//! stays open and silent. So each worker is asked for a sign of life over a separate connection: any answer
//! to an HTTP request at its WebSocket port, or iroh's handshake.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use burn::remote::{Endpoint, EndpointAddr, EndpointId};
use burn::server::BURN_REMOTE_ALPN;
use iroh::RelayMode;
use iroh::endpoint::presets;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::address::Address;
use crate::error::{Cause, Error};
use crate::train::Watch;

/// Pause between two questions.
const PAUSE: Duration = Duration::from_secs(2);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// A worker that has not answered for this long is lost.
const SILENCE: Duration = Duration::from_secs(12);

/// Watches workers, each from a thread of its own, until the watch is dropped.
pub(super) fn start(addresses: &[Address]) -> Watch {
    let (sender, lost) = channel();
    let watch_one = |address: &Address| {
        let (end, ended) = channel();
        let (address, sender) = (address.clone(), sender.clone());
        thread::spawn(move || {
            if let Some(silent) = wait_for_silence(&address, &ended) {
                // Nobody receives if the watch was dropped meanwhile.
                let _ = sender.send(silent.of(&address));
            }
        });
        end
    };
    Watch { lost, _ends: addresses.iter().map(watch_one).collect() }
}

/// Asks again and again. Returns why the worker is lost, or `None` if the watch has ended.
fn wait_for_silence(address: &Address, ended: &Receiver<()>) -> Option<Silent> {
    let mut answered = Instant::now();
    loop {
        if ended.recv_timeout(PAUSE) != Err(RecvTimeoutError::Timeout) {
            return None;
        }
        match ask(address) {
            Ok(()) => answered = Instant::now(),
            Err(silent) if silent.is_final || answered.elapsed() > SILENCE => return Some(silent),
            Err(_) => {}
        }
    }
}

/// Whether a worker answers now. A wrong token is found only by [`connect`](super::connect).
///
/// # Errors
///
/// [`Error::Worker`] says why it does not.
pub fn answers(address: &Address) -> Result<(), Error> {
    ask(address).map_err(|silent| silent.of(address))
}

/// No answer.
struct Silent {
    message: String,
    source: Option<Cause>,
    /// There is no use in asking again.
    is_final: bool,
}

impl Silent {
    fn new(message: &str) -> Self {
        Self { message: message.to_string(), source: None, is_final: false }
    }

    fn because(message: &str, error: impl Into<Cause>) -> Self {
        Self { source: Some(error.into()), ..Self::new(message) }
    }

    fn of(self, address: &Address) -> Error {
        Error::Worker { worker: address.to_string(), message: self.message, source: self.source }
    }
}

fn ask(address: &Address) -> Result<(), Silent> {
    match address {
        Address::WebSocket(host) => {
            let found = host.to_socket_addrs().map_err(|error| Silent::because("has no address", error))?;
            ask_any(&found.collect::<Vec<_>>(), host)
        }
        Address::Iroh { id, address } => ask_iroh(*id, *address),
    }
}

/// Asks at all addresses of a host in turn, until one answers: `localhost` may be `::1` first, where nobody
/// listens.
fn ask_any(addresses: &[SocketAddr], host: &str) -> Result<(), Silent> {
    let mut refused = true;
    let mut last = Silent { is_final: true, ..Silent::new("has no address") };
    for address in addresses {
        match ask_websocket(*address, host) {
            Ok(()) => return Ok(()),
            Err(silent) => {
                refused &= silent.is_final;
                last = silent;
            }
        }
    }
    Err(Silent { is_final: refused, ..last })
}

fn ask_websocket(address: SocketAddr, host: &str) -> Result<(), Silent> {
    let silent = |what: &str, error: io::Error| match error.kind() {
        ErrorKind::ConnectionRefused => Silent { is_final: true, ..Silent::because("is not running", error) },
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Silent::new("does not answer"),
        _ => Silent::because(what, error),
    };
    let mut stream =
        TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| silent("cannot be reached", error))?;
    let mut exchange = || -> io::Result<usize> {
        stream.set_read_timeout(Some(PATIENCE))?;
        // In one piece, so that no answer comes before its end.
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        stream.read(&mut [0; 1])
    };
    match exchange() {
        Ok(0) => Err(Silent::new("closed the connection")),
        Ok(_) => Ok(()),
        Err(error) => Err(silent("does not answer", error)),
    }
}

fn ask_iroh(id: EndpointId, address: SocketAddr) -> Result<(), Silent> {
    /// The endpoint that asks, and the runtime that it needs.
    static NETWORK: LazyLock<Result<(Runtime, Endpoint), String>> = LazyLock::new(|| {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let endpoint = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled).bind();
        let endpoint = runtime.block_on(endpoint).map_err(|error| error.to_string())?;
        Ok((runtime, endpoint))
    });
    let no_network =
        |error: &String| Silent { is_final: true, ..Silent::because("cannot be asked", error.clone()) };
    let (runtime, endpoint) = NETWORK.as_ref().map_err(no_network)?;
    let worker = EndpointAddr::new(id).with_ip_addr(address);
    match runtime.block_on(async { timeout(PATIENCE, endpoint.connect(worker, BURN_REMOTE_ALPN)).await }) {
        Ok(Ok(connection)) => {
            connection.close(0u32.into(), b"");
            Ok(())
        }
        Ok(Err(error)) => Err(Silent::because("cannot be reached", error)),
        Err(_) => Err(Silent::new("does not answer")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Answers every request.
    fn listener() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                // A connection that is closed with something unread is reset, and the answer may be lost.
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    match stream.read(&mut byte) {
                        Ok(1) => request.push(byte[0]),
                        _ => break,
                    }
                }
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            }
        });
        address
    }

    /// An address where nobody listens.
    fn closed() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    #[test]
    fn a_host_answers_at_any_of_its_addresses() {
        assert!(ask_any(&[closed(), listener()], "localhost:1").is_ok());
        let silent = ask_any(&[closed(), closed()], "localhost:1").unwrap_err();
        assert!(silent.is_final && silent.message == "is not running");
        let error = silent.of(&Address::WebSocket("localhost:1".to_string()));
        let kind = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(kind.map(io::Error::kind), Some(ErrorKind::ConnectionRefused));
        assert!(ask_any(&[], "nowhere:1").unwrap_err().is_final);
    }

    #[test]
    fn threads_end_with_the_watch() {
        let address = Address::WebSocket(listener().to_string());
        let Watch { lost, _ends: ends } = start(&[address.clone(), address]);
        assert!(matches!(lost.recv_timeout(PAUSE / 2), Err(RecvTimeoutError::Timeout)));
        drop(ends);
        // A thread that ends drops its sender. One that did not end would ask for ever, so that on a loaded
        // machine there is time enough to wait.
        assert!(matches!(lost.recv_timeout(SILENCE * 5), Err(RecvTimeoutError::Disconnected)));
    }
}
