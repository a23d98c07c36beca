//! What a worker does: it serves one device.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use burn::backend::ir::BackendIr;
use burn::backend::{DispatchDevice, Flex};
use burn::server::{
    CustomOpRegistry, IrohIdentity, IrohRelays, IrohTransport, RemoteServer, TokenAuthorizer, Transport,
    WebSocketTransport,
};
use burn::tensor::Device;
#[cfg(feature = "cube")]
use burn_cubecl::Cube;

use super::address::Address;
use super::meeting::Meeting;
use super::{door, exchange, identity};
use crate::error::{Error, Result};
use crate::ops::backend::DetectionOps;
use crate::ops::deferred::remote;

/// Where a worker is to listen.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "made once a process")]
pub enum Endpoint {
    /// WebSocket on a socket that is bound already.
    WebSocket(TcpListener),
    /// Iroh on a UDP port of all interfaces, with the key that proves who the worker is.
    Iroh {
        /// The key.
        identity: Box<IrohIdentity>,
        /// The port.
        port: u16,
    },
}

impl Endpoint {
    /// WebSocket on `address`; port 0 is any free one.
    ///
    /// # Errors
    ///
    /// [`Error::Worker`] if the address cannot be listened on.
    pub fn websocket(address: SocketAddr) -> Result<Self> {
        let fail = |error| Error::worker_because(format!("ws://{address}"), "cannot listen", error);
        TcpListener::bind(address).map(Self::WebSocket).map_err(fail)
    }

    /// What a trainer on this machine connects to.
    pub fn address(&self) -> Address {
        match self {
            Self::WebSocket(listener) => {
                let address = listener.local_addr().expect("a bound socket has an address");
                Address::WebSocket(address.to_string())
            }
            Self::Iroh { identity, port } => {
                Address::Iroh { id: identity.id(), address: SocketAddr::from(([127, 0, 0, 1], *port)) }
            }
        }
    }
}

/// Serves a device to trainers that have the token, until the process is told to end (SIGINT, SIGTERM).
///
/// # Errors
///
/// [`Error::Config`] where the token is empty or the device cannot be served, [`Error::Worker`] where the
/// port cannot be listened on.
pub fn serve(endpoint: Endpoint, device: &Device, token: Option<&str>) -> Result<()> {
    let mut server = RemoteServer::new([device.clone()]);
    let meeting = Arc::new(Meeting::new(token));
    // Operations for a backend that is not the device's are refused.
    server = match device.as_dispatch() {
        DispatchDevice::Flex(_) => server.with_custom_ops(operations::<Flex>(&meeting)),
        #[cfg(feature = "cube")]
        DispatchDevice::Cube(_) => server.with_custom_ops(operations::<Cube>(&meeting)),
        other => return Err(Error::Config(format!("a worker cannot serve {other:?}"))),
    };
    if let Some(token) = token {
        let authorizer = TokenAuthorizer::new(token).map_err(|error| Error::Config(error.to_string()))?;
        server = server.with_authorizer(authorizer);
    }
    let address = endpoint.address();
    let transport: Transport = match endpoint {
        Endpoint::WebSocket(listener) => {
            let fail = |error| Error::worker_because(&address, "cannot listen", error);
            let inside = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(fail)?;
            door::open(listener, inside.local_addr().map_err(fail)?, meeting);
            WebSocketTransport::from_listener(inside).into()
        }
        Endpoint::Iroh { identity, port } => {
            IrohTransport::new(*identity).with_relays(IrohRelays::Disabled).with_port(port).into()
        }
    };
    server.serve(transport).map_err(|error| Error::worker_because(address, "cannot serve", error))
}

/// The operations of this crate, those of an exchange, and the question for a worker's identity.
fn operations<B: BackendIr + DetectionOps>(meeting: &Arc<Meeting>) -> CustomOpRegistry<B> {
    let mut registry = remote::registry();
    identity::register(&mut registry);
    exchange::register(&mut registry, meeting);
    registry
}
