use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use burn::remote::EndpointId;

/// Where a worker listens: `ws://HOST:PORT`, or `iroh://ID@ADDRESS:PORT` with the id that the worker prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// WebSocket, for trusted networks: host and port.
    WebSocket(String),
    /// Iroh, authenticated and encrypted.
    Iroh {
        /// The worker's public key.
        id: EndpointId,
        /// Where it is dialled.
        address: SocketAddr,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::WebSocket(place) => write!(f, "ws://{place}"),
            Self::Iroh { id, address } => write!(f, "iroh://{id}@{address}"),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("`{text}` is neither ws://HOST:PORT nor iroh://ID@ADDRESS:PORT");
        match text.split_once("://") {
            Some(("ws", place)) => match place.rsplit_once(':') {
                Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                    Ok(Self::WebSocket(place.to_string()))
                }
                _ => Err(expected()),
            },
            Some(("iroh", place)) => {
                let (id, address) = place.split_once('@').ok_or_else(expected)?;
                let id = id.parse().map_err(|_| expected())?;
                Ok(Self::Iroh { id, address: address.parse().map_err(|_| expected())? })
            }
            _ => Err(expected()),
        }
    }
}
