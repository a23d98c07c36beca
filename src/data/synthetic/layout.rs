//! A board without defects: copper areas, slots in them, traces, pads, vias and lettering.
//!
//! Everything is drawn as on a layout program's copper layer: an element first clears a gap around
//! itself, through copper areas too, and then lays down its copper. It is refused where its gap would
//! reach into an element that is there already, so that nets never touch by accident.

use std::f32::consts::FRAC_1_SQRT_2;

use image::GrayImage;
use rand::{Rng, RngExt, seq::IndexedRandom};

use super::canvas::{Canvas, Element, Point, Shape, length};

/// Side of the boards in DeepPCB, for which the numbers of elements below are meant.
pub(super) const REAL_SIDE: f32 = 640.0;
/// A smaller image is a window of a board of this side, so that traces also come in from outside.
const SMALLEST_BOARD: usize = 384;
/// Pixels of board around the photograph, so that it shows nothing else when it is rotated.
const MARGIN: usize = 16;

/// The eight headings of a trace, clockwise from east.
const HEADINGS: [Point; 8] = [
    [1.0, 0.0],
    [FRAC_1_SQRT_2, FRAC_1_SQRT_2],
    [0.0, 1.0],
    [-FRAC_1_SQRT_2, FRAC_1_SQRT_2],
    [-1.0, 0.0],
    [-FRAC_1_SQRT_2, -FRAC_1_SQRT_2],
    [0.0, -1.0],
    [FRAC_1_SQRT_2, -FRAC_1_SQRT_2],
];

/// How crowded a board is: the part of it that copper areas cover, and how many elements of each kind
/// are tried on 640x640 pixels.
struct Style {
    areas: f64,
    slots: usize,
    buses: usize,
    footprints: usize,
    vias: usize,
    letterings: usize,
}

const STYLES: [Style; 4] = [
    Style { areas: 0.05, slots: 0, buses: 30, footprints: 14, vias: 8, letterings: 1 },
    Style { areas: 0.45, slots: 1, buses: 16, footprints: 10, vias: 6, letterings: 1 },
    Style { areas: 0.9, slots: 3, buses: 4, footprints: 3, vias: 5, letterings: 0 },
    Style { areas: 0.2, slots: 0, buses: 12, footprints: 12, vias: 6, letterings: 2 },
];

/// Draws a board of `size` x `size` pixels.
pub(super) fn template(size: usize, rng: &mut impl Rng) -> GrayImage {
    let side = size.max(SMALLEST_BOARD) + 2 * MARGIN;
    let style = STYLES.choose(rng).expect("there are styles");
    let times = |at_640: usize| (at_640 as f32 * (side as f32 / REAL_SIDE).powi(2)).round() as usize;

    let mut canvas = Canvas::new(side);
    let span = side as f32;
    for area in copper_areas([0.0, 0.0], [span, span], style.areas, rng) {
        canvas.fill(&area, true);
    }
    for _ in 0..times(style.slots) {
        for line in lines(&path(span, 20.0, rng), rng.random_range(3.0..6.0)) {
            canvas.fill(&line, false);
        }
    }
    for _ in 0..times(style.buses) {
        let clearance = rng.random_range(8.0..13.0);
        canvas.place(&bus(span, rng), clearance);
    }
    for _ in 0..times(style.footprints) {
        canvas.place(&footprint(span, rng), 9.0);
    }
    for _ in 0..times(style.letterings) {
        canvas.place(&lettering(span, rng), 7.0);
    }
    for _ in 0..times(style.vias) {
        let radius = rng.random_range(6.5..12.0);
        canvas.place(&pad(random_point(span, rng), radius, rng), 9.0);
    }
    canvas.photograph(size, rng)
}

