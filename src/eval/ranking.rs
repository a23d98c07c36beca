//! The order in which detections are judged.

use std::cmp::Ordering;

/// Orders numbers from the highest to the lowest, NaN last. A stable sort with it gives the order of Python's
/// `argsort(-scores, kind="stable")`.
pub fn highest_first(a: f32, b: f32) -> Ordering {
    a.is_nan().cmp(&b.is_nan()).then(b.partial_cmp(&a).unwrap_or(Ordering::Equal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_score_comes_first_and_nan_last() {
        let mut scores = [f32::NAN, 0.0, 0.5, f32::NAN, 1.0, -0.0];
        scores.sort_by(|a, b| highest_first(*a, *b));
        assert_eq!(scores[..4], [1.0, 0.5, 0.0, -0.0]);
        assert!(scores[2].is_sign_positive(), "0.0 and -0.0 tie, so they keep their order");
    }
}
