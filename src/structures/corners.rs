//! What the corners of boxes are.

use serde::{Deserialize, Serialize};

use super::boxes::Xyxy;

/// What the corners of a data set's boxes are. Whoever mirrors or turns images has to know.
///
/// Labels and detections keep the numbers of the data set, so that other programs can compare them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Corners {
    /// Edges of pixels, as in COCO: `x1..x2` are the columns in the box. In an image of width `W` mirrored
    /// from left to right, `x` becomes `W - x`.
    #[default]
    Edges,
    /// The first and the last pixel, as in DeepPCB: `x1..=x2` are the columns in the box. Mirrored, `x`
    /// becomes `W - 1 - x`.
    Pixels,
}

impl Corners {
    /// The edges of a box with these corners.
    pub(crate) fn edges_of(self, [x1, y1, x2, y2]: Xyxy) -> Xyxy {
        [x1, y1, x2 + self.last(), y2 + self.last()]
    }

    /// The corners of a box with these edges.
    pub(crate) fn of_edges(self, [x1, y1, x2, y2]: Xyxy) -> Xyxy {
        [x1, y1, x2 - self.last(), y2 - self.last()]
    }

    /// Pixels from the last corner to the edge behind it.
    fn last(self) -> f32 {
        match self {
            Self::Edges => 0.0,
            Self::Pixels => 1.0,
        }
    }
}
