//! Workers that a trainer starts on its own machine.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use rand::RngExt;

use super::address::Address;
use crate::error::{Error, Result};

/// Worker processes on this machine. They end when the value is dropped. They also end when this process is
/// killed, because each watches its standard input.
#[derive(Debug)]
pub struct LocalWorkers {
    children: Vec<Child>,
    addresses: Vec<Address>,
    token: String,
}

impl LocalWorkers {
    /// Starts `count` processes `PROGRAM worker`, each on a free port of the loopback address and with its
    /// share of the processor's cores. They require a random token, which they get on standard input.
    ///
    /// # Errors
    ///
    /// [`Error::Worker`] where one does not start.
    pub fn start(program: &Path, count: usize) -> Result<Self> {
        let token = format!("{:032x}", rand::rng().random::<u128>());
        let mut workers = Self { children: Vec::new(), addresses: Vec::new(), token };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        for index in 0..count {
            let name = format!("local {index}");
            let fail = |error| Error::worker_because(&name, "did not start", error);
            let mut child = Command::new(program)
                .args(["worker", "--listen", "127.0.0.1:0", "--child"])
                .env("RAYON_NUM_THREADS", (cores / count).max(1).to_string())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .map_err(|error| {
                    Error::worker_because(&name, format!("cannot start {}", program.display()), error)
                })?;
            let (input, output) = (child.stdin.as_mut(), child.stdout.take());
            let told = writeln!(input.expect("standard input is a pipe"), "{}", workers.token);
            workers.children.push(child);
            told.map_err(fail)?;
            let mut line = String::new();
            BufReader::new(output.expect("standard output is a pipe")).read_line(&mut line).map_err(fail)?;
            let address = line.split_whitespace().find_map(|word| word.parse().ok());
            workers.addresses.push(address.ok_or_else(|| Error::worker(&name, "did not start"))?);
        }
        Ok(workers)
    }

    /// Where they listen.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The token that they require.
    pub fn token(&self) -> &str {
        &self.token
    }
}

impl Drop for LocalWorkers {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It is fine if the process has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
