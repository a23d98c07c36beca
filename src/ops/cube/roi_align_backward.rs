//! RoIAlign, backward: the gradient of the maps.
//!
//! torchvision adds each sample's gradient to its four pixels with atomics, in whatever order the units come.
//! Here each pixel gathers instead, so the order is always that of the boxes, bin by bin, and no atomics are
//! needed (WGSL has none for floats). The maps of all images and levels are cut into tiles of 8x8 pixels:
//!
//! 1. A unit for each tile and each 32 boxes sets a bit for each box that may touch the tile.
//! 2. A cube for each tile and each [`BLOCK`] channels goes through the boxes of its tile. What a bin takes
//!    of a pixel is a product of what it takes of the row and of the column, since samples form a grid, so
//!    the cube first computes the 8 rows' and the 8 columns' weights into shared memory, then each unit adds
//!    the bins that reach its pixel to [`CHANNELS`] sums.
//!
//! A tile's weights are computed again for each block of channels, and a bin is read by each pixel it reaches
//! (from the cache, mostly): this is the price of determinism. Grid: `tiles * ceil(boxes / 32)` units (1),
//! `tiles` by `ceil(channels / BLOCK)` cubes of 256 units (2); units past the end stop (1) or write nothing
//! (2). Shared memory: `8 * (bins y + bins x)` floats (2). No atomics.
//!
//! On paper, for a batch of 4 images of 640x640 and 2,000 boxes each (256 channels, 7x7 bins of 2x2 samples,
//! f32), on an A10G (600 GB/s, 31 TFLOP/s):
//!
//! - (1) looks at 2,136 tiles times 8,000 boxes, at most 1 GFLOP, 0.03 ms, and writes 2 MB, 4 us: operations
//!   limit it.
//! - (2) reads 401 MB of gradients and writes 139 MB of maps, 0.90 ms. A bin reaches at most 16 pixels, 3.2
//!   GFLOP for 100 million bins, and the weights of boxes of 20x20 pixels, on 12 tiles in 8 blocks of
//!   channels, take 2.6 GFLOP, together 0.19 ms: memory limits it.

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::sampling::{Axis, Sampling, level_of, scale_of};
use super::tensors::{dims, empty, one_unit_each};
use crate::ops::options::RoiAlignOptions;
use crate::ops::primitives::{FeatureMaps, MapShapes};

/// Side of a tile.
const TILE: usize = 8;
const PIXELS: usize = TILE * TILE;
/// Channels a unit sums up.
const CHANNELS: usize = 8;
/// Units that share a pixel.
const LANES: usize = 4;
const BLOCK: usize = CHANNELS * LANES;
const UNITS: usize = PIXELS * LANES;

pub(super) fn backward(
    grad: CubeTensor,
    rois: CubeTensor,
    min_areas: [f32; 3],
    shapes: MapShapes,
    options: RoiAlignOptions,
) -> FeatureMaps<CubeBackend> {
    let [count, _] = dims(&rois);
    let dtype = grad.dtype();
    let maps: Vec<CubeTensor> = shapes.as_slice().iter().map(|shape| empty(&grad, *shape, dtype)).collect();
    let [batch, channels, ..] = shapes.as_slice()[0];
    let side = |axis: usize| shapes.as_slice().iter().map(move |shape| shape[axis] as u32);
    let tiles: usize = shapes
        .as_slice()
        .iter()
        .map(|[_, _, height, width]| batch * height.div_ceil(TILE) * width.div_ceil(TILE))
        .sum();
    if tiles * channels > 0 {
        let client = grad.client.clone();
        let words = count.div_ceil(32);
        let touching = empty(&grad, [tiles, words.max(1)], DType::U32);
        if words > 0 {
            let (cube_count, cube_dim) = one_unit_each(&grad, tiles * words, UNITS as u32);
            boxes_of_tiles::launch(
                &client,
                cube_count,
                cube_dim,
                rois.clone().into_buffer_arg(),
                touching.clone().into_buffer_arg(),
                side(2).collect(),
                side(3).collect(),
                min_areas[..maps.len() - 1].iter().copied().collect(),
                batch as u32,
                count as u32,
                options.spatial_scale,
                options.into(),
            );
        }
        let cubes = tiles * channels.div_ceil(BLOCK);
        gather_tiles::launch(
            &client,
            cubecl::calculate_cube_count_elemwise(&client, cubes, CubeDim::new_1d(1)),
            CubeDim::new_1d(UNITS as u32),
            grad.into_buffer_arg(),
            rois.into_buffer_arg(),
            touching.into_buffer_arg(),
            maps.iter().map(|map| map.clone().into_buffer_arg()).collect(),
            side(2).collect(),
            side(3).collect(),
            batch as u32,
            channels as u32,
            words as u32,
            tiles as u32,
            options.spatial_scale,
            options.into(),
            burn::backend::cubecl::dtype_to_storage_type(dtype),
        );
    }
    let mut maps = maps.into_iter();
    shapes.maps(|_| maps.next().expect("a map for each shape"))
}

