//! Pictures: boxes on images, charts and confusion matrices. Needs no font or other file of the system.
//!
//! The built-in font has the printable ASCII characters; any other one is drawn as an empty box.

mod boxes;
mod chart;
mod evaluation;

pub use boxes::{draw_annotations, draw_detections, side_by_side};
pub use chart::{Panel, Series, confusion_matrix, line_chart, line_charts};
pub use evaluation::evaluation;

/// DejaVu Sans, printable ASCII only; its licence lies beside it.
const FONT: &[u8] = include_bytes!("DejaVuSans-ascii.ttf");

/// Far apart from each other, and dark enough for white text and lines on white, yet no darker than that
/// because they must stand out from black, too.
const PALETTE: [[u8; 3]; 10] = [
    [225, 30, 50],
    [0, 112, 224],
    [0, 140, 60],
    [210, 95, 0],
    [150, 60, 210],
    [0, 140, 150],
    [135, 95, 45],
    [215, 40, 160],
    [100, 110, 0],
    [90, 100, 125],
];

/// Colour of the `index`th class or line; they repeat after ten.
fn colour(index: usize) -> [u8; 3] {
    PALETTE[index % PALETTE.len()]
}
