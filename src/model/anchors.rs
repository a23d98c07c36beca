//! Anchors: the reference boxes of the RPN, a few shapes at each cell of each pyramid level.
//!
//! Order within a level: row, column, aspect ratio. Source: torchvision `anchor_utils.AnchorGenerator`.

use serde::{Deserialize, Serialize};

use crate::bounds::{self, MAX_SIDE};
use crate::error::Result;
use crate::structures::Xyxy;

/// One size per pyramid level, and every aspect ratio at each of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnchorConfig {
    /// Side of the square anchor of each level P2..P6, in pixels of the resized image.
    pub sizes: [f32; 5],
    /// Height over width.
    pub aspect_ratios: Vec<f32>,
}

/// The most aspect ratios.
const MAX_RATIOS: usize = 64;

impl Default for AnchorConfig {
    fn default() -> Self {
        Self { sizes: [32.0, 64.0, 128.0, 256.0, 512.0], aspect_ratios: vec![0.5, 1.0, 2.0] }
    }
}

impl AnchorConfig {
    /// Finds settings that cannot work.
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) names the first one.
    pub(super) fn validate(&self) -> Result<()> {
        for size in self.sizes {
            bounds::within("anchors.sizes", size, 1.0..=MAX_SIDE as f32)?;
        }
        let ratios = &self.aspect_ratios;
        bounds::ensure((1..=MAX_RATIOS).contains(&ratios.len()), || {
            format!("anchors.aspect_ratios must be 1 to {MAX_RATIOS} numbers, not {}", ratios.len())
        })?;
        ratios.iter().try_for_each(|ratio| bounds::within("anchors.aspect_ratios", *ratio, 0.01..=100.0))
    }

    /// The anchors of each level, for maps of `(height, width)` cells over a padded batch of
    /// `(height, width)` pixels.
    pub fn anchors(&self, maps: &[(usize, usize)], padded: (usize, usize)) -> Vec<Vec<Xyxy>> {
        let level = |(&size, &(height, width)): (&f32, &(usize, usize))| {
            let shapes = cell_anchors(&[size], &self.aspect_ratios);
            let (stride_y, stride_x) = ((padded.0 / height) as f32, (padded.1 / width) as f32);
            let mut anchors = Vec::with_capacity(height * width * shapes.len());
            for y in 0..height {
                for x in 0..width {
                    let (x, y) = (x as f32 * stride_x, y as f32 * stride_y);
                    anchors.extend(shapes.iter().map(|[x1, y1, x2, y2]| [x1 + x, y1 + y, x2 + x, y2 + y]));
                }
            }
            anchors
        };
        self.sizes.iter().zip(maps).map(level).collect()
    }
}

/// The anchors of one cell around the origin, every size at each ratio (height over width), rounded
/// to whole pixels (a half to the even one).
pub fn cell_anchors(sizes: &[f32], aspect_ratios: &[f32]) -> Vec<Xyxy> {
    let anchor = |ratio: f32, size: f32| {
        let height_ratio = ratio.sqrt();
        let (width, height) = (1.0 / height_ratio * size, height_ratio * size);
        [-width, -height, width, height].map(|side| (side / 2.0).round_ties_even())
    };
    aspect_ratios.iter().flat_map(|&ratio| sizes.iter().map(move |&size| anchor(ratio, size))).collect()
}
