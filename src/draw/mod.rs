//! Pictures: boxes on images, charts and confusion matrices. They need no font or other file of the system.
//!
//! The built-in font has the printable ASCII characters. Any other character is drawn as an empty box.

mod boxes;
mod canvas;
mod chart;
mod confusion_matrix;
mod evaluation;
mod pair;
mod stats;
mod style;

pub use boxes::{draw_annotations, draw_detections, side_by_side};
pub use chart::{Panel, Series, line_chart, line_charts};
pub use confusion_matrix::plot_confusion_matrix;
pub use evaluation::{plot_evaluation, plot_operating_points};
pub use pair::{draw_pair, sheet};
pub use stats::plot_stats;
