//! Where a run computes.

use std::sync::Arc;

use burn::tensor::Device;

use super::exchange::Exchange;
use super::team::{Member, Team};

/// Where a run computes: one device, or several that train together.
///
/// [`Run::on`](super::Run::on) takes a [`Device`] or a [`Team`] as it is.
#[derive(Debug)]
pub enum Compute {
    /// One device.
    Device(Device),
    /// Several devices, of this process or of workers.
    Team(Team),
}

impl Compute {
    /// The device that gives the checkpoints and evaluates the best weights.
    pub(super) fn main_device(&self) -> &Device {
        match self {
            Self::Device(device) => device,
            Self::Team(team) => &team.members()[0].device,
        }
    }

    /// Where the parts of a batch go.
    pub(super) fn devices(&self) -> Devices {
        match self {
            Self::Device(device) => Devices::One(device.clone()),
            Self::Team(team) => Devices::Team(team.members().to_vec(), team.exchange()),
        }
    }

    /// The device on which the model is made that training starts from. The members of a team get copies of
    /// it.
    pub(super) fn origin(&self) -> Device {
        match self {
            Self::Device(device) => device.clone(),
            Self::Team(_) => Device::flex(),
        }
    }
}

/// The devices of a run, without what watches them.
pub(super) enum Devices {
    One(Device),
    Team(Vec<Member>, Arc<dyn Exchange>),
}

impl Devices {
    pub fn count(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Team(members, _) => members.len(),
        }
    }
}

impl From<Device> for Compute {
    fn from(device: Device) -> Self {
        Self::Device(device)
    }
}

impl From<Team> for Compute {
    fn from(team: Team) -> Self {
        Self::Team(team)
    }
}
