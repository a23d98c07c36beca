//! SHA-256 of files.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Of a file's bytes, hexadecimal.
pub fn sha256_of(path: &Path) -> Result<String> {
    let mut sums = Summing::new(io::sink());
    File::open(path).and_then(|mut file| io::copy(&mut file, &mut sums)).map_err(Error::io(path))?;
    Ok(sums.sha256())
}

/// Of bytes, hexadecimal.
#[cfg(any(feature = "records", feature = "registry"))]
pub fn sha256_of_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Passes bytes on, and adds them up.
pub struct Summing<W> {
    to: W,
    hasher: Sha256,
}

impl<W: Write> Summing<W> {
    pub fn new(to: W) -> Self {
        Self { to, hasher: Sha256::new() }
    }

    /// Of all bytes so far, hexadecimal.
    pub fn sha256(self) -> String {
        hex(&self.hasher.finalize())
    }
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
