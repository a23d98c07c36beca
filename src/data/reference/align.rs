//! Brings a reference onto its image: phase correlation finds the shift, Gauss-Newton steps refine it.
//!
//! ```text
//! image, reference ─ smaller pictures ─ one map for all ─ blocks ─ a map for each
//! ```
//!
//! Both work on smaller pictures: a shift of 32 pixels is one of 8 at a quarter of the resolution, and half
//! the resolution is enough to find a tenth of a pixel. No single map fits all of a large image, so each
//! block of it has its own, and only blocks are in memory at the full resolution. Source of the refinement:
//! Baker and Matthews, "Lucas-Kanade 20 Years On" (2004), the inverse compositional algorithm.

use image::math::Rect;
use image::{GrayImage, RgbImage};
use rayon::prelude::*;
use rustfft::FftPlanner;
use rustfft::num_complex::Complex32;

use super::PART;
use super::moments::Moments;
use super::part::{grey, intersection, parts};
use super::plane::{Plane, bilinear};

/// Largest shift that is looked for, in pixels of the image.
const LARGEST_SHIFT: f32 = 32.0;
/// What a turn of 3 degrees with some scale and shear moves a corner by, as a part of the longer side.
const LARGEST_TURN: f32 = 0.1;
/// How far the map of a block may bring a corner of it from where that of all blocks does, in pixels.
const LARGEST_STRAY: f32 = 8.0;
/// Turns from which the refinement starts, in degrees. It finds what lies between.
const TURNS: [f32; 5] = [0.0, -1.5, 1.5, -3.0, 3.0];
/// The coarsest picture has at least this many pixels on its short side.
const COARSEST_SIDE: usize = 80;
/// Gauss-Newton steps on the coarsest picture and on the finest one.
const STEPS: [usize; 2] = [12, 5];
/// A step that moves no corner by more than this, in pixels of its picture, is the last one.
const STILL: f32 = 0.02;

/// Where a pixel of the image is in the reference: `x' = a x + b y + c`, `y' = d x + e y + f`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Map([f32; 6]);

impl Map {
    fn shift(x: f32, y: f32) -> Self {
        Self([1.0, 0.0, x, 0.0, 1.0, y])
    }

    /// A turn by `degrees` about the middle of a picture.
    fn turn(degrees: f32, (width, height): (usize, usize)) -> Self {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let (x, y) = ((width - 1) as f32 / 2.0, (height - 1) as f32 / 2.0);
        Self([cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y])
    }

    #[inline]
    fn apply(&self, x: f32, y: f32) -> (f32, f32) {
        let [a, b, c, d, e, f] = self.0;
        (a * x + b * y + c, d * x + e * y + f)
    }

    /// First `inner`, then this one.
    fn after(&self, inner: &Self) -> Self {
        let ([a, b, c, d, e, f], [p, q, r, s, t, u]) = (self.0, inner.0);
        Self([
            a * p + b * s,
            a * q + b * t,
            a * r + b * u + c,
            d * p + e * s,
            d * q + e * t,
            d * r + e * u + f,
        ])
    }

    /// None where it maps a picture to a line.
    fn inverse(&self) -> Option<Self> {
        let [a, b, c, d, e, f] = self.0;
        let determinant = a * e - b * d;
        (determinant.abs() > 1e-6).then(|| {
            let [a, b, d, e] = [a, b, d, e].map(|value| value / determinant);
            Self([e, -b, b * f - e * c, -d, a, d * c - a * f])
        })
    }

    /// The same map for a picture of twice the resolution. Pixel centres are at whole numbers.
    fn doubled(&self) -> Self {
        let [a, b, c, d, e, f] = self.0;
        // x of the larger picture is 2 x + 0.5.
        Self([a, b, 2.0 * c + 0.5 * (1.0 - a - b), d, e, 2.0 * f + 0.5 * (1.0 - d - e)])
    }

    /// The same map for a picture of half the resolution.
    fn halved(&self) -> Self {
        let [a, b, c, d, e, f] = self.0;
        Self([a, b, 0.5 * c - 0.25 * (1.0 - a - b), d, e, 0.5 * f - 0.25 * (1.0 - d - e)])
    }

