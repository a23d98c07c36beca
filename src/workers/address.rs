//! Where a worker listens.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use burn::remote::EndpointId;

use crate::error::{Error, Result};

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

impl Address {
    /// The host and the port.
    pub(super) fn host(&self) -> String {
        match self {
            Self::WebSocket(host) => host.clone(),
            Self::Iroh { address, .. } => address.to_string(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::WebSocket(host) => write!(f, "ws://{host}"),
            Self::Iroh { id, address } => write!(f, "iroh://{id}@{address}"),
        }
    }
}

impl FromStr for Address {
    type Err = Error;

    /// # Errors
    ///
    /// [`Error::Config`] where the text is no such address.
    fn from_str(text: &str) -> Result<Self> {
        let expected =
            || Error::Config(format!("`{text}` is neither ws://HOST:PORT nor iroh://ID@ADDRESS:PORT"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_back_as_it_was_written_and_anything_else_is_an_error() {
        let id = "ae58ff8833241ac82d6ff7611046ed67b5072d142c588d0063e942d9a75502b6";
        for text in
            ["ws://10.0.0.5:3000", "ws://localhost:0", "ws://[::1]:80", &format!("iroh://{id}@[::1]:7")]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in
            ["", "ws://", "ws://host", "ws://:80", "ws://host:65536", "http://host:80", "iroh://x@1.2.3.4:5"]
        {
            let error = text.parse::<Address>().unwrap_err();
            assert!(matches!(&error, Error::Config(message) if message.contains(text)), "{error}");
        }
    }
}
