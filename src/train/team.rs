//! The devices that train together, and what happens when one of them is lost.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use burn::tensor::Device;

use crate::error::{Error, Result};

/// Between two looks at whether a member was lost.
const PAUSE: Duration = Duration::from_millis(100);
/// How long to look for a lost member where a step failed: a worker's failure shows first where others wait for it.
const GRACE: Duration = Duration::from_secs(10);

/// One of the devices.
#[derive(Debug, Clone)]
pub struct Member {
    /// What a person calls it.
    pub name: String,
    /// Where it computes.
    pub device: Device,
}

/// Devices that train one model together.
#[derive(Debug)]
pub struct Team {
    members: Vec<Member>,
    /// Tells the place of a member that is lost, and why.
    lost: Option<Receiver<(usize, String)>>,
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
        let devices = devices.into_iter();
        let members: Vec<Member> =
            devices.map(|device| Member { name: format!("{device:?}"), device }).collect();
        assert!(!members.is_empty(), "a team has at least one member");
        Self { members, lost: None }
    }

    /// Members that are watched, which tells of those that are lost.
    #[cfg(feature = "workers")]
    pub(crate) fn watched(members: Vec<Member>, lost: Receiver<(usize, String)>) -> Self {
        Self { members, lost: Some(lost) }
    }

    /// Those that train.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Does what needs all members, on a thread of its own, which is given up where one of them is lost: it may
    /// wait for that one for ever.
    pub(super) fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, results) = channel();
        thread::spawn(move || {
            // Nobody waits for the result where a member is lost.
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

    /// The member that is lost, waiting so long for the news.
    fn loss(&self, patience: Duration) -> Option<Error> {
        let (member, cause) = self.lost.as_ref()?.recv_timeout(patience).ok()?;
        Some(Error::Worker { worker: self.members[member].name.clone(), message: cause })
    }

    fn failure(&self, payload: Box<dyn Any + Send>) -> Error {
        if let Some(error) = self.loss(GRACE) {
            return error;
        }
        match payload.downcast::<Failed>() {
            Ok(failed) => {
                Error::Worker { worker: self.members[failed.member].name.clone(), message: failed.message }
            }
            Err(payload) => Error::training(message(payload.as_ref())),
        }
    }
}

/// Does the same for each of `items`, which belong to the members in turn, all at once.
///
/// # Panics
///
/// Where one of them does, in a way that names the member to [`Team::work`].
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
