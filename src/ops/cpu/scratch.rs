//! Scratch memory of the kernels.

use std::cell::RefCell;

/// Most elements of a buffer that is kept for the next call: 64 MiB. A convolution of the model takes at most
/// 40 MiB; larger ones, of a very wide image, are allocated each time.
const MOST_KEPT: usize = 16 * 1024 * 1024;
/// Most buffers that a thread keeps: convolutions use two at a time.
const BUFFERS: usize = 2;

thread_local!(static SCRATCH: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) });

/// Hands `length` elements with arbitrary values to `use_it`. A thread keeps the memory for its next call.
pub(super) fn with_scratch<R>(length: usize, use_it: impl FnOnce(&mut [f32]) -> R) -> R {
    // The buffer leaves the list while it is in use: `use_it` may call this function again, and so may other
    // work that rayon gives to this thread while it waits.
    let mut buffer = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
    if buffer.len() < length {
        // The old one goes first. Growing it instead would copy its values.
        drop(buffer);
        buffer = vec![0.0; length];
    }
    let result = use_it(&mut buffer[..length]);
    SCRATCH.with_borrow_mut(|kept| {
        if buffer.len() <= MOST_KEPT && kept.len() < BUFFERS {
            kept.push(buffer);
        }
    });
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Vec<usize> {
        SCRATCH.with_borrow(|kept| kept.iter().map(Vec::len).collect())
    }

    #[test]
    fn a_thread_keeps_few_buffers_of_limited_size() {
        with_scratch(100, |buffer| assert_eq!(buffer.len(), 100));
        with_scratch(10, |buffer| assert_eq!(buffer.len(), 10));
        assert_eq!(kept(), [100]);
        with_scratch(MOST_KEPT + 1, |_| ());
        assert!(kept().is_empty());
        with_scratch(1, |_| with_scratch(2, |_| with_scratch(3, |_| with_scratch(4, |_| ()))));
        assert_eq!(kept(), [4, 3]);
    }
}