/// Where a tile lies.
#[derive(CubeType, Clone, Copy)]
struct Tile {
    level: u32,
    image: u32,
    /// Of its map.
    height: u32,
    width: u32,
    /// Its first row and column.
    y: u32,
    x: u32,
}

/// Tiles are counted by level, image, row and column.
#[cube]
fn tile_at(index: u32, batch: u32, heights: &Sequence<u32>, widths: &Sequence<u32>) -> Tile {
    let side = comptime!(TILE as u32);
    let mut tile = Tile {
        level: 0u32.runtime(),
        image: 0u32.runtime(),
        height: 0u32.runtime(),
        width: 0u32.runtime(),
        y: 0u32.runtime(),
        x: 0u32.runtime(),
    };
    let mut before = 0u32;
    #[unroll]
    for level in 0..heights.len() {
        let across = widths[level].div_ceil(side);
        let per_image = across * heights[level].div_ceil(side);
        if index >= before && index < before + per_image * batch {
            let rest = index - before;
            tile.level = comptime!(level as u32).runtime();
            tile.image = rest / per_image;
            tile.height = heights[level];
            tile.width = widths[level];
            tile.y = rest % per_image / across * side;
            tile.x = rest % across * side;
        }
        before += per_image * batch;
    }
    tile
}

/// `touching` is `[tiles, words]`, a bit a box.
#[cube(launch)]
pub(super) fn boxes_of_tiles(
    rois: &[f32],
    touching: &mut [u32],
    heights: Sequence<u32>,
    widths: Sequence<u32>,
    min_areas: Sequence<f32>,
    batch: u32,
    count: u32,
    spatial_scale: f32,
    #[comptime] sampling: Sampling,
) {
    if ABSOLUTE_POS >= touching.len() {
        terminate!();
    }
    let words = count.div_ceil(32u32) as usize;
    let tile = tile_at((ABSOLUTE_POS / words) as u32, batch, &heights, &widths);
    let (height, width) = (tile.height, tile.width);
    let scale = scale_of(spatial_scale, tile.level);
    let first = ABSOLUTE_POS % words * 32;
    let last = min(first + 32, count as usize);
    let mut bits = 0u32;
    for roi in first..last {
        // A box that names no image of the batch touches no tile.
        let named = rois[roi * 5];
        let in_batch = named >= 0.0f32 && named < f32::cast_from(batch);
        let in_image = in_batch && u32::cast_from(named) == tile.image;
        if in_image && level_of(rois, roi, &min_areas) == tile.level {
            let y_axis = Axis::new(rois[roi * 5 + 2], rois[roi * 5 + 4], scale, sampling.bins_y, sampling);
            let x_axis = Axis::new(rois[roi * 5 + 1], rois[roi * 5 + 3], scale, sampling.bins_x, sampling);
            let reach = comptime!(TILE as u32 - 1);
            if y_axis.touches(tile.y, tile.y + reach, height, sampling.bins_y)
                && x_axis.touches(tile.x, tile.x + reach, width, sampling.bins_x)
            {
                bits |= 1u32 << (roi - first) as u32;
            }
        }
    }
    touching[ABSOLUTE_POS] = bits;
}

