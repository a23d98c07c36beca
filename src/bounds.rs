//! Which settings are allowed. Every number has bounds, so that products of numbers do not overflow, and no
//! layer is wider than any useful detector needs.

use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::error::{Error, Result};

/// The most of anything that is counted and takes little memory each: classes, proposals, detections, epochs.
pub const MAX_COUNT: usize = 1 << 16;

/// The longest side of an image or an anchor, in pixels.
pub const MAX_SIDE: usize = 1 << 14;

/// Checks that a setting lies in its bounds; NaN lies in none.
///
/// # Errors
///
/// [`Error::Config`] that names the key, the bounds and the value.
pub fn within<T: PartialOrd + Display>(key: &str, value: T, bounds: RangeInclusive<T>) -> Result<()> {
    let (low, high) = (bounds.start(), bounds.end());
    ensure(bounds.contains(&value), || format!("{key} must be in {low}..={high}, is {value}"))
}

/// Checks each of several settings.
///
/// # Errors
///
/// As [`within`].
pub fn all_within<T: PartialOrd + Display + Copy>(
    settings: &[(&str, T)],
    bounds: RangeInclusive<T>,
) -> Result<()> {
    settings.iter().try_for_each(|(key, value)| within(key, *value, bounds.clone()))
}

/// An error with this message if the condition does not hold.
///
/// # Errors
///
/// [`Error::Config`].
pub fn ensure(holds: bool, message: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Config(message())) }
}
