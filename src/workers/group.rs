//! The workers of one run, as one of them sees them: the sums of gradients that they make together.
//!
//! A tensor is cut into pieces, and piece `i` belongs to worker `i % count`. All workers send it their part
//! of the piece, and it sends the sum back to all. So all workers send and receive equally much. Each piece
//! is summed as soon as its parts are there, in f32 and in the order of the workers, so that a run repeats
//! bit for bit.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use burn::tensor::TensorData;

use super::link::{Header, Kind, Outbox, PIECE, Values, add, read, rounded};
use crate::train::GradientType;

/// A worker that waits for a sum gives up if no piece of any sum has come for this long. The trainer finds lost
/// workers much sooner; this is for a worker whose trainer is lost.
const PATIENCE: Duration = Duration::from_secs(600);

/// A worker's side of a group.
#[derive(Debug)]
pub(super) struct Group {
    /// Which run this is.
    pub run: u128,
    rank: usize,
    /// The connection to each worker, but for itself.
    links: Vec<Option<Link>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct Link {
    stream: TcpStream,
    outbox: Outbox,
}

#[derive(Debug)]
struct State {
    sums: HashMap<u64, Sum>,
    /// Why nothing can be summed any more.
    failure: Option<String>,
    /// When the last piece came.
    last: Instant,
}

/// A sum that is under way. Others may be ahead, so that their parts come before this worker's own.
#[derive(Debug, Default)]
struct Sum {
    own: Option<Own>,
    /// The parts of this worker's pieces that have come, by worker.
    parts: HashMap<u32, Vec<Option<Vec<u8>>>>,
    /// The pieces that are summed.
    pieces: BTreeMap<u32, Arc<Vec<u8>>>,
}

/// This worker's tensor, and how it travels.
#[derive(Debug, Clone)]
struct Own {
    data: Arc<TensorData>,
    on_the_way: GradientType,
    urgency: u8,
}

impl Own {
    fn values(&self, piece: u32) -> Values {
        let from = 4 * PIECE * piece as usize;
        let to = (from + 4 * PIECE).min(self.data.as_bytes().len());
        Values::Own(self.data.clone(), from..to)
    }
}

fn pieces(elements: usize) -> u32 {
    u32::try_from(elements.div_ceil(PIECE)).expect("a tensor has fewer than 2^48 elements")
}

impl Group {
    /// The worker `rank` of a group, with a stream to each other one.
    pub fn new(run: u128, rank: usize, streams: Vec<Option<TcpStream>>) -> io::Result<Arc<Self>> {
        let link = |stream: &TcpStream| -> io::Result<Link> {
            stream.set_nodelay(true)?;
            Ok(Link { stream: stream.try_clone()?, outbox: Outbox::default() })
        };
        let links = streams.iter().map(|stream| stream.as_ref().map(link).transpose());
        let links = links.collect::<io::Result<_>>()?;
        let state = State { sums: HashMap::new(), failure: None, last: Instant::now() };
        let group = Arc::new(Self { run, rank, links, state: Mutex::new(state), changed: Condvar::new() });
        for (other, stream) in streams.into_iter().enumerate() {
            let Some(stream) = stream else { continue };
            let mut sender = stream.try_clone()?;
            let sending = group.clone();
            thread::spawn(move || {
                let link = sending.links[other].as_ref().expect("a link to another worker");
                if let Err(error) = link.outbox.send_all(&mut sender) {
                    sending.fail(&format!("worker {other} takes no gradients: {error}"));
                }
            });
            let (receiving, mut stream) = (group.clone(), stream);
            thread::spawn(move || {
                let error = loop {
                    match read(&mut stream) {
                        Ok((header, values)) => receiving.receive(other, header, values),
                        Err(error) => break error,
                    }
                };
                receiving.fail(&format!("worker {other} sends no gradients: {error}"));
            });
        }
        Ok(group)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics with the lock")
    }

    fn owner(&self, piece: u32) -> usize {
        piece as usize % self.links.len()
    }

    fn others(&self) -> impl Iterator<Item = (usize, &Outbox)> {
        let links = self.links.iter().enumerate();
        links.filter_map(|(other, link)| link.as_ref().map(|link| (other, &link.outbox)))
    }

