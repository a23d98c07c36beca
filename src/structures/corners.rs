//! What the corners of boxes are.

use serde::{Deserialize, Serialize};

/// What the corners of a data set's boxes are, on which it depends where they are in a mirrored or turned image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Corners {
    /// Edges of pixels, as in COCO: `x1..x2` are the columns in the box. In an image of width `W` mirrored from
    /// left to right, `x` becomes `W - x`.
    #[default]
    Edges,
    /// Pixels, as in DeepPCB: `x1..=x2` are the columns in the box. Mirrored, `x` becomes `W - 1 - x`.
    Pixels,
}

impl Corners {
    /// How far the place of a corner is behind its number, in pixels: a pixel's place is its centre.
    pub fn offset(self) -> f32 {
        match self {
            Self::Edges => 0.0,
            Self::Pixels => 0.5,
        }
    }
}
