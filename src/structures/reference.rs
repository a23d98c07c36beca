//! How a detector uses a picture of the same thing without objects, such as a good board.

use serde::{Deserialize, Serialize};

/// What a detector sees besides the image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReferenceInput {
    /// Nothing: the image in its colours.
    #[default]
    None,
    /// The three channels are the image, its reference and their absolute difference, all grey. So the
    /// network keeps its shape, and weights that were trained with colours still load.
    Difference,
}

/// How a reference is brought onto the image before they are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReferenceAlign {
    /// It is taken as it is.
    #[default]
    Off,
    /// It is shifted, by up to 32 pixels in each direction.
    Translation,
    /// It is shifted, turned by up to 3 degrees, and scaled and sheared a little.
    Affine,
}
