//! How a trainer connects to workers.

use std::mem::discriminant;
use std::sync::Arc;

use burn::remote::{ConnectError, IrohHost, IrohRelays, RemoteHost};
use burn::tensor::Device;

use super::address::Address;
use super::exchange::Direct;
use super::{identity, watch};
use crate::error::{Error, Result};
use crate::train::{Exchange, Member, Team};

/// Connects to all workers. They must be of this version and accept the token.
///
/// # Errors
///
/// [`Error::Worker`] names the first worker that cannot be used, and says why; [`Error::Config`] where there
/// are no addresses.
pub fn connect(addresses: &[Address], token: Option<&str>) -> Result<Team> {
    let Some(first) = addresses.first() else {
        return Err(Error::Config("there are no workers to connect to".to_string()));
    };
    let member = |(index, address): (usize, &Address)| {
        if addresses[..index].contains(address) {
            return Err(Error::worker(address, "is given twice"));
        }
        if discriminant(address) != discriminant(first) {
            return Err(Error::worker(address, "cannot reach the first, which has another transport"));
        }
        // Asked first, because its errors say more than burn's.
        watch::answers(address)?;
        let mut host = match address {
            Address::WebSocket(_) => RemoteHost::websocket(&address.to_string()),
            Address::Iroh { id, address } => {
                RemoteHost::iroh(IrohHost::from(*id).with_address(*address).with_relays(IrohRelays::Disabled))
            }
        };
        if let Some(token) = token {
            host = host.with_credential(token);
        }
        let device = Device::remote_options(&host).init().map_err(|error| match error {
            ConnectError::Unauthorized => Error::worker(address, "refuses the token"),
            error => Error::worker_because(address, "cannot be connected to", error),
        })?;
        identity::check(&device).map_err(|message| Error::worker(address, message))?;
        Ok(Member { name: address.to_string(), device })
    };
    let members = addresses.iter().enumerate().map(member).collect::<Result<Vec<_>>>()?;
    let exchange: Option<Arc<dyn Exchange>> = match first {
        Address::WebSocket(_) if members.len() > 1 => Some(Arc::new(Direct::between(&members, addresses)?)),
        _ => None,
    };
    Ok(Team::watched(members, watch::start(addresses), exchange))
}