/// Cuts a rectangle until its parts are small, and makes a fraction `part` of them areas with gaps between.
fn copper_areas([x1, y1]: Point, [x2, y2]: Point, part: f64, rng: &mut impl Rng) -> Vec<Shape> {
    let size = [x2 - x1, y2 - y1];
    let longer = size[0].max(size[1]);
    if longer > rng.random_range(140.0..520.0) {
        let cut = rng.random_range(0.3..0.7);
        let (first_end, second_start) = if size[0] > size[1] {
            ([x1 + cut * size[0], y2], [x1 + cut * size[0], y1])
        } else {
            ([x2, y1 + cut * size[1]], [x1, y1 + cut * size[1]])
        };
        let mut areas = copper_areas([x1, y1], first_end, part, rng);
        areas.extend(copper_areas(second_start, [x2, y2], part, rng));
        return areas;
    }
    let gap = rng.random_range(5.0..14.0);
    let half = [size[0] / 2.0 - gap, size[1] / 2.0 - gap];
    let shorter = half[0].min(half[1]);
    if shorter < 8.0 || !rng.random_bool(part) {
        return Vec::new();
    }
    let center = [(x1 + x2) / 2.0, (y1 + y2) / 2.0];
    let plate = |round: f32, chamfer: f32| Shape::Plate { center, half, round, chamfer };
    vec![match rng.random_range(0..10) {
        0..4 => plate(rng.random_range(0.0..4.0), 0.0),
        4..7 => plate(2.0, rng.random_range(0.1..0.7) * shorter),
        7..9 => plate(rng.random_range(0.1..0.6) * shorter, 0.0),
        _ => Shape::disc(center, shorter),
    }]
}

/// Corners of a trace: straight pieces that each bend 45 degrees from the one before.
fn path(span: f32, shortest: f32, rng: &mut impl Rng) -> Vec<Point> {
    let mut corners = vec![random_point(span, rng)];
    let mut heading = 2 * rng.random_range(0..4);
    for _ in 0..rng.random_range(1..=5) {
        // Diagonals (odd headings) are the short pieces, as on real boards.
        let run = shortest
            + if heading % 2 == 0 { rng.random_range(30.0..420.0) } else { rng.random_range(10.0..130.0) };
        let [x, y] = *corners.last().expect("a path starts somewhere");
        corners.push([x + run * HEADINGS[heading][0], y + run * HEADINGS[heading][1]]);
        heading = (heading + if rng.random_bool(0.5) { 1 } else { 7 }) % 8;
    }
    corners
}

/// A path parallel to another, `distance` pixels to its right.
fn parallel(corners: &[Point], distance: f32) -> Vec<Point> {
    let normals: Vec<Point> = corners
        .windows(2)
        .map(|ends| {
            let along = [ends[1][0] - ends[0][0], ends[1][1] - ends[0][1]];
            let length = length(along);
            [-along[1] / length, along[0] / length]
        })
        .collect();
    (0..corners.len())
        .map(|i| {
            let before = normals[i.saturating_sub(1)];
            let after = normals[i.min(normals.len() - 1)];
            // To where the two displaced pieces meet.
            let stretch = distance / (1.0 + before[0] * after[0] + before[1] * after[1]);
            [
                corners[i][0] + stretch * (before[0] + after[0]),
                corners[i][1] + stretch * (before[1] + after[1]),
            ]
        })
        .collect()
}

fn lines(corners: &[Point], radius: f32) -> impl Iterator<Item = Shape> {
    corners.windows(2).map(move |ends| Shape::Line { from: ends[0], to: ends[1], radius })
}

/// One trace, or several in parallel; each end may have a pad.
fn bus(span: f32, rng: &mut impl Rng) -> Element {
    let count = if rng.random_bool(0.45) { 1 } else { rng.random_range(2..=6) };
    let widest = if count == 1 && rng.random_bool(0.6) { 44.0 } else { 15.0 };
    let width: f32 = rng.random_range(5.0..widest);
    let pitch = width + rng.random_range(10.0..22.0);
    let half_span = pitch * (count - 1) as f32 / 2.0;
    // Bends shorten the inner traces. With this minimum a piece between two bends keeps its direction.
    let middle = path(span, 15.0 + half_span, rng);

    let mut element = Element::default();
    let pad_radius =
        (width * 0.5 + rng.random_range(3.0..9.0)).min(if count == 1 { 30.0 } else { pitch / 2.0 - 3.0 });
    let has_pad =
        [rng.random_bool(0.6), rng.random_bool(0.6)].map(|wanted| wanted && pad_radius > width / 2.0 + 1.0);
    for i in 0..count {
        let corners = parallel(&middle, i as f32 * pitch - half_span);
        for (end, has_pad) in [corners[0], corners[corners.len() - 1]].into_iter().zip(has_pad) {
            if has_pad {
                let Element { copper, holes } = pad(end, pad_radius, rng);
                element.copper.extend(copper);
                element.holes.extend(holes);
            }
        }
        element.copper.extend(lines(&corners, width / 2.0));
    }
    element
}

