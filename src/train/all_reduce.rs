//! The sum of a tensor over the members of a team.

use burn::tensor::distributed::ReduceOperation;
use burn::tensor::{Device, Tensor, s};

use crate::ops::in_another_process;

/// Most elements in one transfer: 8 MB. Each transfer costs about a millisecond of a core, so pieces should
/// be large. But a message that the socket does not take at once is slow: the WebSocket moves the rest of it
/// in memory each time the socket has taken a part.
const PIECE: usize = 2 << 20;

/// Replaces each member's tensor, `[P]` each, by the sum of all. All members get the same sum, bit for bit,
/// and a repetition gives the same bits again.
///
/// If members are other processes, each sums a part of the elements and sends the result to the others
/// (reduce-scatter, then all-gather). So all members send and receive equally much. burn's own all-reduce
/// sends all tensors to the first member and back.
///
/// # Panics
///
/// If there are no tensors, or the tensors have no elements.
pub fn all_reduce(tensors: Vec<Tensor<1>>) -> Vec<Tensor<1>> {
    let devices: Vec<Device> = tensors.iter().map(Tensor::device).collect();
    match devices.as_slice() {
        [_] => tensors,
        devices if devices.iter().all(in_another_process) => in_pieces(&tensors, devices),
        _ => Tensor::all_reduce(tensors, ReduceOperation::Sum),
    }
}

/// Works in rounds. In each round every member owns one piece of the elements: the other members send it
/// their values, and it sends the sum back to all.
///
/// ```text
/// for each round:
///     for step in 0..members:          each owner receives its piece from member (owner + step)
///     send the sums of the round before to all members
///     sum this round's pieces
/// send the sums of the last round
/// ```
///
/// A worker carries out its orders one after the other, and a transfer waits for its other end. In this order
/// of transfers all workers send and receive at the same time.
fn in_pieces(tensors: &[Tensor<1>], devices: &[Device]) -> Vec<Tensor<1>> {
    let (members, elements) = (devices.len(), tensors[0].dims()[0]);
    let rounds = elements.div_ceil(PIECE * members);
    let piece = elements.div_ceil(rounds * members);
    let mut results: Vec<Vec<Tensor<1>>> = vec![Vec::new(); members];
    let mut sums = Vec::new();
    for round in 0..rounds {
        let pieces: Vec<_> = (0..members)
            .map(|owner| {
                let from = ((round * members + owner) * piece).min(elements);
                from..(from + piece).min(elements)
            })
            .collect();
        let mut parts: Vec<Vec<Option<Tensor<1>>>> = vec![vec![None; members]; members];
        for step in 0..members {
            for (owner, range) in pieces.iter().enumerate().filter(|(_, range)| !range.is_empty()) {
                let from = (owner + step) % members;
                let part = tensors[from].clone().slice(s![range.clone()]);
                parts[owner][from] = Some(if step == 0 { part } else { part.to_device(&devices[owner]) });
            }
        }
        gather(std::mem::take(&mut sums), devices, &mut results);
        let summed =
            parts.into_iter().filter_map(|parts| parts.into_iter().flatten().reduce(|sum, part| sum + part));
        sums = summed.collect();
    }
    gather(sums, devices, &mut results);
    results.into_iter().map(|pieces| Tensor::cat(pieces, 0)).collect()
}

/// Sends each member's sum to all.
fn gather(sums: Vec<Tensor<1>>, devices: &[Device], results: &mut [Vec<Tensor<1>>]) {
    let members = devices.len();
    let mut gathered: Vec<Vec<Option<Tensor<1>>>> = vec![vec![None; sums.len()]; members];
    for step in 0..members {
        for (owner, sum) in sums.iter().enumerate() {
            let to = (owner + step) % members;
            let sum = sum.clone();
            gathered[to][owner] = Some(if step == 0 { sum } else { sum.to_device(&devices[to]) });
        }
    }
    for (result, pieces) in results.iter_mut().zip(gathered) {
        result.extend(pieces.into_iter().flatten());
    }
}
