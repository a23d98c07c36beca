//! A connection between two workers, on which pieces of gradients travel both ways.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex};

use burn::tensor::TensorData;
use half::bf16;

use crate::train::GradientType;

/// Elements of a piece: 256 KB. Between two pieces a more urgent one may go first.
pub(super) const PIECE: usize = 64 << 10;

/// Bytes of a header.
const HEADER: usize = 18;

/// What a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A member's part, on the way to the member that sums this piece.
    Part,
    /// The sum.
    Sum,
}

/// What goes before a piece.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    /// Of which sum.
    pub number: u64,
    /// Which piece of it.
    pub piece: u32,
    pub kind: Kind,
    pub on_the_way: GradientType,
}

/// The f32 values of a piece, as bytes.
#[derive(Debug, Clone)]
pub(super) enum Values {
    /// Bytes of a member's own tensor.
    Own(Arc<TensorData>, Range<usize>),
    /// A sum.
    Sum(Arc<Vec<u8>>),
}

impl Values {
    pub fn to_vec(&self) -> Vec<u8> {
        self.bytes().to_vec()
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(data, range) => &data.as_bytes()[range.clone()],
            Self::Sum(bytes) => bytes,
        }
    }
}

impl Header {
    fn encode(self, length: usize) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.piece.to_le_bytes());
        bytes[12] = self.kind as u8;
        bytes[13] = self.on_the_way as u8;
        bytes[14..].copy_from_slice(&(length as u32).to_le_bytes());
        bytes
    }

    fn decode(bytes: [u8; HEADER]) -> Option<(Self, usize)> {
        let word = |from: usize| u32::from_le_bytes(bytes[from..from + 4].try_into().expect("four bytes"));
        let number = u64::from(word(0)) | u64::from(word(4)) << 32;
        let kind = [Kind::Part, Kind::Sum].into_iter().find(|kind| *kind as u8 == bytes[12])?;
        let on_the_way =
            [GradientType::F32, GradientType::Bf16].into_iter().find(|kind| *kind as u8 == bytes[13])?;
        let length = word(14) as usize;
        (length <= 4 * PIECE).then_some((Self { number, piece: word(8), kind, on_the_way }, length))
    }
}

/// Sends a piece.
fn write(stream: &mut TcpStream, header: Header, values: &Values) -> io::Result<()> {
    let rounded;
    let bytes = match header.on_the_way {
        GradientType::F32 => values.bytes(),
        GradientType::Bf16 => {
            rounded = to_bf16(values.bytes());
            &rounded
        }
    };
    let header = header.encode(bytes.len());
    // In one call, so that the header is no packet of its own.
    let written = stream.write_vectored(&[IoSlice::new(&header), IoSlice::new(bytes)])?;
    stream.write_all(&header[written.min(HEADER)..])?;
    stream.write_all(&bytes[written.saturating_sub(HEADER)..])
}

/// Receives a piece: its f32 values, as bytes.
pub(super) fn read(stream: &mut TcpStream) -> io::Result<(Header, Vec<u8>)> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header)?;
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "what came is no piece of gradients");
    let (header, length) = Header::decode(header).ok_or_else(invalid)?;
    let mut bytes = Vec::with_capacity(length);
    stream.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let bytes = match header.on_the_way {
        GradientType::F32 => bytes,
        GradientType::Bf16 => from_bf16(&bytes),
    };
    Ok((header, bytes))
}

fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes")))
}

fn to_bf16(bytes: &[u8]) -> Vec<u8> {
    let mut rounded = vec![0; bytes.len() / 2];
    for (rounded, value) in rounded.chunks_exact_mut(2).zip(floats(bytes)) {
        rounded.copy_from_slice(&bf16::from_f32(value).to_le_bytes());
    }
    rounded
}

fn from_bf16(bytes: &[u8]) -> Vec<u8> {
    let mut values = vec![0; 2 * bytes.len()];
    for (value, bytes) in values.chunks_exact_mut(4).zip(bytes.chunks_exact(2)) {
        let rounded = bf16::from_le_bytes(bytes.try_into().expect("two bytes"));
        value.copy_from_slice(&rounded.to_f32().to_le_bytes());
    }
    values
}

