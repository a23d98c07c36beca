//! How the workers of a run find each other: each connects to those before it in the trainer's list.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use subtle::ConstantTimeEq;

use super::group::Group;

/// The first bytes of a connection between workers.
pub(super) const GREETING: &[u8; 8] = b"gradient";

/// How long a greeting, or its answer, may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait for the workers that connect to this one.
const ARRIVAL: Duration = Duration::from_secs(20);
const MAX_TOKEN: usize = 4096;

/// Where the workers of a run meet. A worker exchanges gradients for one run at a time, the last one that
/// asked for it.
#[derive(Debug)]
pub(super) struct Meeting {
    token: Vec<u8>,
    current: Mutex<Option<Arc<Group>>>,
    /// Connections of workers that this one has not been told of yet, by run and worker.
    arrived: Mutex<HashMap<(u128, usize), TcpStream>>,
    changed: Condvar,
}

impl Meeting {
    /// For workers with this token; without one, any worker may come.
    pub fn new(token: Option<&str>) -> Self {
        Self {
            token: token.unwrap_or_default().as_bytes().to_vec(),
            current: Mutex::default(),
            arrived: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Takes a connection that begins with [`GREETING`].
    pub fn arrive(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut greeting = [0; GREETING.len() + 16 + 4 + 4];
        stream.read_exact(&mut greeting)?;
        let number = |from: usize, length: usize| {
            let bytes = greeting[GREETING.len()..][from..from + length].iter().rev();
            bytes.fold(0_u128, |number, byte| number << 8 | u128::from(*byte))
        };
        let (run, rank, length) = (number(0, 16), number(16, 4) as usize, number(20, 4) as usize);
        let mut token = vec![0; length.min(MAX_TOKEN)];
        stream.read_exact(&mut token)?;
        if !self.token.is_empty() && !bool::from(token.ct_eq(&self.token)) {
            tracing::warn!("another worker has another token");
            return stream.write_all(&[0]);
        }
        stream.write_all(&[1])?;
        stream.set_read_timeout(None)?;
        let mut arrived = self.arrived.lock().expect("no thread panics with the lock");
        arrived.insert((run, rank), stream);
        self.changed.notify_all();
        Ok(())
    }

    /// Meets the other workers of a run: all at `addresses`, this one at `rank`. The run before is left.
    ///
    /// # Errors
    ///
    /// Which worker was not met, and why.
    pub fn join(&self, run: u128, rank: usize, addresses: &[String]) -> Result<(), String> {
        let mut streams: Vec<Option<TcpStream>> = Vec::new();
        for address in &addresses[..rank] {
            let stream = self.greet(address, run, rank);
            streams.push(Some(stream.map_err(|error| format!("cannot reach {address}: {error}"))?));
        }
        streams.push(None);
        let arrived = self.arrived.lock().expect("no thread panics with the lock");
        let all = rank + 1..addresses.len();
        let waits = |arrived: &mut HashMap<_, _>| all.clone().any(|rank| !arrived.contains_key(&(run, rank)));
        let waited = self.changed.wait_timeout_while(arrived, ARRIVAL, waits);
        let mut arrived = waited.expect("no thread panics with the lock").0;
        for (rank, address) in addresses.iter().enumerate().skip(rank + 1) {
            let stream = arrived.remove(&(run, rank));
            streams.push(Some(stream.ok_or_else(|| format!("is not reached by {address}"))?));
        }
        // What is left belongs to runs that have ended.
        arrived.clear();
        drop(arrived);
        let group = Group::new(run, rank, streams).map_err(|error| error.to_string())?;
        let mut current = self.current.lock().expect("no thread panics with the lock");
        if current.as_ref().is_some_and(|before| before.run == run) {
            group.fail("the worker is in the run twice");
            return Err("is given twice, with two names".to_string());
        }
        if let Some(before) = current.replace(group) {
            before.fail("another run has taken the worker");
        }
        Ok(())
    }

    fn greet(&self, address: &str, run: u128, rank: usize) -> io::Result<TcpStream> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => return self.greet_on(stream, run, rank),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn greet_on(&self, mut stream: TcpStream, run: u128, rank: usize) -> io::Result<TcpStream> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut greeting = GREETING.to_vec();
        greeting.extend(run.to_le_bytes());
        greeting.extend((rank as u32).to_le_bytes());
        greeting.extend((self.token.len() as u32).to_le_bytes());
        greeting.extend(&self.token);
        stream.write_all(&greeting)?;
        let mut answer = [0];
        stream.read_exact(&mut answer)?;
        if answer != [1] {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it refuses the token"));
        }
        stream.set_read_timeout(None)?;
        Ok(stream)
    }

    /// The group of a run.
    ///
    /// # Errors
    ///
    /// Where the worker is not in it any more.
    pub fn group(&self, run: u128) -> Result<Arc<Group>, String> {
        let current = self.current.lock().expect("no thread panics with the lock");
        let group = current.as_ref().filter(|group| group.run == run);
        group.cloned().ok_or_else(|| "another run has taken the worker".to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use burn::tensor::TensorData;

    use super::*;
    use crate::train::GradientType;

    /// A worker's meeting, and where it listens.
    fn listening(token: Option<&str>) -> (Arc<Meeting>, String) {
        let meeting = Arc::new(Meeting::new(token));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let arriving = meeting.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = arriving.arrive(stream.unwrap());
            }
        });
        (meeting, address)
    }

