//! Workers: processes on this machine or others, each of which serves one device to a trainer, with burn's
//! remote devices and this crate's own operations.
//!
//! A worker runs [`serve`]; a trainer [`connect`]s to several and gives the [`Team`] to
//! [`fit_team`](crate::train::fit_team). [`LocalWorkers`] are processes that a trainer starts and ends itself.
//!
//! Over `ws://` nothing is encrypted, and the token keeps strangers out, not eavesdroppers: it is for networks
//! that are trusted. `iroh://` authenticates the worker by its key and encrypts; relays are off, so nothing goes
//! through others' servers.

mod address;
mod identity;
mod local;
mod serve;
mod watch;

use std::mem::discriminant;

use burn::remote::{ConnectError, IrohHost, IrohRelays, RemoteHost};
use burn::tensor::Device;

pub use address::Address;
pub use local::LocalWorkers;
pub use serve::{Endpoint, serve};

use crate::error::{Error, Result};
use crate::train::{Member, Team};

/// Connects to all workers, which must be of this version and let in who has the token.
///
/// # Errors
///
/// [`Error::Worker`] names the first worker that cannot be used, and says why.
pub fn connect(addresses: &[Address], token: Option<&str>) -> Result<Team> {
    let member = |(index, address): (usize, &Address)| {
        let fail = |message: String| Error::Worker { worker: address.to_string(), message };
        if addresses[..index].contains(address) {
            return Err(fail("is given twice".to_string()));
        }
        if discriminant(address) != discriminant(&addresses[0]) {
            return Err(fail("cannot reach the first, which has another transport".to_string()));
        }
        watch::answers(address).map_err(fail)?;
        let mut host = match address {
            Address::WebSocket(_) => RemoteHost::websocket(&address.to_string()),
            Address::Iroh { id, address } => {
                RemoteHost::iroh(IrohHost::from(*id).with_address(*address).with_relays(IrohRelays::Disabled))
            }
        };
        if let Some(token) = token {
            host = host.with_credential(token);
        }
        let device = Device::remote_options(&host).init().map_err(|error| {
            fail(match error {
                ConnectError::Unauthorized => "refuses the token".to_string(),
                error => one_line(&error.to_string()),
            })
        })?;
        identity::check(&device).map_err(fail)?;
        Ok(Member { name: address.to_string(), device })
    };
    let members = addresses.iter().enumerate().map(member).collect::<Result<_>>()?;
    Ok(Team::watched(members, watch::start(addresses)))
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}