    /// The part of a reference of `(width, height)` that a part of the image lies in, and `margin` more.
    fn around(&self, part: Rect, margin: f32, (width, height): (u32, u32)) -> Rect {
        let corner = |x, y| self.apply((part.x + x) as f32, (part.y + y) as f32);
        let corners =
            [corner(0, 0), corner(part.width, 0), corner(0, part.height), corner(part.width, part.height)];
        let along = |places: [f32; 4], side: u32| {
            let last = (side - 1) as f32;
            let first = places.into_iter().fold(f32::INFINITY, f32::min) - margin;
            let end = places.into_iter().fold(f32::NEG_INFINITY, f32::max) + margin;
            let (first, end) = (first.floor().clamp(0.0, last) as u32, end.ceil().clamp(0.0, last) as u32);
            (first, end - first + 1)
        };
        let (x, width) = along(corners.map(|corner| corner.0), width);
        let (y, height) = along(corners.map(|corner| corner.1), height);
        Rect { x, y, width, height }
    }

    /// The same map from pixels of a part of the image to those of a part of the reference.
    fn between(&self, part: Rect, around: Rect) -> Self {
        let to = Self::shift(-(around.x as f32), -(around.y as f32));
        to.after(self).after(&Self::shift(part.x as f32, part.y as f32))
    }

    /// The other way about: a map between parts as one of the whole image.
    fn of_whole(&self, part: Rect, around: Rect) -> Self {
        let to = Self::shift(around.x as f32, around.y as f32);
        to.after(self).after(&Self::shift(-(part.x as f32), -(part.y as f32)))
    }

    /// How far it moves the corner that it moves farthest.
    fn largest_move(&self, (width, height): (usize, usize)) -> f32 {
        let corners = [(0, 0), (width, 0), (0, height), (width, height)].map(|(x, y)| (x as f32, y as f32));
        let moves = corners.map(|(x, y)| {
            let (to_x, to_y) = self.apply(x, y);
            (to_x - x).abs().max((to_y - y).abs())
        });
        // NaN counts as the farthest.
        moves.into_iter().fold(0.0, |farthest, by| if by <= farthest { farthest } else { by })
    }
}

/// A part of an image whose reference is moved, so that it fits better.
#[derive(Debug)]
pub(super) struct Block {
    part: Rect,
    map: Map,
}

impl Block {
    /// Puts the moved reference into `to`, which shows `part` of the image. What the reference does not show
    /// is taken from the image: there is no difference that anybody knows of.
    pub fn paint(&self, reference: &RgbImage, image: &GrayImage, part: Rect, to: &mut GrayImage) {
        let Some(both) = intersection(self.part, part) else { return };
        let (left, top) = (both.x - part.x, both.y - part.y);
        moved(reference, &self.map, both, |x, y, value| {
            let (x, y) = (left + x, top + y);
            to.put_pixel(x, y, value.map_or(*image.get_pixel(x, y), |value| [value].into()));
        });
    }
}

/// The blocks in which a move makes the reference fit better, and what it has in common with the image then,
/// over all blocks. The reference is shifted, or also turned, scaled and sheared a little. Both have one
/// size.
pub(super) fn blocks(image: &RgbImage, reference: &RgbImage, affine: bool) -> (Vec<Block>, Moments) {
    let all = parts(image.dimensions(), PART);
    let in_common = |map: Option<&Map>| -> Vec<Moments> {
        all.par_iter().map(|part| in_part(&grey(image, *part), reference, map, *part)).collect()
    };
    let sum = |of_parts: &[Moments]| of_parts.iter().copied().fold(Moments::default(), Moments::and);
    let mut best = (None, in_common(None));
    if let Some(map) = find(image, reference, affine) {
        let of_parts = in_common(Some(&map));
        if is_better(&sum(&of_parts), &sum(&best.1)) {
            best = (Some(map), of_parts);
        }
    }
    let (whole, mut of_parts) = best;
    let mut maps = vec![whole; all.len()];
    if all.len() > 1 {
        let start = whole.unwrap_or(Map::shift(0.0, 0.0));
        all.par_iter().zip(&mut maps).zip(&mut of_parts).for_each(|((part, map), known)| {
            let image = grey(image, *part);
            if let Some(own) = refine_block(&image, reference, *part, start, affine) {
                let found = in_part(&image, reference, Some(&own), *part);
                if is_better(&found, known) {
                    (*map, *known) = (Some(own), found);
                }
            }
        });
    }
    let moments = sum(&of_parts);
    (all.into_iter().zip(maps).filter_map(|(part, map)| Some(Block { part, map: map? })).collect(), moments)
}

