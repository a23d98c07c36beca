//! The tiles of a batch of maps, and the transform of what they see.

use std::array;

use rayon::prelude::*;

use super::transforms::{LANES, Lanes, PATCH, POINTS, TILE, ZERO};
use crate::ops::cpu::gemm::Shared;
use crate::ops::cpu::simd::vectorized;

/// Elements of `V` and `M` of a chunk: 16 MiB.
const CHUNK_ELEMENTS: usize = 4 * 1024 * 1024;

/// Tiles of a map or of a batch, `[N, C, H, W]`.
pub fn count([batch, _, height, width]: [usize; 4]) -> usize {
    batch * height.div_ceil(TILE) * width.div_ceil(TILE)
}

/// Elements from one of the 36 planes of `V` or `M`, `[channels, padded]`, to the next. One vector more than
/// needed, so that the 36 planes, which are accessed together, do not map to the same cache sets.
pub fn plane_stride(channels: usize, padded: usize) -> usize {
    channels * padded + LANES
}

/// The lines of a batch of maps, image after image. A line is a row of tiles.
#[derive(Clone, Copy)]
pub struct Lines {
    pub batch: usize,
    pub height: usize,
    pub width: usize,
}

/// Some lines whose tiles are computed together.
#[derive(Clone, Copy)]
pub struct Chunk {
    /// The first line.
    pub start: usize,
    /// How many lines.
    pub count: usize,
    /// The tiles of these lines, rounded up: room for the last vector of the last line, which may reach over
    /// its end.
    pub padded: usize,
}

impl Lines {
    /// Tiles in a line.
    pub fn across(self) -> usize {
        self.width.div_ceil(TILE)
    }

    /// Lines of an image.
    fn down(self) -> usize {
        self.height.div_ceil(TILE)
    }

    /// Splits into chunks that fit the cache; `channels` is the sum of input and output channels.
    pub fn chunks(self, channels: usize) -> impl Iterator<Item = Chunk> {
        let lines = self.batch * self.down();
        let most = (CHUNK_ELEMENTS / (POINTS * channels * self.across()).max(1)).max(1);
        let size = lines.div_ceil(lines.div_ceil(most).max(1)).max(1);
        (0..lines).step_by(size).map(move |start| {
            let count = size.min(lines - start);
            let padded = (count - 1) * self.across() + self.across().next_multiple_of(LANES);
            Chunk { start, count, padded: padded.next_multiple_of(LANES) }
        })
    }

    /// Where a line of one channel lies in the map: the offset of its plane, and its first row of pixels
    /// there.
    pub fn plane_and_row(self, line: usize, [channels, channel]: [usize; 2]) -> (usize, usize) {
        let plane = (line / self.down() * channels + channel) * self.height * self.width;
        (plane, line % self.down() * TILE)
    }

    /// Transforms the tiles of a chunk, in every channel, to 36 planes `[channels, padded]`. A tile sees
    /// `SIDE` x `SIDE` pixels, the first of which lie `margin` pixels above and to the left of it.
    pub fn transform<const SIDE: usize>(
        self,
        map: &[f32],
        channels: usize,
        chunk: Chunk,
        margin: usize,
        output: &mut [f32],
        transform: impl Fn([Lanes; SIDE]) -> [Lanes; PATCH] + Sync,
    ) {
        let shared = Shared::new(output);
        let (across, plane_elements) = (self.across(), plane_stride(channels, chunk.padded));
        (0..channels).into_par_iter().for_each(|channel| {
            // The rows of pixels of the line, transformed along the row: `[SIDE, 6, tiles]`.
            let mut rows = vec![[[ZERO; PATCH]; SIDE]; across.div_ceil(LANES)];
            let mut row_of_pixels = Row::new(across, margin);
            vectorized(
                #[inline(always)]
                || {
                    for line in 0..chunk.count {
                        let (plane, top) = self.plane_and_row(chunk.start + line, [channels, channel]);
                        // The first rows are the last ones of the line above, which are transformed already.
                        let seen = if line > 0 && top > 0 { SIDE - TILE } else { 0 };
                        for rows in rows.iter_mut() {
                            for (row, x) in (0..seen).flat_map(|row| (0..PATCH).map(move |x| (row, x))) {
                                rows[row][x] = rows[row + TILE][x];
                            }
                        }
                        for row in seen..SIDE {
                            let y = (top + row).checked_sub(margin).filter(|y| *y < self.height);
                            row_of_pixels.set(y.map(|y| &map[plane + y * self.width..][..self.width]));
                            for (block, rows) in rows.iter_mut().enumerate() {
                                let values = transform(row_of_pixels.patch(block * LANES));
                                // Value by value, since an assignment of the array would call `memcpy`.
                                rows[row].iter_mut().zip(values).for_each(|(to, value)| *to = value);
                            }
                        }
                        for (block, rows) in rows.iter().enumerate() {
                            let tile = line * across + block * LANES;
                            // Lanes after the end of the line are overwritten by the next line.
                            for x in 0..PATCH {
                                let column = transform(array::from_fn(|row| rows[row][x]));
                                for (y, lanes) in column.iter().enumerate() {
                                    let point = (y * PATCH + x) * plane_elements;
                                    let offset = point + channel * chunk.padded + tile;
                                    // SAFETY: this task alone writes the rows of `channel`, one of each
                                    // plane.
                                    let to = unsafe { shared.slice(offset..offset + LANES) };
                                    *to.as_mut_array().expect("as many as there are lanes") = lanes.0;
                                }
                            }
                        }
                    }
                },
            );
        });
    }
}

/// A row of pixels, split into four: every fourth pixel from the first, the second, the third and the fourth
/// one on. So the pixels that 16 neighbouring tiles see at the same position lie side by side.
struct Row {
    /// Zeros before the first pixel.
    margin: usize,
    /// The four parts, with zeros after the last pixel.
    phases: [Vec<f32>; TILE],
}

impl Row {
    fn new(tiles: usize, margin: usize) -> Self {
        let length = tiles.next_multiple_of(LANES) + 1;
        Self { margin, phases: array::from_fn(|_| vec![0.0; length]) }
    }

    /// Takes over a row of pixels; zeros for a row outside the map.
    #[inline(always)]
    fn set(&mut self, pixels: Option<&[f32]>) {
        let Some(pixels) = pixels else {
            return self.phases.iter_mut().for_each(|phase| phase.fill(0.0));
        };
        let head = if self.margin > 0 { (TILE - self.margin).min(pixels.len()) } else { 0 };
        for (x, pixel) in pixels[..head].iter().enumerate() {
            self.phases[self.margin + x][0] = *pixel;
        }
        let first = usize::from(self.margin > 0);
        let (quads, rest) = pixels[head..].as_chunks::<TILE>();
        let [a, b, c, d] = self.phases.each_mut().map(|phase| &mut phase[first..]);
        for ((((quad, a), b), c), d) in quads.iter().zip(a).zip(b).zip(c).zip(d) {
            [*a, *b, *c, *d] = *quad;
        }
        for (phase, pixel) in self.phases.iter_mut().zip(rest) {
            phase[first + quads.len()] = *pixel;
        }
    }

    /// What 16 tiles see of the row, from `tile` on.
    #[inline(always)]
    fn patch<const SIDE: usize>(&self, tile: usize) -> [Lanes; SIDE] {
        array::from_fn(|x| {
            let values = &self.phases[x % TILE][tile + x / TILE..];
            Lanes(*values.first_chunk().expect("a row has whole vectors"))
        })
    }
}
