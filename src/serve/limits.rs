//! What a client may cost: bytes, pixels, time. All of it is checked before memory is spent.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time;

use super::refusal::Refusal;

/// Limits of one request, of one connection, and of all together.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a request's body.
    pub upload_bytes: usize,
    /// Pixels of an image.
    pub pixels: u64,
    /// Bytes of the bodies and pixels that are held at a time, of all requests together.
    pub memory: usize,
    /// Images that wait or are looked at; further ones are refused with 503.
    pub queue: usize,
    /// Connections at a time.
    pub connections: usize,
    /// In which a client has to send the head of a request.
    pub head_time: Duration,
    /// In which a client has to send the body of a request.
    pub body_time: Duration,
    /// After which a client that takes nothing of its answer is cut off.
    pub stall_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            upload_bytes: 64 << 20,
            pixels: 64_000_000,
            memory: 1 << 30,
            queue: 64,
            connections: 4096,
            head_time: Duration::from_secs(10),
            body_time: Duration::from_secs(60),
            stall_time: Duration::from_secs(30),
        }
    }
}

/// Permits are given in units of this many bytes.
const UNIT: usize = 1024;

/// While a body is read it is held up to three times: what has come, the room that a growing vector keeps
/// free, and the parts that are cut out of it.
const COPIES_OF_A_BODY: usize = 3;

/// The memory for all requests together.
#[derive(Debug, Clone)]
pub struct Memory {
    free: Arc<Semaphore>,
    /// All of it, in bytes.
    total: usize,
}

/// Memory that is taken until this is dropped.
#[derive(Debug)]
pub struct Held {
    permit: OwnedSemaphorePermit,
}

impl Memory {
    pub fn new(bytes: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(bytes / UNIT)), total: bytes }
    }

    /// Takes some, or refuses at once: with 413 where there would never be enough.
    pub fn take(&self, bytes: usize) -> Result<Held, Refusal> {
        if bytes > self.total {
            return Err(Refusal::too_large("this takes more memory than the server may hold"));
        }
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        match self.free.clone().try_acquire_many_owned(units) {
            Ok(permit) => Ok(Held { permit }),
            Err(_) => Err(Refusal::unavailable("the server holds as much as it may; try again soon")),
        }
    }

    /// Bytes that nobody has taken.
    pub fn free(&self) -> usize {
        self.free.available_permits() * UNIT
    }
}

impl Held {
    fn bytes(&self) -> usize {
        self.permit.num_permits() * UNIT
    }

    fn add(&mut self, other: Self) {
        self.permit.merge(other.permit);
    }

    /// Keeps enough for `bytes`, and gives the rest back.
    pub fn shrink(&mut self, bytes: usize) {
        let rest = self.permit.num_permits().saturating_sub(bytes.div_ceil(UNIT));
        drop(self.permit.split(rest));
    }

    /// Bytes that hold this memory until the last of them is dropped: as the body of an answer, until the
    /// client has taken all of it.
    pub fn with(self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(HeldBytes { bytes, held: self })
    }
}

struct HeldBytes {
    bytes: Vec<u8>,
    #[allow(dead_code, reason = "held until it is dropped")]
    held: Held,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The body of a request, and the memory that is taken for it.
///
/// # Errors
///
/// 413 where it has more than `most` bytes, 408 where it does not come in time, 503 where there is no memory
/// for it, 400 where the connection breaks.
pub async fn read_body(
    headers: &HeaderMap,
    body: Body,
    most: usize,
    limits: &Limits,
    memory: &Memory,
) -> Result<(Vec<u8>, Held), Refusal> {
    let too_large = || Refusal::too_large(format!("the body has more than the {most} bytes that are taken"));
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > most as u64) {
        return Err(too_large());
    }
    let read = async {
        let (mut body, mut bytes, mut held) = (body, Vec::new(), memory.take(0)?);
        while let Some(frame) = body.frame().await {
            let broken = |_| Refusal::bad_request("the body of the request ends too early");
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            if bytes.len() + data.len() > most {
                return Err(too_large());
            }
            let needed = COPIES_OF_A_BODY * (bytes.len() + data.len());
            if needed > held.bytes() {
                held.add(memory.take(needed - held.bytes())?);
            }
            bytes.extend_from_slice(&data);
        }
        Ok((bytes, held))
    };
    time::timeout(limits.body_time, read).await.unwrap_or_else(|_| {
        let seconds = limits.body_time.as_secs();
        let message = format!("the body of the request did not arrive within {seconds} seconds");
        Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, message))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back() {
        let memory = Memory::new(10 * UNIT);
        let mut held = memory.take(4 * UNIT).unwrap();
        held.add(memory.take(UNIT + 1).unwrap());
        assert_eq!((held.bytes(), memory.free()), (6 * UNIT, 4 * UNIT));
        let refusal = memory.take(5 * UNIT).unwrap_err();
        assert_eq!(refusal.status(), StatusCode::SERVICE_UNAVAILABLE);
        let refusal = memory.take(11 * UNIT).unwrap_err();
        assert_eq!(refusal.status(), StatusCode::PAYLOAD_TOO_LARGE);
        held.shrink(2 * UNIT + 1);
        assert_eq!((held.bytes(), memory.free()), (3 * UNIT, 7 * UNIT));
        held.shrink(9 * UNIT);
        assert_eq!(held.bytes(), 3 * UNIT);
        let mut bytes = held.with(vec![7; 3000]);
        let last = bytes.split_off(2999);
        drop(bytes);
        assert_eq!((&last[..], memory.free()), (&[7][..], 7 * UNIT));
        drop(last);
        assert_eq!(memory.free(), 10 * UNIT);
    }
}