/// Whether the reference fits better, and shows at least three quarters of what it showed.
fn is_better(moved: &Moments, before: &Moments) -> bool {
    moved.count() * 4 >= before.count() * 3 && moved.correlation() > before.correlation()
}

/// What a part of the image and the reference have in common, where the reference, if it is moved, shows it.
fn in_part(image: &GrayImage, reference: &RgbImage, map: Option<&Map>, part: Rect) -> Moments {
    let Some(map) = map else { return Moments::of(image, &grey(reference, part)) };
    let mut moments = Moments::default();
    moved(reference, map, part, |x, y, value| {
        if let Some(value) = value {
            moments.add(image.get_pixel(x, y)[0], value);
        }
    });
    moments
}

/// Shows the grey value of the moved reference, if it has one, at each pixel of a part of the image; `x` and
/// `y` count from the part's corner.
fn moved(reference: &RgbImage, map: &Map, part: Rect, mut show: impl FnMut(u32, u32, Option<u8>)) {
    let around = map.around(part, 1.0, reference.dimensions());
    let source = grey(reference, around);
    let size = (source.width() as usize, source.height() as usize);
    let (left, top) = (around.x as f32, around.y as f32);
    for y in 0..part.height {
        for x in 0..part.width {
            // In coordinates of the whole image, so that every part rounds alike.
            let (from_x, from_y) = map.apply((part.x + x) as f32, (part.y + y) as f32);
            let value = bilinear(source.as_raw(), size, from_x - left, from_y - top);
            show(x, y, value.map(|value| (value + 0.5) as u8));
        }
    }
}

/// The map that fits best as a whole. None where only a larger move would do.
fn find(image: &RgbImage, reference: &RgbImage, affine: bool) -> Option<Map> {
    // Half the resolution, and less where blocks refine it.
    let finest = 1 + (image.width().min(image.height()) / (2 * PART)).max(1).ilog2();
    let [fine, fine_reference] = [image, reference].map(|image| Plane::reduced(image, finest));
    let (mut coarse, mut coarse_reference) = (fine.halved(), fine_reference.halved());
    let mut coarsest = finest + 1;
    while coarse.width.min(coarse.height) >= 2 * COARSEST_SIDE {
        (coarse, coarse_reference) = (coarse.halved(), coarse_reference.halved());
        coarsest += 1;
    }
    if coarse.width.min(coarse.height) < 8 {
        return None; // Too small to tell.
    }
    let (coarse, coarse_reference) = (coarse.normalised(), coarse_reference.normalised());
    let reach = LARGEST_SHIFT / (1 << coarsest) as f32;
    let mut map = start(&coarse, &coarse_reference, reach, affine);
    map = refine(&coarse, &coarse_reference, map, affine, STEPS[0]);
    for _ in finest..coarsest {
        map = map.doubled();
    }
    map = refine(&fine.normalised(), &fine_reference.normalised(), map, affine, STEPS[1]);
    for _ in 0..finest {
        map = map.doubled();
    }
    let (width, height) = image.dimensions();
    let limit = LARGEST_SHIFT + if affine { LARGEST_TURN * width.max(height) as f32 } else { 0.0 };
    (map.largest_move((width as usize, height as usize)) <= limit).then_some(map)
}

/// The map that fits a block best, near that of all blocks. None where there is none.
fn refine_block(
    image: &GrayImage,
    reference: &RgbImage,
    part: Rect,
    whole: Map,
    affine: bool,
) -> Option<Map> {
    let around = whole.around(part, 2.0 * LARGEST_STRAY, reference.dimensions());
    let [fine, fine_reference] = [image, &grey(reference, around)].map(|image| Plane::from(image).halved());
    let [coarse, coarse_reference] = [&fine, &fine_reference].map(Plane::halved);
    if coarse.width.min(coarse.height).min(coarse_reference.width).min(coarse_reference.height) < 8 {
        return None;
    }
    let mut map = whole.between(part, around).halved().halved();
    map = refine(&coarse.normalised(), &coarse_reference.normalised(), map, affine, STEPS[0]).doubled();
    map = refine(&fine.normalised(), &fine_reference.normalised(), map, affine, STEPS[1]).doubled();
    let strays = whole.between(part, around).inverse()?.after(&map);
    let size = (part.width as usize, part.height as usize);
    (strays.largest_move(size) <= LARGEST_STRAY).then(|| map.of_whole(part, around))
}