/// `grad` is `[K, C, bins y, bins x]`, `rois` `[K, 5]`, `maps` are `[N, C, H, W]`.
#[cube(launch)]
pub(super) fn gather_tiles<F: Float>(
    grad: &[F],
    rois: &[f32],
    touching: &[u32],
    maps: &mut Sequence<Box<[F]>>,
    heights: Sequence<u32>,
    widths: Sequence<u32>,
    batch: u32,
    channels: u32,
    words: u32,
    tiles: u32,
    spatial_scale: f32,
    #[comptime] sampling: Sampling,
    #[define(F)] _dtype: ElemType,
) {
    let (channels, words) = (channels as usize, words as usize);
    let blocks = channels.div_ceil(BLOCK);
    let index = CUBE_POS / blocks;
    if index >= tiles as usize {
        terminate!();
    }
    let tile = tile_at(index as u32, batch, &heights, &widths);
    let (height, width) = (tile.height, tile.width);
    let scale = scale_of(spatial_scale, tile.level);
    let unit = UNIT_POS as usize;
    let (pixel, lane) = (unit % PIXELS, unit / PIXELS);
    let (row, column) = (pixel / TILE, pixel % TILE);
    let first = CUBE_POS % blocks * BLOCK + lane * CHANNELS;

    let bins_y = comptime!(sampling.bins_y as usize);
    let bins_x = comptime!(sampling.bins_x as usize);
    // [row, bin y], then [column, bin x].
    let mut weights = Shared::<[f32]>::new_slice(comptime!(TILE * (bins_y + bins_x)));
    let mut sums = Array::<f32>::new(CHANNELS);
    #[unroll]
    for channel in 0..CHANNELS {
        sums[channel] = 0.0f32;
    }
    for word in 0..words {
        let mut bits = touching[index * words + word];
        while bits != 0u32 {
            let roi = word * 32 + bits.trailing_zeros() as usize;
            bits &= bits - 1u32;

            sync_cube();
            let mut place = unit;
            while place < comptime!(TILE * (bins_y + bins_x)) {
                let of_rows = place < comptime!(TILE * bins_y);
                let bins = if of_rows {
                    comptime!(sampling.bins_y).runtime()
                } else {
                    comptime!(sampling.bins_x).runtime()
                };
                let corner = if of_rows { roi * 5 + 2 } else { roi * 5 + 1 };
                let size = if of_rows { height } else { width };
                let first = if of_rows { tile.y } else { tile.x };
                let before = if of_rows { 0usize.runtime() } else { comptime!(TILE * bins_y).runtime() };
                let index = (place - before) as u32;
                let axis = Axis::new(rois[corner], rois[corner + 2], scale, bins, sampling);
                weights[place] = axis.weight(index % bins, first + index / bins, size, sampling);
                place += UNITS;
            }
            sync_cube();

            let box_grad = (roi * channels + first) * comptime!(bins_y * bins_x);
            for bin_y in 0..bins_y {
                let of_row = weights[row * bins_y + bin_y];
                if of_row != 0.0f32 {
                    for bin_x in 0..bins_x {
                        let weight = of_row * weights[TILE * bins_y + column * bins_x + bin_x];
                        if weight != 0.0f32 {
                            let bin = box_grad + bin_y * bins_x + bin_x;
                            #[unroll]
                            for channel in 0..CHANNELS {
                                if first + channel < channels {
                                    let at = bin + channel * comptime!(bins_y * bins_x);
                                    sums[channel] += weight * f32::cast_from(grad[at]);
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    let (y, x) = (tile.y + row as u32, tile.x + column as u32);
    if y < height && x < width {
        let plane = (height * width) as usize;
        let pixel = (y * width + x) as usize;
        #[unroll]
        for level in 0..heights.len() {
            if tile.level == comptime!(level as u32) {
                #[unroll]
                for channel in 0..CHANNELS {
                    if first + channel < channels {
                        let image = tile.image as usize * channels + first;
                        let map = maps.index_mut(level);
                        write(map, (image + channel) * plane + pixel, sums[channel]);
                    }
                }
            }
        }
    }
}

#[cube]
fn write<F: Float>(map: &mut Box<[F]>, at: usize, value: f32) {
    map[at] = F::cast_from(value);
}
