//! What a board is drawn with: shapes, and the canvas they are drawn on.
//!
//! The canvas is photographed: a little rotated, with ragged edges, and every pixel either black (copper) or
//! white.

use std::f32::consts::FRAC_1_SQRT_2;

use image::{GrayImage, Luma};
use rand::{Rng, RngExt};

/// Colour of copper.
pub(super) const COPPER: Luma<u8> = Luma([0]);
/// Colour of the bare board.
pub(super) const BARE: Luma<u8> = Luma([255]);

pub(super) type Point = [f32; 2];

/// A shape of copper, or of its absence.
pub(super) enum Shape {
    /// A stroke with round ends; a disc where both ends coincide.
    Line { from: Point, to: Point, radius: f32 },
    /// A rectangle, its corners rounded by `round` and then cut at 45 degrees, `chamfer` off each side.
    Plate { center: Point, half: Point, round: f32, chamfer: f32 },
}

impl Shape {
    pub fn disc(center: Point, radius: f32) -> Self {
        Self::Line { from: center, to: center, radius }
    }

    /// Distance in pixels from the outline, negative inside.
    fn distance(&self, [x, y]: Point) -> f32 {
        match *self {
            Self::Line { from, to, radius } => {
                let along = [to[0] - from[0], to[1] - from[1]];
                let offset = [x - from[0], y - from[1]];
                let square = along[0] * along[0] + along[1] * along[1];
                let part = (offset[0] * along[0] + offset[1] * along[1]) / square.max(f32::MIN_POSITIVE);
                let part = part.clamp(0.0, 1.0);
                length([offset[0] - part * along[0], offset[1] - part * along[1]]) - radius
            }
            Self::Plate { center, half, round, chamfer } => {
                let [x, y] = [(x - center[0]).abs(), (y - center[1]).abs()];
                let beyond = [x - half[0] + round, y - half[1] + round];
                let rounded = length(beyond.map(|v| v.max(0.0))) + beyond[0].max(beyond[1]).min(0.0) - round;
                rounded.max((x + y - half[0] - half[1] + chamfer) * FRAC_1_SQRT_2)
            }
        }
    }

    /// First and last row that the shape reaches, `margin` pixels outside of it included.
    fn rows(&self, margin: f32) -> [f32; 2] {
        match *self {
            Self::Line { from, to, radius } => {
                let reach = radius + margin;
                [from[1].min(to[1]) - reach, from[1].max(to[1]) + reach]
            }
            Self::Plate { center, half, .. } => [center[1] - half[1] - margin, center[1] + half[1] + margin],
        }
    }

    /// Columns between which the shape lies on row `y`. For a diagonal line they are much closer
    /// together than its ends, and looking between them alone saves most of the time to draw a board.
    fn columns(&self, y: f32, margin: f32) -> [f32; 2] {
        match *self {
            Self::Line { from, to, radius } => {
                let reach = radius + margin;
                let rise = to[1] - from[1];
                let column =
                    |row: f32| from[0] + ((row - from[1]) / rise).clamp(0.0, 1.0) * (to[0] - from[0]);
                let ends =
                    if rise == 0.0 { [from[0], to[0]] } else { [column(y - reach), column(y + reach)] };
                [ends[0].min(ends[1]) - reach, ends[0].max(ends[1]) + reach]
            }
            Self::Plate { center, half, .. } => [center[0] - half[0] - margin, center[0] + half[0] + margin],
        }
    }

    /// Indices of the pixels at most `margin` outside of the shape, on a canvas of `side` x `side`.
    fn pixels(&self, side: usize, margin: f32) -> impl Iterator<Item = usize> + use<'_> {
        let range =
            move |[low, high]: [f32; 2]| (low.max(0.0) as usize)..((high.max(0.0) as usize + 1).min(side));
        range(self.rows(margin)).flat_map(move |y| {
            range(self.columns(y as f32, margin))
                .filter(move |x| self.distance([*x as f32, y as f32]) <= margin)
                .map(move |x| y * side + x)
        })
    }
}

/// Copper that belongs together, and the holes drilled into it.
#[derive(Default)]
pub(super) struct Element {
    pub copper: Vec<Shape>,
    pub holes: Vec<Shape>,
}

pub(super) struct Canvas {
    side: usize,
    copper: Vec<bool>,
    /// Pixels of placed elements, as opposed to copper areas, which later elements may cut.
    taken: Vec<bool>,
}

impl Canvas {
    pub fn new(side: usize) -> Self {
        Self { side, copper: vec![false; side * side], taken: vec![false; side * side] }
    }

    pub fn fill(&mut self, shape: &Shape, copper: bool) {
        for pixel in shape.pixels(self.side, 0.0) {
            self.copper[pixel] = copper;
        }
    }

    /// Draws an element where it keeps its clearance, in pixels, from those before it.
    pub fn place(&mut self, element: &Element, clearance: f32) {
        let mut gap = Vec::new();
        for shape in &element.copper {
            for pixel in shape.pixels(self.side, clearance) {
                if self.taken[pixel] {
                    return;
                }
                gap.push(pixel);
            }
        }
        for pixel in gap {
            self.copper[pixel] = false;
        }
        for shape in &element.copper {
            for pixel in shape.pixels(self.side, 0.0) {
                self.copper[pixel] = true;
                self.taken[pixel] = true;
            }
        }
        for hole in &element.holes {
            self.fill(hole, false);
        }
    }

    /// The middle `size` x `size` pixels, slightly rotated. Each row and each column is read with a small
    /// displacement of its own, which leaves edges as ragged as in the thresholded photographs.
    pub fn photograph(&self, size: usize, rng: &mut impl Rng) -> GrayImage {
        let mut wander = || {
            let mut drift = 0.0;
            let mut displacement = || {
                drift = 0.9 * drift + rng.random_range(-0.12..0.12);
                drift + rng.random_range(-0.22..0.22)
            };
            (0..size).map(|_| displacement()).collect::<Vec<f32>>()
        };
        let (rows, columns) = (wander(), wander());
        let sine: f32 = rng.random_range(-0.006..0.006);
        let cosine = (1.0 - sine * sine).sqrt();
        let (middle, canvas_middle) = (size as f32 / 2.0, self.side as f32 / 2.0);
        GrayImage::from_fn(size as u32, size as u32, |x, y| {
            let from_middle = [x as f32 - middle + rows[y as usize], y as f32 - middle + columns[x as usize]];
            // Adding a half and truncating is rounding. `f32::round` is a slow call without SSE 4.1.
            let place = |v: f32| ((v + canvas_middle + 0.5) as usize).min(self.side - 1);
            let canvas_x = place(cosine * from_middle[0] - sine * from_middle[1]);
            let canvas_y = place(sine * from_middle[0] + cosine * from_middle[1]);
            if self.copper[canvas_y * self.side + canvas_x] { COPPER } else { BARE }
        })
    }
}

/// Euclidean length. Only exactly rounded operations are used to draw boards, here and elsewhere, so that
/// a seed gives the same pixels on every machine.
pub(super) fn length([x, y]: Point) -> f32 {
    (x * x + y * y).sqrt()
}