/// Of the turns that are tried, the one with the highest peak of phase correlation, and the shift of the
/// peak.
fn start(image: &Plane, reference: &Plane, reach: f32, affine: bool) -> Map {
    let size = (image.width, image.height);
    let spectrum = Spectrum::new(size);
    let of_image = spectrum.of(image);
    let turns = if affine { &TURNS[..] } else { &TURNS[..1] };
    let tries = turns.iter().map(|degrees| {
        let turn = Map::turn(*degrees, size);
        let turned = if *degrees == 0.0 { reference.clone() } else { resampled(reference, &turn) };
        let (height, x, y) = spectrum.peak(&of_image, &spectrum.of(&turned), reach);
        (height, turn.after(&Map::shift(x, y)))
    });
    let best = tries.max_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or(Map::shift(0.0, 0.0), |(_, map)| map)
}

fn resampled(plane: &Plane, map: &Map) -> Plane {
    let mut values = Vec::with_capacity(plane.values.len());
    for y in 0..plane.height {
        for x in 0..plane.width {
            let (x, y) = map.apply(x as f32, y as f32);
            values.push(plane.at(x, y).unwrap_or(0.0));
        }
    }
    Plane { values, ..*plane }
}

/// Fourier transforms of pictures of one size.
struct Spectrum {
    size: (usize, usize),
    /// Falls to 0 at the borders, which would look like edges to the transform.
    window: [Vec<f32>; 2],
}

impl Spectrum {
    fn new(size: (usize, usize)) -> Self {
        let hann = |count: usize| {
            let angle = |index| std::f32::consts::TAU * (index as f32 + 0.5) / count as f32;
            (0..count).map(|index| 0.5 - 0.5 * angle(index).cos()).collect()
        };
        Self { size, window: [hann(size.0), hann(size.1)] }
    }

    fn of(&self, plane: &Plane) -> Vec<Complex32> {
        let rows = plane.values.chunks(self.size.0).zip(&self.window[1]);
        let mut values: Vec<Complex32> = rows
            .flat_map(|(row, of_row)| {
                row.iter()
                    .zip(&self.window[0])
                    .map(move |(value, of_column)| (value * of_row * of_column).into())
            })
            .collect();
        self.transform(&mut values, false);
        values
    }

    fn transform(&self, values: &mut [Complex32], inverse: bool) {
        let (width, height) = self.size;
        let mut planner = FftPlanner::new();
        let mut along = |length: usize, lines: &mut [Complex32]| {
            let fft =
                if inverse { planner.plan_fft_inverse(length) } else { planner.plan_fft_forward(length) };
            fft.process(lines);
        };
        along(width, values);
        let mut columns: Vec<Complex32> = (0..width)
            .flat_map(|x| (0..height).map(move |y| (x, y)))
            .map(|(x, y)| values[y * width + x])
            .collect();
        along(height, &mut columns);
        for (index, value) in columns.into_iter().enumerate() {
            values[index % height * width + index / height] = value;
        }
    }

    /// Height and place of the highest peak within `reach`: the image at `x` is the reference at `x` plus the
    /// place. Between pixels by a parabola.
    fn peak(&self, image: &[Complex32], reference: &[Complex32], reach: f32) -> (f32, f32, f32) {
        let product = |(image, reference): (&Complex32, &Complex32)| {
            let product = reference * image.conj();
            let length = product.norm();
            if length > 1e-6 { product / length } else { Complex32::ZERO }
        };
        let mut surface: Vec<Complex32> = image.iter().zip(reference).map(product).collect();
        self.transform(&mut surface, true);
        let (width, height) = self.size;
        let at = |x: i32, y: i32| {
            let (x, y) = (x.rem_euclid(width as i32) as usize, y.rem_euclid(height as i32) as usize);
            surface[y * width + x].re
        };
        let reach = (reach.ceil() as i32).min(width.min(height) as i32 / 2 - 1);
        let places = (-reach..=reach).flat_map(|y| (-reach..=reach).map(move |x| (x, y)));
        let (x, y) = places.max_by(|a, b| at(a.0, a.1).total_cmp(&at(b.0, b.1))).unwrap_or((0, 0));
        let between = |before: f32, peak: f32, after: f32| {
            let curvature = 2.0 * peak - before - after;
            if curvature > 0.0 { (0.5 * (after - before) / curvature).clamp(-0.5, 0.5) } else { 0.0 }
        };
        let peak = at(x, y);
        let place = (
            x as f32 + between(at(x - 1, y), peak, at(x + 1, y)),
            y as f32 + between(at(x, y - 1), peak, at(x, y + 1)),
        );
        (peak, place.0, place.1)
    }
}

