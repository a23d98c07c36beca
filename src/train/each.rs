//! The same work on each member of a team.

use std::any::Any;
use std::panic::panic_any;
use std::thread;

/// The panic of a step on one member.
pub(super) struct Failed {
    pub member: usize,
    pub message: String,
}

/// Does the same for each of `items` at once; the first item belongs to the first member, and so on.
///
/// # Panics
///
/// Where the work panics. The panic names the member to `Team::work`.
pub(super) fn each<I: Send, T: Send>(
    items: impl IntoIterator<Item = I>,
    work: impl Fn(usize, I) -> T + Sync,
) -> Vec<T> {
    let work = &work;
    let results: Vec<thread::Result<T>> = thread::scope(|scope| {
        let threads: Vec<_> = items
            .into_iter()
            .enumerate()
            .map(|(member, item)| scope.spawn(move || work(member, item)))
            .collect();
        threads.into_iter().map(|thread| thread.join()).collect()
    });
    let named = results.into_iter().enumerate().map(|(member, result)| match result {
        Ok(result) => result,
        Err(payload) => panic_any(Failed { member, message: message(payload.as_ref()) }),
    });
    named.collect()
}

/// What a panic says, on one line.
pub(super) fn message(payload: &(dyn Any + Send)) -> String {
    let text = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        _ => "stopped without a word",
    };
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