    /// Starts the sum `number` with this worker's part, f32 values. The least `urgency` travels first.
    pub fn begin(&self, number: u64, data: TensorData, on_the_way: GradientType, urgency: u8) {
        let count = pieces(data.num_elements());
        let own = Own { data: Arc::new(data), on_the_way, urgency };
        let mut state = self.state();
        let sum = state.sums.entry(number).or_default();
        sum.own = Some(own.clone());
        let mine = || (0..count).filter(|piece| self.owner(*piece) == self.rank);
        let complete: Vec<_> = mine().filter_map(|piece| self.parts(sum, piece)).collect();
        drop(state);
        for (other, outbox) in self.others() {
            for piece in (0..count).filter(|piece| self.owner(*piece) == other) {
                let header = Header { number, piece, kind: Kind::Part, on_the_way };
                outbox.put(urgency, header, own.values(piece));
            }
        }
        complete.into_iter().for_each(|(piece, parts)| self.sum(number, piece, parts, &own));
    }

    /// The parts of a piece, if all are there.
    fn parts(&self, sum: &mut Sum, piece: u32) -> Option<(u32, Vec<Option<Vec<u8>>>)> {
        let parts = sum.parts.get(&piece)?;
        let there = |(worker, part): (usize, &Option<Vec<u8>>)| part.is_some() || worker == self.rank;
        if !parts.iter().enumerate().all(there) {
            return None;
        }
        sum.parts.remove(&piece).map(|parts| (piece, parts))
    }

    fn sum(&self, number: u64, piece: u32, parts: Vec<Option<Vec<u8>>>, own: &Own) {
        let mine = own.values(piece);
        let mut parts = parts.into_iter().map(|part| part.unwrap_or_else(|| mine.to_vec()));
        let mut sum = parts.next().expect("a group has members");
        parts.for_each(|part| add(&mut sum, &part));
        let sum = Arc::new(rounded(sum, own.on_the_way));
        for (_, outbox) in self.others() {
            let header = Header { number, piece, kind: Kind::Sum, on_the_way: own.on_the_way };
            outbox.put(own.urgency, header, Values::Sum(sum.clone()));
        }
        self.state().sums.entry(number).or_default().pieces.insert(piece, sum);
        self.changed.notify_all();
    }

    fn receive(&self, from: usize, header: Header, values: Vec<u8>) {
        let Header { number, piece, kind, .. } = header;
        let mut state = self.state();
        state.last = Instant::now();
        let sum = state.sums.entry(number).or_default();
        match kind {
            Kind::Sum => {
                sum.pieces.insert(piece, Arc::new(values));
                drop(state);
                self.changed.notify_all();
            }
            Kind::Part => {
                let parts = sum.parts.entry(piece).or_insert_with(|| vec![None; self.links.len()]);
                parts[from] = Some(values);
                if let Some(own) = sum.own.clone()
                    && let Some((piece, parts)) = self.parts(sum, piece)
                {
                    drop(state);
                    self.sum(number, piece, parts, &own);
                }
            }
        }
    }

    /// Waits for a sum of so many elements: f32 values, as bytes.
    ///
    /// # Errors
    ///
    /// Why the sum cannot be made.
    pub fn end(&self, number: u64, elements: usize) -> Result<Vec<u8>, String> {
        let count = pieces(elements) as usize;
        let begun = Instant::now();
        let mut state = self.state();
        loop {
            if state.sums.get(&number).is_some_and(|sum| sum.pieces.len() == count) {
                let sum = state.sums.remove(&number).expect("it was just there");
                drop(state);
                let mut bytes = Vec::with_capacity(4 * elements);
                sum.pieces.into_values().for_each(|piece| bytes.extend_from_slice(&piece));
                return Ok(bytes);
            }
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            let Some(rest) = PATIENCE.checked_sub(state.last.max(begun).elapsed()) else {
                return Err(format!("no gradients came for {} s", PATIENCE.as_secs()));
            };
            state = self.changed.wait_timeout(state, rest).expect("no thread panics with the lock").0;
        }
    }

    /// Ends all sums, and the connections. The first reason is kept.
    pub fn fail(&self, reason: &str) {
        self.state().failure.get_or_insert_with(|| reason.to_string());
        self.changed.notify_all();
        for link in self.links.iter().flatten() {
            link.outbox.close();
            // It may be closed already.
            let _ = link.stream.shutdown(Shutdown::Both);
        }
    }
}