/// Gauss-Newton steps that make the reference, seen through the map, as equal to the image as can be.
///
/// With `T` the image, `R` the reference and `W` the map, each step solves `sum (dT/dp)^T (dT/dp) p = sum
/// (dT/dp)^T (R(W x) - T(x))` and goes on with `W after p^-1`. The left side does not change from step to
/// step.
fn refine(image: &Plane, reference: &Plane, mut map: Map, affine: bool, steps: usize) -> Map {
    let (width, height) = (image.width, image.height);
    // The middle of the picture is the origin of `x` and `y` in the equations, and they are scaled to about
    // 1.
    let (middle_x, middle_y) = (width as f32 / 2.0, height as f32 / 2.0);
    let scale = 2.0 / width.max(height) as f32;
    let unknowns = if affine { 6 } else { 2 };
    let slopes = |x: usize, y: usize| {
        let at = |x: usize, y: usize| image.values[y * width + x];
        let (along_x, along_y) = ((at(x + 1, y) - at(x - 1, y)) / 2.0, (at(x, y + 1) - at(x, y - 1)) / 2.0);
        let (x, y) = ((x as f32 - middle_x) * scale, (y as f32 - middle_y) * scale);
        [along_x, along_y, along_x * x, along_x * y, along_y * x, along_y * y]
    };
    let mut left = [[0.0_f64; 6]; 6];
    let all =
        || (1..height.saturating_sub(1)).flat_map(|y| (1..width.saturating_sub(1)).map(move |x| (x, y)));
    for (x, y) in all() {
        let slopes = slopes(x, y);
        for row in 0..unknowns {
            for column in 0..=row {
                left[row][column] += f64::from(slopes[row] * slopes[column]);
            }
        }
    }
    for _ in 0..steps {
        let mut right = [0.0_f64; 6];
        for (x, y) in all() {
            let (from_x, from_y) = map.apply(x as f32, y as f32);
            let Some(value) = reference.at(from_x, from_y) else { continue };
            let difference = value - image.values[y * width + x];
            let slopes = slopes(x, y);
            for row in 0..unknowns {
                right[row] += f64::from(slopes[row] * difference);
            }
        }
        let Some(p) = solve(&left, right, unknowns) else { return map };
        let p = p.map(|value| value as f32);
        let [x, y, xx, xy, yx, yy] = [p[0], p[1], p[2] * scale, p[3] * scale, p[4] * scale, p[5] * scale];
        let step = Map([
            1.0 + xx,
            xy,
            x - xx * middle_x - xy * middle_y,
            yx,
            1.0 + yy,
            y - yx * middle_x - yy * middle_y,
        ]);
        let Some(back) = step.inverse() else { return map };
        map = map.after(&back);
        if step.largest_move((width, height)) < STILL {
            break;
        }
    }
    map
}

/// By Cholesky's decomposition of the symmetric matrix, of which the lower half is given. None where it is
/// singular: a picture without edges fits anywhere.
fn solve(matrix: &[[f64; 6]; 6], mut right: [f64; 6], count: usize) -> Option<[f64; 6]> {
    let mut lower = [[0.0; 6]; 6];
    for row in 0..count {
        for column in 0..=row {
            let known: f64 = (0..column).map(|k| lower[row][k] * lower[column][k]).sum();
            let rest = matrix[row][column] - known;
            if row == column {
                if rest <= 1e-9 * matrix[row][row].max(1e-9) {
                    return None;
                }
                lower[row][row] = rest.sqrt();
            } else {
                lower[row][column] = rest / lower[column][column];
            }
        }
    }
    for row in 0..count {
        let known: f64 = (0..row).map(|k| lower[row][k] * right[k]).sum();
        right[row] = (right[row] - known) / lower[row][row];
    }
    for row in (0..count).rev() {
        let known: f64 = (row + 1..count).map(|k| lower[k][row] * right[k]).sum();
        right[row] = (right[row] - known) / lower[row][row];
    }
    Some(right)
}
