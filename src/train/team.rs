//! The devices that train together, and what happens when one of them is lost.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use burn::tensor::Device;

use crate::error::{Error, Result};

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

/// The panic of a step on one member.
struct Failed {
    member: usize,
    message: String,
}

impl Team {
    /// Devices of this process.
    ///
    /// # Panics
    ///
    /// If there are none.
    pub fn new(devices: impl IntoIterator<Item = Device>) -> Self {
        let member = |device: Device| Member { name: format!("{device:?}"), device };
        Self::of(devices.into_iter().map(member).collect(), None)
    }

    /// Members that are watched.
    ///
    /// # Panics
    ///
    /// If there are none.
    #[cfg(feature = "workers")]
    pub(crate) fn watched(members: Vec<Member>, watch: Watch) -> Self {
        Self::of(members, Some(watch))
    }

    fn of(members: Vec<Member>, watch: Option<Watch>) -> Self {
        assert!(!members.is_empty(), "a team has at least one member");
        Self { members, watch }
    }

    /// The same members, without a watch.
    pub(super) fn members_only(&self) -> Self {
        Self { members: self.members.clone(), watch: None }
    }

    /// Those that train.
    pub fn members(&self) -> &[Member] {
        &self.members
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

/// Does the same for each of `items` at once; the first item belongs to the first member, and so on.
///
/// # Panics
///
/// Where the work panics. The panic names the member to [`Team::work`].
pub(super) fn each<I: Send, T: Send>(
    items: impl IntoIterator<Item = I>,
    work: impl Fn(usize, I) -> T + Sync,
) -> Vec<T> {
    let work = &work;
    let results: Vec<thread::Result<T>> = thread::scope(|scope| {
        let threads: Vec<_> = items
            .into_iter()
            .enumerate()
            .map(|(member, item)| scope.spawn(move || work(member, item)))
            .collect();
        threads.into_iter().map(|thread| thread.join()).collect()
    });
    let named = results.into_iter().enumerate().map(|(member, result)| match result {
        Ok(result) => result,
        Err(payload) => panic_any(Failed { member, message: message(payload.as_ref()) }),
    });
    named.collect()
}

/// What a panic says, on one line.
fn message(payload: &(dyn Any + Send)) -> String {
    let text = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        _ => "stopped without a word",
    };
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
