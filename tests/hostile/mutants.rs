//! Mutants of files, and the loop that tries them.

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::time::{Duration, Instant};

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Changes a few places, of a size and in a way that file formats react to.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], rng: &mut ChaCha8Rng) {
    const INTERESTING: [i64; 12] = [0, 1, -1, 2, 127, 128, 255, 256, 65_535, 1 << 31, i64::MAX, i64::MIN];
    for _ in 0..rng.random_range(1..=4) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.random_range(0..bytes.len());
        let length = rng.random_range(1..=16).min(bytes.len() - at);
        match rng.random_range(0..8) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = rng.random(),
            2 => {
                let value = INTERESTING[rng.random_range(0..INTERESTING.len())].to_le_bytes();
                let width = [1, 2, 4, 8][rng.random_range(0..4)].min(length);
                bytes[at..at + width].copy_from_slice(&value[..width]);
            }
            3 => drop(bytes.drain(at..at + length)),
            4 => {
                let copy = bytes[at..at + length].to_vec();
                let to = rng.random_range(0..=bytes.len());
                bytes.splice(to..to, copy);
            }
            5 => {
                let from = rng.random_range(0..other.len());
                let piece = &other[from..][..rng.random_range(1..=64).min(other.len() - from)];
                bytes.splice(at..at, piece.iter().copied());
            }
            6 => rng.fill_bytes(&mut bytes[at..at + length]),
            _ => {
                // Decimal digits, such as those of a header in JSON.
                let digit = (0..bytes.len())
                    .map(|step| (at + step) % bytes.len())
                    .find(|at| bytes[*at].is_ascii_digit());
                if let Some(at) = digit {
                    bytes[at] = b'0' + rng.random_range(0..10);
                }
            }
        }
    }
    if rng.random_range(0..20) == 0 {
        bytes.truncate(rng.random_range(0..=bytes.len()));
    }
}

/// Calls `attempt` with mutants of the seeds and their numbers: a fixed number of them, or for as long as
/// `FUZZ_SECONDS` says. `FUZZ_SEED` gives other ones. The first seeds are tried more often. A mutant that
/// panics is kept, and its path is printed.
pub fn fuzz(mutants: usize, seeds: &[Vec<u8>], attempt: impl Fn(usize, &[u8])) {
    let setting = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let duration = setting("FUZZ_SECONDS").map(Duration::from_secs);
    let start = Instant::now();
    let mut rng = ChaCha8Rng::seed_from_u64(setting("FUZZ_SEED").unwrap_or(0));
    let mut tried = 0;
    while duration.map_or(tried < mutants, |duration| start.elapsed() < duration) {
        // The square prefers the first ones.
        let choose = |rng: &mut ChaCha8Rng| {
            let at: f64 = rng.random();
            &seeds[(at * at * seeds.len() as f64) as usize]
        };
        let mut bytes = choose(&mut rng).clone();
        let other = choose(&mut rng).clone();
        mutate(&mut bytes, &other, &mut rng);
        if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| attempt(tried, &bytes))) {
            let path = std::env::temp_dir().join("faster-rcnn-fuzz-finding");
            fs::write(&path, &bytes).unwrap();
            println!("mutant {tried} is kept as {}", path.display());
            panic::resume_unwind(panic);
        }
        tried += 1;
    }
    println!("{tried} mutants in {:.0?}", start.elapsed());
}
