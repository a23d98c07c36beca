//! Regions without objects: what a detection finds there is a false alarm.

use super::image_result::ImageResult;
use crate::structures::{Xyxy, intersection};

/// Of each image the regions that are clean: all of an image without annotations, none of another one.
pub fn clean_images(results: &[ImageResult]) -> Vec<Vec<Xyxy>> {
    let everything = [f32::NEG_INFINITY, f32::NEG_INFINITY, f32::INFINITY, f32::INFINITY];
    let of = |result: &ImageResult| if result.annotations.is_empty() { vec![everything] } else { Vec::new() };
    results.iter().map(of).collect()
}

/// Of each image, cut into `per_side` x `per_side` windows, those that no annotation touches. `sizes` are
/// `(height, width)` in pixels. These are clean pictures with all that a camera does, where a data set has no
/// photographs of boards without defects.
///
/// # Panics
///
/// Unless there is one size for each result.
pub fn clean_windows(results: &[ImageResult], sizes: &[(usize, usize)], per_side: usize) -> Vec<Vec<Xyxy>> {
    assert_eq!(results.len(), sizes.len(), "there must be one size for each image");
    let of = |(result, &(height, width)): (&ImageResult, &(usize, usize))| -> Vec<Xyxy> {
        let edge = |index: usize, side: usize| (index * side) as f32 / per_side as f32;
        let windows = (0..per_side * per_side).map(|index| (index / per_side, index % per_side));
        let windows = windows.map(|(row, column)| {
            [edge(column, width), edge(row, height), edge(column + 1, width), edge(row + 1, height)]
        });
        let is_clean = |window: &Xyxy| {
            !result.annotations.iter().any(|annotation| intersection(&annotation.xyxy, window) > 0.0)
        };
        windows.filter(is_clean).collect()
    };
    results.iter().zip(sizes).map(of).collect()
}

/// Whether a box has its centre in a region.
pub(super) fn is_centred_in([x1, y1, x2, y2]: &Xyxy, region: &Xyxy) -> bool {
    let (x, y) = ((x1 + x2) / 2.0, (y1 + y2) / 2.0);
    (region[0]..region[2]).contains(&x) && (region[1]..region[3]).contains(&y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structures::Annotation;

    #[test]
    fn windows_that_an_object_touches_are_left_out() {
        let result = ImageResult {
            annotations: vec![Annotation::new([90.0, 10.0, 101.0, 20.0], 1)],
            detections: Vec::new(),
        };
        let clean = clean_windows(&[result.clone(), ImageResult::default()], &[(100, 200), (30, 30)], 2);
        assert_eq!(clean[0], [[0.0, 50.0, 100.0, 100.0], [100.0, 50.0, 200.0, 100.0]]);
        assert_eq!(clean[1].len(), 4);
        let whole = clean_images(&[result, ImageResult::default()]);
        assert_eq!((whole[0].len(), whole[1].len()), (0, 1));
        assert!(is_centred_in(&[1e6, -1e6, 1e6, 0.0], &whole[1][0]));
        assert!(!is_centred_in(&[90.0, 60.0, 110.0, 70.0], &clean[0][0]));
        assert!(is_centred_in(&[90.0, 60.0, 110.0, 70.0], &clean[0][1]));
    }
}
