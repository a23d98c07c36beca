//! The devices that train together, and what happens when one of them is lost.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use burn::tensor::{Device, Tensor};

use super::config::GradientType;
use super::each::{Failed, message};
use super::exchange::{Alone, Collective, Exchange, Sum};
use crate::error::{Error, Result};
use crate::model::stages::Stage;
use crate::ops::in_another_process;

/// Pause between two checks for a lost member.
const PAUSE: Duration = Duration::from_millis(100);
/// After a panic, how long to wait for the watch to name the worker that caused it. The thread that panicked
/// may only have waited for the lost worker.
const GRACE: Duration = Duration::from_secs(10);

/// One of the devices.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its name in messages.
    pub name: String,
    /// Where it computes.
    pub device: Device,
}

/// Devices that train one model together.
#[derive(Debug)]
pub struct Team {
    members: Vec<Member>,
    exchange: Arc<dyn Exchange>,
    watch: Option<Watch>,
}

/// Reports lost members. The watching threads end when this value is dropped.
#[cfg_attr(not(feature = "workers"), allow(dead_code, reason = "only workers are watched"))]
#[derive(Debug)]
pub(crate) struct Watch {
    /// Receives an error that names a lost member, and why it is lost.
    pub lost: Receiver<Error>,
    /// Dropping one of these ends its thread.
    pub _ends: Vec<Sender<()>>,
}

impl Team {
    /// Devices of this process.
    ///
    /// # Panics
    ///
    /// If there are none.
    pub fn new(devices: impl IntoIterator<Item = Device>) -> Self {
        let member = |device: Device| Member { name: format!("{device:?}"), device };
        Self::of(devices.into_iter().map(member).collect(), None, None)
    }

    /// Members that are watched, and how they sum their gradients, if not with burn's transfers.
    ///
    /// # Panics
    ///
    /// If there are none.
    #[cfg(feature = "workers")]
    pub(crate) fn watched(members: Vec<Member>, watch: Watch, exchange: Option<Arc<dyn Exchange>>) -> Self {
        Self::of(members, Some(watch), exchange)
    }

    fn of(members: Vec<Member>, watch: Option<Watch>, exchange: Option<Arc<dyn Exchange>>) -> Self {
        assert!(!members.is_empty(), "a team has at least one member");
        let here = !members.iter().any(|member| in_another_process(&member.device));
        let exchange = exchange.unwrap_or_else(|| match members.len() {
            1 => Arc::new(Alone),
            count => Arc::new(Collective::new(count, here)),
        });
        Self { members, exchange, watch }
    }

    /// The same members, without a watch.
    pub(super) fn members_only(&self) -> Self {
        Self { members: self.members.clone(), exchange: self.exchange.clone(), watch: None }
    }

    /// Those that train.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    pub(super) fn exchange(&self) -> Arc<dyn Exchange> {
        self.exchange.clone()
    }

    /// Replaces each member's tensor, `[P]` each, by the sum of all, as it is done with gradients.
    ///
    /// # Panics
    ///
    /// If there is not one tensor for each member, or if a member fails.
    pub fn sum(&self, tensors: Vec<Tensor<1>>, on_the_way: GradientType) -> Vec<Tensor<1>> {
        assert_eq!(tensors.len(), self.members.len(), "one tensor for each member");
        let begin = |(member, tensor): (usize, Tensor<1>)| {
            let device = tensor.device();
            let sum = self.exchange.begin(member, Stage::Lower, tensor, on_the_way);
            device.flush().unwrap_or_else(|error| panic!("{error}"));
            sum
        };
        let sums: Vec<Sum> = tensors.into_iter().enumerate().map(begin).collect();
        self.exchange.all_have_begun();
        sums.into_iter().map(|sum| sum()).collect()
    }

    /// Does work that needs all members, on its own thread. If a member is lost, the thread is left behind,
    /// because it may wait for that member forever.
    pub(super) fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, results) = channel();
        thread::spawn(move || {
            // If a member is lost, nobody waits for the result.
            let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
        });
        loop {
            match results.recv_timeout(PAUSE) {
                Ok(Ok(result)) => return result,
                Ok(Err(payload)) => return Err(self.failure(payload)),
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(error) = self.loss(Duration::ZERO) {
                        return Err(error);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => unreachable!("a thread sends its result or its panic"),
            }
        }
    }

    /// The error for a lost member, if one is reported within `patience`.
    fn loss(&self, patience: Duration) -> Option<Error> {
        self.watch.as_ref()?.lost.recv_timeout(patience).ok()
    }

    fn failure(&self, payload: Box<dyn Any + Send>) -> Error {
        if let Some(error) = self.loss(GRACE) {
            return error;
        }
        match payload.downcast::<Failed>() {
            Ok(failed) => Error::worker(&self.members[failed.member].name, failed.message),
            Err(payload) => Error::training(message(payload.as_ref())),
        }
    }
}