/// What the values are when they have travelled.
pub(super) fn rounded(bytes: Vec<u8>, on_the_way: GradientType) -> Vec<u8> {
    match on_the_way {
        GradientType::F32 => bytes,
        GradientType::Bf16 => from_bf16(&to_bf16(&bytes)),
    }
}

/// Adds f32 values.
pub(super) fn add(sum: &mut [u8], part: &[u8]) {
    for (sum, part) in sum.chunks_exact_mut(4).zip(floats(part)) {
        let value = f32::from_le_bytes((&*sum).try_into().expect("four bytes")) + part;
        sum.copy_from_slice(&value.to_le_bytes());
    }
}

/// The pieces that are still to be sent on a connection, the most urgent first.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    pieces: BinaryHeap<Outgoing>,
    /// Counts the pieces: of equally urgent ones the first goes first.
    count: u64,
    closed: bool,
}

#[derive(Debug)]
struct Outgoing {
    /// The least is sent first.
    place: Reverse<(u8, u64)>,
    header: Header,
    values: Values,
}

impl Outbox {
    /// Puts a piece in; the least `urgency` is sent first.
    pub fn put(&self, urgency: u8, header: Header, values: Values) {
        let mut queue = self.queue.lock().expect("no thread panics with the lock");
        let place = Reverse((urgency, queue.count));
        queue.count += 1;
        queue.pieces.push(Outgoing { place, header, values });
        self.changed.notify_one();
    }

    /// Ends [`send_all`](Self::send_all).
    pub fn close(&self) {
        self.queue.lock().expect("no thread panics with the lock").closed = true;
        self.changed.notify_one();
    }

    /// Sends pieces until the box is closed.
    pub fn send_all(&self, stream: &mut TcpStream) -> io::Result<()> {
        loop {
            let queue = self.queue.lock().expect("no thread panics with the lock");
            let waits = |queue: &mut Queue| queue.pieces.is_empty() && !queue.closed;
            let mut queue = self.changed.wait_while(queue, waits).expect("no thread panics with the lock");
            if queue.closed {
                return Ok(());
            }
            let next = queue.pieces.pop();
            drop(queue);
            if let Some(Outgoing { header, values, .. }) = next {
                write(stream, header, &values)?;
            }
        }
    }
}

impl PartialEq for Outgoing {
    fn eq(&self, other: &Self) -> bool {
        self.place == other.place
    }
}

impl Eq for Outgoing {}

impl PartialOrd for Outgoing {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Outgoing {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place.cmp(&other.place)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn the_most_urgent_piece_goes_first_and_arrives_as_it_was_sent_or_rounded() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut there = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut here = listener.accept().unwrap().0;
        let values = [1.0, -0.1, f32::MIN_POSITIVE, 1e30];
        let outbox = Arc::new(Outbox::default());
        for (urgency, piece, on_the_way) in
            [(3, 0, GradientType::F32), (1, 1, GradientType::Bf16), (3, 2, GradientType::F32)]
        {
            let header = Header { number: 7 << 33, piece, kind: Kind::Sum, on_the_way };
            outbox.put(urgency, header, Values::Sum(Arc::new(bytes(&values))));
        }
        let sending = outbox.clone();
        let sender = thread::spawn(move || sending.send_all(&mut there).unwrap());
        let received: Vec<_> = (0..3).map(|_| read(&mut here).unwrap()).collect();
        assert_eq!(received.iter().map(|(header, _)| header.piece).collect::<Vec<_>>(), [1, 0, 2]);
        assert!(received.iter().all(|(header, _)| header.number == 7 << 33 && header.kind == Kind::Sum));
        let rounded = values.map(|value| bf16::from_f32(value).to_f32());
        assert_ne!(rounded, values);
        assert_eq!(received[0].1, bytes(&rounded));
        assert_eq!(received[1].1, bytes(&values));
        outbox.close();
        sender.join().unwrap();
        assert_eq!(read(&mut here).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn parts_are_added_as_f32() {
        let mut sum = bytes(&[1.0, 16_777_216.0]);
        add(&mut sum, &bytes(&[0.5, 1.0]));
        assert_eq!(sum, bytes(&[1.5, 16_777_216.0]));
    }
}