/// A round or square pad; large ones are often drilled.
fn pad(center: Point, radius: f32, rng: &mut impl Rng) -> Element {
    let copper = if rng.random_bool(0.7) {
        Shape::disc(center, radius)
    } else {
        Shape::Plate { center, half: [radius; 2], round: 1.5, chamfer: 0.0 }
    };
    let mut element = Element { copper: vec![copper], holes: Vec::new() };
    if radius > 9.0 && rng.random_bool(0.7) {
        element.holes.push(Shape::disc(center, radius * rng.random_range(0.4..0.6)));
    }
    element
}

/// The pads of one component.
fn footprint(span: f32, rng: &mut impl Rng) -> Element {
    let center = random_point(span, rng);
    let upright = rng.random_bool(0.5);
    let turned = |[along, across]: Point| if upright { [across, along] } else { [along, across] };
    let place = |offset: Point| {
        let [x, y] = turned(offset);
        [center[0] + x, center[1] + y]
    };
    let plate = |offset: Point, half: Point, round: f32, chamfer: f32| Shape::Plate {
        center: place(offset),
        half: turned(half),
        round,
        chamfer,
    };
    let mut element = Element::default();
    match rng.random_range(0..6) {
        // A chip: two rows of narrow pads.
        0 => {
            let pads = rng.random_range(3..=8);
            let (half, pitch) =
                ([rng.random_range(4.0..7.0), rng.random_range(9.0..16.0)], rng.random_range(20.0..28.0));
            let row = half[1] + rng.random_range(14.0..40.0);
            for i in 0..pads {
                let along = (i as f32 - (pads - 1) as f32 / 2.0) * pitch;
                element.copper.extend([-row, row].map(|across| plate([along, across], half, 1.0, 0.0)));
            }
        }
        // A resistor or capacitor: two pads.
        1 => {
            let half = [rng.random_range(9.0..20.0), rng.random_range(10.0..22.0)];
            let apart = half[0] + rng.random_range(7.0..22.0);
            element.copper.extend([-apart, apart].map(|along| plate([along, 0.0], half, 2.0, 0.0)));
        }
        // A connector: a row of drilled discs.
        2 => {
            let (radius, pins) = (rng.random_range(11.0..17.0), rng.random_range(2..=6));
            for i in 0..pins {
                let at = place([i as f32 * (2.0 * radius + 11.0), 0.0]);
                element.copper.push(Shape::disc(at, radius));
                element.holes.push(Shape::disc(at, radius * 0.45));
            }
        }
        // A mounting hole or test point in a ring.
        3 => {
            let radius = rng.random_range(14.0..34.0);
            element.copper.push(Shape::disc(center, radius));
            element.holes.push(Shape::disc(center, radius * rng.random_range(0.5..0.85)));
        }
        // A long pad with several drills.
        4 => {
            let (half, drills) =
                ([rng.random_range(26.0..60.0), rng.random_range(14.0..24.0)], rng.random_range(1..=3));
            element.copper.push(plate([0.0, 0.0], half, half[1] * rng.random_range(0.1..0.9), 0.0));
            for i in 0..drills {
                let along = (i as f32 - (drills - 1) as f32 / 2.0) * half[0] * 0.7;
                element.holes.push(Shape::disc(place([along, 0.0]), rng.random_range(4.0..8.0)));
            }
        }
        // A heat sink: one large plate.
        _ => {
            let half: Point = [rng.random_range(30.0..90.0), rng.random_range(24.0..60.0)];
            element.copper.push(plate([0.0, 0.0], half, 2.0, rng.random_range(0.0..0.8) * half[1]));
        }
    }
    element
}

/// A row of characters in thin strokes that nobody can read.
fn lettering(span: f32, rng: &mut impl Rng) -> Element {
    let [left, top] = random_point(span, rng);
    let upright = rng.random_bool(0.5);
    let scale = rng.random_range(0.7..1.3);
    let mut element = Element::default();
    for i in 0..rng.random_range(3..=8) {
        let mut corner = || {
            let along = scale * (i as f32 * 22.0 + 7.0 * rng.random_range(0..3) as f32);
            let across = scale * 12.0 * rng.random_range(0..3) as f32;
            if upright { [left + across, top + along] } else { [left + along, top + across] }
        };
        let corners: Vec<Point> = (0..4).map(|_| corner()).collect();
        element.copper.extend(lines(&corners, 1.2));
    }
    element
}

fn random_point(span: f32, rng: &mut impl Rng) -> Point {
    [rng.random_range(0.0..span), rng.random_range(0.0..span)]
}
