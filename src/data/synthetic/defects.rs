//! The six defects, drawn with a brush on a board without any.
//!
//! They come in three kinds, each in two colours. `ink` is the colour that is drawn, `ground` the other:
//!
//! | kind   | drawn                                      | in copper | in bare  |
//! |--------|--------------------------------------------|-----------|----------|
//! | bridge | from ink over a strip of ground to ink     | short     | open     |
//! | notch  | from ink into ground                       | spur      | mousebite|
//! | island | in ground alone                            | copper    | pin-hole |

use image::{GrayImage, Luma};
use rand::{Rng, RngExt};

use super::canvas::{BARE, COPPER, Point, length};
use crate::structures::{Annotation, Xyxy, intersection};

/// DeepPCB's boxes begin 10 pixels before the first pixel that changed and end 10 pixels after the last one,
/// counting corners as pixels. Of its isolated defects, 9 in 10 have exactly this.
const BOX_MARGIN: u32 = 10;
/// A change of fewer pixels could hardly be seen.
const FEWEST_PIXELS: usize = 24;
/// Random places tried for a defect before another class is tried.
const TRIES_PER_CLASS: usize = 200;
/// Classes tried for a defect before the board counts as full.
const CLASSES_TRIED: usize = 6;

/// Draws up to `count` defects whose boxes do not overlap. A box is around the pixels that its defect
/// changed.
pub(super) fn add(template: &GrayImage, count: usize, rng: &mut impl Rng) -> (GrayImage, Vec<Annotation>) {
    let mut board = template.clone();
    let mut annotations: Vec<Annotation> = Vec::new();
    for _ in 0..count {
        let found = (0..CLASSES_TRIED).find_map(|_| {
            let label = rng.random_range(1..=6);
            (0..TRIES_PER_CLASS).find_map(|_| {
                let (stroke, ink) = propose(template, label, rng)?;
                let changed = stroke.changed(template, ink);
                let xyxy = boundary(&changed, template.dimensions())?;
                let apart = annotations.iter().all(|other| intersection(&other.xyxy, &xyxy) == 0.0);
                apart.then_some((Annotation::new(xyxy, label), changed, ink))
            })
        });
        if let Some((annotation, changed, ink)) = found {
            for [x, y] in changed {
                board.put_pixel(x, y, ink);
            }
            annotations.push(annotation);
        }
    }
    (board, annotations)
}

/// A stroke for a defect of a class at a random place, and its colour; none where the place is unsuitable.
fn propose(template: &GrayImage, label: usize, rng: &mut impl Rng) -> Option<(Stroke, Luma<u8>)> {
    let (stroke, ink) = match label {
        1 => (bridge(template, BARE, rng), BARE),
        2 => (bridge(template, COPPER, rng), COPPER),
        3 => (notch(template, BARE, rng), BARE),
        4 => (notch(template, COPPER, rng), COPPER),
        5 => (island(template, COPPER, rng), COPPER),
        _ => (island(template, BARE, rng), BARE),
    };
    Some((stroke?, ink))
}

/// From one piece of ink straight over ground to the next.
fn bridge(template: &GrayImage, ink: Luma<u8>, rng: &mut impl Rng) -> Option<Stroke> {
    const LONGEST: usize = 56;
    /// The ground must go on this far to both sides: a trace or a gap, and not a drill hole.
    const SIDEWAYS: usize = 18;

    let (edge, normal) = random_edge(template, ink, rng)?;
    let toward = tilted(normal, 0.3, rng);
    let is_ground = |point: Point| colour(template, point).is_some_and(|colour| colour != ink);
    let across = (1..LONGEST).find(|step| !is_ground(along(edge, toward, *step as f32)))? as f32;
    let end = along(edge, toward, across + 2.0);
    if colour(template, end) != Some(ink) {
        return None;
    }
    let middle = along(edge, toward, across / 2.0);
    let sideways = [-normal[1], normal[0]];
    let goes_on = (1..SIDEWAYS).all(|step| {
        is_ground(along(middle, sideways, step as f32)) && is_ground(along(middle, sideways, -(step as f32)))
    });
    let radius = rng.random_range(1.8..6.0);
    goes_on.then(|| Stroke::new(along(edge, toward, -2.0), end, radius, rng))
}

