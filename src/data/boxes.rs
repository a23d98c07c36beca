//! Which boxes a data set may have.

use crate::structures::Xyxy;

/// How far a box may reach over the border of its image, in pixels. Normalised or shifted coordinates round
/// by up to this.
const ROUNDING: f32 = 0.5;

/// A box with a shorter side, in pixels, is hardly one that somebody has drawn.
const THIN: f32 = 1.0;

/// The box within an image of `(height, width)`. A box that reaches over the border by up to half a pixel is
/// clipped.
///
/// # Errors
///
/// Says what is wrong with a box that is not finite, is empty, or reaches further.
pub(super) fn within(xyxy: Xyxy, (height, width): (usize, usize)) -> Result<Xyxy, String> {
    let [x1, y1, x2, y2] = xyxy;
    let name = format!("box `{x1} {y1} {x2} {y2}`");
    if !xyxy.iter().all(|corner| corner.is_finite()) {
        return Err(format!("{name} has a corner that is not finite"));
    }
    let (right, bottom) = (width as f32, height as f32);
    if x1 < -ROUNDING || y1 < -ROUNDING || x2 > right + ROUNDING || y2 > bottom + ROUNDING {
        return Err(format!("{name} lies outside the image (height {height}, width {width})"));
    }
    let clipped = [x1.max(0.0), y1.max(0.0), x2.min(right), y2.min(bottom)];
    if clipped[2] <= clipped[0] || clipped[3] <= clipped[1] {
        return Err(format!("{name} is empty: x1 < x2 and y1 < y2 must hold"));
    }
    Ok(clipped)
}

/// Whether a side is shorter than a pixel.
pub(super) fn is_thin([x1, y1, x2, y2]: Xyxy) -> bool {
    x2 - x1 < THIN || y2 - y1 < THIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_clipped_and_more_is_an_error() {
        let size = (100, 128);
        for (xyxy, expected) in [
            ([0.0, 0.0, 128.0, 100.0], [0.0, 0.0, 128.0, 100.0]),
            ([60.0, 10.0, 128.000_06, 40.0], [60.0, 10.0, 128.0, 40.0]),
            ([-0.5, -0.000_06, 30.0, 100.5], [0.0, 0.0, 30.0, 100.0]),
        ] {
            assert_eq!(within(xyxy, size), Ok(expected));
        }
        for (xyxy, message) in [
            ([-0.6, 0.0, 5.0, 5.0], "box `-0.6 0 5 5` lies outside the image (height 100, width 128)"),
            ([0.0, 0.0, 128.6, 5.0], "lies outside"),
            ([0.0, 0.0, 5.0, 101.0], "lies outside"),
            ([200.0, 200.0, 240.0, 240.0], "lies outside"),
            ([10.0, 10.0, 10.0, 40.0], "box `10 10 10 40` is empty"),
            ([40.0, 40.0, 10.0, 10.0], "is empty"),
            ([128.0, 0.0, 128.4, 5.0], "is empty"),
            ([0.0, 0.0, f32::NAN, 5.0], "is not finite"),
            ([0.0, f32::NEG_INFINITY, 5.0, 5.0], "is not finite"),
        ] {
            let error = within(xyxy, size).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
