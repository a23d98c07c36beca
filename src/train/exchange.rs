//! How the members of a team sum their gradients.

use std::fmt::Debug;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use burn::tensor::Tensor;

use super::all_reduce::all_reduce;
use super::config::GradientType;
use super::each::each;
use crate::model::stages::Stage;

/// A sum over all members that is under way. The call waits for it.
pub(crate) type Sum = Box<dyn FnOnce() -> Tensor<1> + Send>;

/// Sums tensors over the members of a team while these go on computing.
pub(crate) trait Exchange: Debug + Send + Sync {
    /// Starts to sum the members' tensors `[P]` of a stage. Each member calls this for each sum, and for the
    /// sums of one stage in the same order. All members get the same sum, bit for bit, and a repetition gives
    /// the same bits again.
    fn begin(&self, member: usize, stage: Stage, tensor: Tensor<1>, on_the_way: GradientType) -> Sum;

    /// Is called by one thread when all members have begun, before any of them waits.
    fn all_have_begun(&self) {}
}

/// A team of one member.
#[derive(Debug)]
pub(super) struct Alone;

impl Exchange for Alone {
    fn begin(&self, _member: usize, _stage: Stage, tensor: Tensor<1>, _on_the_way: GradientType) -> Sum {
        Box::new(move || tensor)
    }
}

/// Sums with burn's transfers and collective operations.
#[derive(Debug)]
pub(super) struct Collective {
    members: usize,
    /// Sums on a thread of its own, as soon as all members have begun. Else [`Exchange::all_have_begun`] sums,
    /// because the transfers of burn's workers must not mix with their computation: a worker that waits for a
    /// transfer takes no orders when its queue is full, and the thread that then cannot send may be the one
    /// that serves the other end of the transfer.
    at_once: bool,
    /// One sum at a time: NCCL wants the same order of sums on all devices.
    turn: Arc<Mutex<()>>,
    /// Of each stage, what the members gave so far.
    rounds: Mutex<[Round; Stage::ALL.len()]>,
}

/// The tensor of each member, and where its sum goes.
type Round = Vec<Option<(Tensor<1>, Sender<Tensor<1>>)>>;

impl Collective {
    pub fn new(members: usize, at_once: bool) -> Self {
        Self { members, at_once, turn: Arc::default(), rounds: Mutex::default() }
    }

    /// The round of `stage`, if all members are in it.
    fn take(&self, rounds: &mut [Round; Stage::ALL.len()], stage: Stage) -> Option<Round> {
        let round = &mut rounds[stage as usize];
        let complete = !round.is_empty() && round.iter().all(Option::is_some);
        complete.then(|| std::mem::take(round))
    }
}

impl Exchange for Collective {
    fn begin(&self, member: usize, stage: Stage, tensor: Tensor<1>, _on_the_way: GradientType) -> Sum {
        let (sender, sum): (_, Receiver<Tensor<1>>) = channel();
        let mut rounds = self.rounds.lock().expect("no thread panics with the lock");
        let round = &mut rounds[stage as usize];
        round.resize_with(self.members, || None);
        round[member] = Some((tensor, sender));
        if self.at_once
            && let Some(round) = self.take(&mut rounds, stage)
        {
            let turn = self.turn.clone();
            thread::spawn(move || {
                let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
                let (sums, senders) = reduce(round);
                send(sums, senders);
            });
        }
        Box::new(move || sum.recv().expect("the other members do not fail"))
    }

    fn all_have_begun(&self) {
        if self.at_once {
            return;
        }
        let mut rounds = self.rounds.lock().expect("no thread panics with the lock");
        let complete = Stage::ALL.into_iter().rev().filter_map(|stage| self.take(&mut rounds, stage));
        let sums: Vec<_> = complete.map(reduce).collect();
        for (sums, senders) in sums {
            // Before anything else is sent; see `at_once`.
            each(&sums, |_, sum| sum.device().flush().unwrap_or_else(|error| panic!("{error}")));
            each(&sums, |_, sum| sum.device().sync().unwrap_or_else(|error| panic!("{error}")));
            send(sums, senders);
        }
    }
}

fn reduce(round: Round) -> (Vec<Tensor<1>>, Vec<Sender<Tensor<1>>>) {
    let (tensors, senders) = round.into_iter().flatten().unzip();
    (all_reduce(tensors), senders)
}

fn send(sums: Vec<Tensor<1>>, senders: Vec<Sender<Tensor<1>>>) {
    for (sum, sender) in sums.into_iter().zip(senders) {
        // Nobody waits if the run has ended.
        let _ = sender.send(sum);
    }
}