/// From ink into ground, without reaching other ink.
fn notch(template: &GrayImage, ink: Luma<u8>, rng: &mut impl Rng) -> Option<Stroke> {
    const CLEARANCE: f32 = 2.0;

    let (edge, normal) = random_edge(template, ink, rng)?;
    let toward = tilted(normal, 0.6, rng);
    let radius: f32 = rng.random_range(2.2..6.0);
    let reach = 5.0 + 20.0 * rng.random::<f32>().powi(2);
    let stroke =
        Stroke::new(along(edge, toward, -2.0), along(edge, toward, (reach - radius).max(0.0)), radius, rng);
    let tip = stroke.points[stroke.points.len() / 2..].iter();
    let mut ahead = tip.flat_map(|(center, radius)| ring(*center, radius + CLEARANCE)).filter(|point| {
        let from_edge = [point[0] - edge[0], point[1] - edge[1]];
        from_edge[0] * normal[0] + from_edge[1] * normal[1] > CLEARANCE
    });
    ahead.all(|point| colour(template, point).is_some_and(|colour| colour != ink)).then_some(stroke)
}

/// In ground, touching no ink.
fn island(template: &GrayImage, ink: Luma<u8>, rng: &mut impl Rng) -> Option<Stroke> {
    const CLEARANCE: f32 = 4.0;

    let (width, height) = template.dimensions();
    let from = [rng.random_range(0.0..width as f32), rng.random_range(0.0..height as f32)];
    let reach = 5.0 + 28.0 * rng.random::<f32>().powi(2);
    let to = along(from, random_direction(rng), reach);
    let stroke = Stroke::new(from, to, rng.random_range(2.5..5.5), rng);
    let mut around = stroke.points.iter().flat_map(|(center, radius)| ring(*center, radius + CLEARANCE));
    around.all(|point| colour(template, point).is_some_and(|colour| colour != ink)).then_some(stroke)
}

/// What a brush leaves: centres about a pixel apart, and the radius at each.
struct Stroke {
    points: Vec<(Point, f32)>,
}

impl Stroke {
    /// A stroke by a hand that is not quite steady: bent, and of varying thickness.
    fn new(from: Point, to: Point, radius: f32, rng: &mut impl Rng) -> Self {
        let ahead = [to[0] - from[0], to[1] - from[1]];
        let steps = length(ahead).ceil().max(1.0);
        let bend = rng.random_range(-0.15..0.15);
        let mut thickness = 1.0;
        let points = (0..=steps as usize).map(|step| {
            let part = step as f32 / steps;
            let aside = 4.0 * bend * part * (1.0 - part);
            thickness = 1.0 + 0.8 * (thickness - 1.0) + rng.random_range(-0.25..0.25);
            let center =
                [from[0] + part * ahead[0] - aside * ahead[1], from[1] + part * ahead[1] + aside * ahead[0]];
            (center, (radius * thickness).max(1.2))
        });
        Self { points: points.collect() }
    }

    /// The pixels that take another colour when the stroke is drawn in `ink`.
    fn changed(&self, image: &GrayImage, ink: Luma<u8>) -> Vec<[u32; 2]> {
        let bound = |axis: usize, size: u32| {
            let low =
                self.points.iter().map(|(center, radius)| center[axis] - radius).fold(f32::MAX, f32::min);
            let high = self.points.iter().map(|(center, radius)| center[axis] + radius).fold(0.0, f32::max);
            (low.floor().max(0.0) as u32)..(high.ceil() as u32 + 1).min(size)
        };
        let covers = |x: u32, y: u32| {
            self.points
                .iter()
                .any(|(center, radius)| length([x as f32 - center[0], y as f32 - center[1]]) <= *radius)
        };
        let columns = bound(0, image.width());
        bound(1, image.height())
            .flat_map(|y| columns.clone().map(move |x| [x, y]))
            .filter(|&[x, y]| *image.get_pixel(x, y) != ink && covers(x, y))
            .collect()
    }
}