    fn joined(run: u128, count: usize) -> Vec<Arc<Group>> {
        let (meetings, addresses): (Vec<_>, Vec<_>) = (0..count).map(|_| listening(Some("secret"))).unzip();
        let addresses = &addresses;
        let join = |(rank, meeting): (usize, Arc<Meeting>)| {
            meeting.join(run, rank, addresses).unwrap();
            meeting.group(run).unwrap()
        };
        thread::scope(|scope| {
            let threads: Vec<_> =
                meetings.into_iter().enumerate().map(|worker| scope.spawn(move || join(worker))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    fn sum(
        groups: &[Arc<Group>],
        number: u64,
        parts: &[Vec<f32>],
        on_the_way: GradientType,
    ) -> Vec<Vec<f32>> {
        for (group, part) in groups.iter().zip(parts) {
            group.begin(number, TensorData::new(part.clone(), [part.len()]), on_the_way, 0);
        }
        let end = |group: &Arc<Group>| {
            let bytes = group.end(number, parts[0].len()).unwrap();
            bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
        };
        groups.iter().map(end).collect()
    }

    #[test]
    fn all_workers_get_the_sum_in_their_order_whoever_is_first() {
        let groups = joined(1, 3);
        // 1 + 2^24 - 2^24 is 0 in f32, but 1 in another order.
        let elements = 200_000;
        let mut parts =
            [vec![1.0_f32; elements], vec![16_777_216.0; elements], vec![-16_777_216.0; elements]];
        parts[0][elements - 1] = 0.25;
        parts[1][elements - 1] = 0.5;
        parts[2][elements - 1] = 0.125;
        let sums = sum(&groups, 5, &parts, GradientType::F32);
        let mut expected = vec![(1.0 + 16_777_216.0_f32) - 16_777_216.0; elements];
        expected[elements - 1] = 0.875;
        assert!(sums.iter().all(|sum| *sum == expected));

        // In bf16 all have the same, too.
        let parts = [0.1_f32, 0.2, 0.3].map(|part| vec![part; 3]);
        let sums = sum(&groups, 6, &parts, GradientType::Bf16);
        assert!(sums.iter().all(|sum| *sum == sums[0]));
        assert!((sums[0][0] - 0.6).abs() < 0.004 && sums[0][0] != 0.6, "{}", sums[0][0]);
    }

    #[test]
    fn a_worker_that_is_lost_ends_the_sums_of_the_others() {
        let groups = joined(2, 3);
        groups[0].begin(1, TensorData::new(vec![1.0_f32], [1]), GradientType::F32, 0);
        groups[2].fail("the test ends it");
        let error = groups[0].end(1, 1).unwrap_err();
        assert!(error.starts_with("worker 2 ") || error.starts_with("worker 1 "), "{error}");
    }

    #[test]
    fn another_token_or_nobody_is_an_error_with_a_name() {
        let ((meeting, _), (_, there)) = (listening(Some("guess")), listening(Some("secret")));
        let error = meeting.join(3, 1, &[there.clone(), "here".to_string()]).unwrap_err();
        assert_eq!(error, format!("cannot reach {there}: it refuses the token"));
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let error = meeting.join(3, 1, &[nobody.clone(), "here".to_string()]).unwrap_err();
        assert!(error.starts_with(&format!("cannot reach {nobody}: Connection refused")), "{error}");
        assert!(meeting.group(3).is_err());
    }
}
