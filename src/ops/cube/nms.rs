//! Non-maximum suppression of rows of boxes. The host does not have to wait for any result.
//!
//! 1. The boxes of each row are sorted by score ([`top_k`](super::top_k)).
//! 2. A unit for each box and each 32 boxes compares one with the 32 and sets a bit where it would suppress
//!    one that comes later: all pairs at once, whether the box itself stays or not.
//! 3. A cube for each row goes through the boxes 32 by 32: one unit decides on the 32, whose bits among each
//!    other are in shared memory; then all units together add what those that stay suppress of the rest.
//!
//! Grid: see 2 and 3, cubes of 256 units; units past the end of a row stop (2) or do nothing (3). Shared
//! memory: 33 words (3). No atomics.
//!
//! On paper, for the RPN in training with a batch of 4 images of 640x640, on an A10G (600 GB/s, 31 TFLOP/s).
//! Each image has 7,500 boxes on five levels (2,000 at most on each), of which 2,000 become proposals:
//!
//! - (2) compares 27 million pairs of a level, 0.5 GFLOP, 0.02 ms; it writes 28 MB, 0.05 ms: memory limits
//!   it. From the caches it reads place and group of 112 million pairs, and the boxes of those of a level:
//!   1.3 GB.
//! - (3) reads half of what (2) wrote, 14 MB, 0.02 ms, with an operation a word, 0.2 us. Neither limits it:
//!   its 235 steps, of three barriers each, run one after the other.

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::tensors::{dims, empty, one_unit_each};
use super::top_k;
use crate::ops::options::ABSENT;

const UNITS: usize = 256;

/// `[R, M, 4]`, `[R, M]`, `[R, M]` to `[R, M]`.
pub(super) fn batched_nms(
    boxes: CubeTensor,
    scores: CubeTensor,
    groups: CubeTensor,
    iou_threshold: f32,
) -> CubeTensor {
    let [rows, count] = dims(&groups);
    let dtype = groups.dtype();
    let keep = empty(&groups, [rows, count], dtype);
    let elem = burn::backend::cubecl::dtype_to_storage_type(dtype);
    let order = top_k::top_k(scores, count, DType::U32);
    let words = count.div_ceil(32);
    let masks = empty(&groups, [rows, words, count], DType::U32);
    let removed = empty(&groups, [rows, words], DType::U32);
    let (cube_count, cube_dim) = one_unit_each(&groups, rows * words * count, UNITS as u32);
    compare_boxes::launch(
        &groups.client,
        cube_count,
        cube_dim,
        boxes.into_buffer_arg(),
        groups.clone().into_buffer_arg(),
        order.clone().into_buffer_arg(),
        masks.clone().into_buffer_arg(),
        count as u32,
        iou_threshold,
        elem,
    );
    sweep_rows::launch(
        &groups.client,
        CubeCount::Static(rows as u32, 1, 1),
        CubeDim::new_1d(UNITS as u32),
        groups.clone().into_buffer_arg(),
        order.into_buffer_arg(),
        masks.into_buffer_arg(),
        removed.into_buffer_arg(),
        keep.clone().into_buffer_arg(),
        count as u32,
        elem,
    );
    keep
}

/// `masks` is `[R, words, M]`: neighbouring units, which look at neighbouring boxes, write neighbouring
/// words.
#[cube(launch)]
pub(super) fn compare_boxes<I: Int>(
    boxes: &[f32],
    groups: &[I],
    order: &[u32],
    masks: &mut [u32],
    count: u32,
    iou_threshold: f32,
    #[define(I)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= masks.len() {
        terminate!();
    }
    let count = count as usize;
    let words = count.div_ceil(32);
    let position = ABSOLUTE_POS % count;
    let word = ABSOLUTE_POS / count % words;
    let row = ABSOLUTE_POS / count / words * count;

    let mut bits = 0u32;
    let this = row + order[row + position] as usize;
    let group = groups[this];
    if word >= position / 32 && group != I::new(comptime!(ABSENT as i64)) {
        let (x1, y1) = (boxes[this * 4], boxes[this * 4 + 1]);
        let (x2, y2) = (boxes[this * 4 + 2], boxes[this * 4 + 3]);
        let area = (x2 - x1) * (y2 - y1);
        let first = max(position + 1, word * 32);
        let last = min(count, word * 32 + 32);
        for later in first..last {
            let other = row + order[row + later] as usize;
            if groups[other] == group {
                let (other_x1, other_y1) = (boxes[other * 4], boxes[other * 4 + 1]);
                let (other_x2, other_y2) = (boxes[other * 4 + 2], boxes[other * 4 + 3]);
                let width = max(min(x2, other_x2) - max(x1, other_x1), 0.0f32);
                let height = max(min(y2, other_y2) - max(y1, other_y1), 0.0f32);
                let shared = width * height;
                let other_area = (other_x2 - other_x1) * (other_y2 - other_y1);
                let overlap = shared / (area + other_area - shared);
                // NaN, from an empty union or a NaN corner, is not above the threshold.
                if overlap > iou_threshold && !is_nan(overlap) {
                    bits |= 1u32 << (later % 32) as u32;
                }
            }
        }
    }
    masks[ABSOLUTE_POS] = bits;
}

/// Looks at the bits, because a shader compiler may assume that NaN never occurs.
#[cube]
fn is_nan(value: f32) -> bool {
    (u32::reinterpret(value) & 0x7fff_ffffu32) > 0x7f80_0000u32
}

/// `removed` is `[R, words]`, a bit for each box that does not stay.
#[cube(launch)]
pub(super) fn sweep_rows<I: Int>(
    groups: &[I],
    order: &[u32],
    masks: &[u32],
    removed: &mut [u32],
    keep: &mut [I],
    count: u32,
    #[define(I)] _dtype: ElemType,
) {
    let unit = UNIT_POS as usize;
    let count = count as usize;
    let words = count.div_ceil(32);
    let row = CUBE_POS * count;
    let row_masks = row * words;
    let row_words = CUBE_POS * words;

    let mut word = unit;
    while word < words {
        let mut bits = 0u32;
        for bit in 0..32usize {
            let position = word * 32 + bit;
            let mut absent = position >= count;
            if !absent {
                absent = groups[row + order[row + position] as usize] == I::new(comptime!(ABSENT as i64));
            }
            if absent {
                bits |= 1u32 << bit as u32;
            }
        }
        removed[row_words + word] = bits;
        word += UNITS;
    }
    sync_storage();

    let mut among = Shared::<[u32]>::new_slice(32usize);
    let mut staying = Shared::<u32>::new();
    for word in 0..words {
        let position = word * 32 + unit;
        if unit < 32 {
            among[unit] =
                if position < count { masks[row_masks + word * count + position] } else { 0u32.runtime() };
        }
        sync_cube();
        if unit == 0 {
            let mut gone = removed[row_words + word];
            for bit in 0..32u32 {
                if (gone >> bit) & 1u32 == 0u32 {
                    gone |= among[bit as usize];
                }
            }
            *staying = !gone;
        }
        sync_cube();
        let stay = *staying;
        if unit < 32 && position < count {
            keep[row + order[row + position] as usize] = I::cast_from((stay >> unit as u32) & 1u32);
        }
        if stay != 0u32 {
            let mut later = word + 1 + unit;
            while later < words {
                let mut gone = removed[row_words + later];
                for bit in 0..32u32 {
                    if (stay >> bit) & 1u32 == 1u32 {
                        gone |= masks[row_masks + later * count + word * 32 + bit as usize];
                    }
                }
                removed[row_words + later] = gone;
                later += UNITS;
            }
        }
        sync_storage();
    }
}