/// The box of a defect of which these pixels changed; none where they are too few or the box would leave
/// the image of `(width, height)`.
fn boundary(changed: &[[u32; 2]], (width, height): (u32, u32)) -> Option<Xyxy> {
    if changed.len() < FEWEST_PIXELS {
        return None;
    }
    let range = |axis: usize, size: u32| {
        let low = changed.iter().map(|pixel| pixel[axis]).min()?.checked_sub(BOX_MARGIN)?;
        let high = changed.iter().map(|pixel| pixel[axis]).max()? + BOX_MARGIN;
        (high <= size).then_some([low as f32, high as f32])
    };
    let ([x1, x2], [y1, y2]) = (range(0, width)?, range(1, height)?);
    Some([x1, y1, x2, y2])
}

/// A place where ink ends, and the direction from there into the ground.
fn random_edge(image: &GrayImage, ink: Luma<u8>, rng: &mut impl Rng) -> Option<(Point, Point)> {
    const SEARCH: usize = 60;
    const WINDOW: i32 = 4;

    let (width, height) = image.dimensions();
    let start = [rng.random_range(0..width) as f32, rng.random_range(0..height) as f32];
    if colour(image, start) == Some(ink) {
        return None;
    }
    let heading = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]][rng.random_range(0..4)];
    let steps = (1..SEARCH).find(|step| colour(image, along(start, heading, *step as f32)) == Some(ink))?;
    let edge = along(start, heading, (steps - 1) as f32);

    // The mean direction away from the ink near the edge; the ragged outline averages out.
    let mut normal = [0.0; 2];
    for dy in -WINDOW..=WINDOW {
        for dx in -WINDOW..=WINDOW {
            let offset = [dx as f32, dy as f32];
            if colour(image, [edge[0] + offset[0], edge[1] + offset[1]]) == Some(ink) {
                normal = [normal[0] - offset[0], normal[1] - offset[1]];
            }
        }
    }
    let size = length(normal);
    (size > 0.0).then(|| (edge, [normal[0] / size, normal[1] / size]))
}

/// A direction, turned by at most about `by` radians.
fn tilted(direction: Point, by: f32, rng: &mut impl Rng) -> Point {
    let sideways = rng.random_range(-by..by);
    let [x, y] = [direction[0] - sideways * direction[1], direction[1] + sideways * direction[0]];
    let size = length([x, y]);
    [x / size, y / size]
}

fn random_direction(rng: &mut impl Rng) -> Point {
    loop {
        let [x, y]: Point = [rng.random_range(-1.0..1.0), rng.random_range(-1.0..1.0)];
        let size = length([x, y]);
        if size > 0.1 && size <= 1.0 {
            return [x / size, y / size];
        }
    }
}

/// Twelve points around a centre.
fn ring([x, y]: Point, radius: f32) -> impl Iterator<Item = Point> {
    const HALF_SQRT_3: f32 = 0.866_025_4;
    let quarter = [[1.0, 0.0], [HALF_SQRT_3, 0.5], [0.5, HALF_SQRT_3]];
    quarter.into_iter().flat_map(move |[dx, dy]| {
        [[dx, dy], [-dy, dx], [-dx, -dy], [dy, -dx]].map(|[dx, dy]| [x + radius * dx, y + radius * dy])
    })
}

fn along(from: Point, direction: Point, distance: f32) -> Point {
    [from[0] + distance * direction[0], from[1] + distance * direction[1]]
}

/// Colour of the pixel at a point; none outside the image.
fn colour(image: &GrayImage, [x, y]: Point) -> Option<Luma<u8>> {
    let (x, y) = (x + 0.5, y + 0.5);
    if x < 0.0 || y < 0.0 {
        return None;
    }
    image.get_pixel_checked(x as u32, y as u32).copied()
}
