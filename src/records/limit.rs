//! How much is kept.

use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

/// How much is kept: `30d`, `12h`, `50GB`, or both as `30d,50GB`. The oldest goes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// Inspections that are older go.
    pub age: Option<Duration>,
    /// The oldest inspections go until the images have no more bytes than this.
    pub bytes: Option<u64>,
}

/// What went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Inspections.
    pub inspections: u64,
    /// Images that nothing referred to any more.
    pub images: u64,
    /// Their bytes.
    pub bytes: u64,
}

const UNITS_OF_TIME: [(&str, u64); 3] = [("d", 24 * 3600), ("h", 3600), ("w", 7 * 24 * 3600)];

const UNITS_OF_BYTES: [(&str, u64); 8] = [
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

impl FromStr for Keep {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = "expected days such as 30d, bytes such as 50GB, or both as 30d,50GB";
        let mut keep = Self::default();
        for part in text.split(',').map(str::trim) {
            let digits = part.find(|c: char| !c.is_ascii_digit()).ok_or(error)?;
            let (number, unit) = part.split_at(digits);
            let number: u64 = number.parse().map_err(|_| error)?;
            let of =
                |units: &[(&str, u64)]| units.iter().find(|(name, _)| *name == unit).map(|(_, size)| *size);
            if let (Some(seconds), None) = (of(&UNITS_OF_TIME), keep.age) {
                keep.age = Some(Duration::from_secs(number.checked_mul(seconds).ok_or(error)?));
            } else if let (Some(size), None) = (of(&UNITS_OF_BYTES), keep.bytes) {
                keep.bytes = Some(number.checked_mul(size).ok_or(error)?);
            } else {
                return Err(error);
            }
        }
        Ok(keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_bytes_are_read_in_any_order_and_once() {
        let day = Duration::from_secs(24 * 3600);
        let keep = |age: Option<Duration>, bytes| Ok(Keep { age, bytes });
        assert_eq!("30d".parse(), keep(Some(30 * day), None));
        assert_eq!("12h".parse(), keep(Some(day / 2), None));
        assert_eq!("50GB".parse(), keep(None, Some(50_000_000_000)));
        assert_eq!("1GiB, 2w".parse(), keep(Some(14 * day), Some(1 << 30)));
        for wrong in [
            "",
            "30",
            "d",
            "30d,",
            "30d,1h",
            "-1d",
            "1.5d",
            "30 days",
            "99999999999999999999d",
            "9999999999999TB",
        ] {
            assert!(wrong.parse::<Keep>().is_err(), "{wrong}");
        }
    }
}
