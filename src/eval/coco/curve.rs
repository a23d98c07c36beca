//! Precision over recall of one class, at one IoU threshold and in one range of areas.

use std::ops::RangeInclusive;

use super::matching::{ClassImage, MAX_DETECTIONS, Outcome};
use crate::eval::image_result::ImageResult;
use crate::eval::ranking::highest_first;

/// IoU thresholds .50:.05:.95.
pub const THRESHOLDS: usize = 10;
/// Recalls 0, .01, .., 1 at which precision is read.
pub const RECALLS: usize = 101;

/// Bit for bit `numpy.linspace(.5, .95, 10)[i]`. An IoU equal to the threshold is a match, so the last bit
/// counts.
pub fn iou_threshold(i: usize) -> f64 {
    0.5 + (0.95 - 0.5) / 9.0 * i as f64
}

/// Bit for bit `numpy.linspace(0, 1, 101)[i]`.
pub fn recall_level(i: usize) -> f64 {
    0.01 * i as f64
}

pub fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

/// All images, seen by one class.
pub struct Class {
    images: Vec<ClassImage>,
    /// `(image, detection)` of all images by falling score; ties in the order of the images.
    ranking: Vec<(usize, usize)>,
}

/// Precision at every recall level, and the final recall for each of [`MAX_DETECTIONS`].
pub struct Curve {
    pub precision: [f64; RECALLS],
    pub recall: [f64; MAX_DETECTIONS.len()],
}

impl Curve {
    pub fn average_precision(&self) -> f64 {
        mean(self.precision.iter().copied())
    }
}

impl Class {
    pub fn new(results: &[ImageResult], label: usize) -> Self {
        let images: Vec<ClassImage> = results.iter().map(|result| ClassImage::new(result, label)).collect();
        let mut ranking: Vec<(usize, usize)> = images
            .iter()
            .enumerate()
            .flat_map(|(i, image)| (0..image.found.len()).map(move |d| (i, d)))
            .collect();
        ranking.sort_by(|a, b| highest_first(images[a.0].found[a.1].score, images[b.0].found[b.1].score));
        Self { images, ranking }
    }

    /// `None` where no object of this class lies in the range of areas.
    pub fn curve(&self, areas: &RangeInclusive<f64>, iou_threshold: f64) -> Option<Curve> {
        let truths = self.images.iter().flat_map(|image| &image.truths);
        let objects = truths.filter(|truth| !truth.ignored(areas)).count() as f64;
        if objects == 0.0 {
            return None;
        }
        let outcomes: Vec<Vec<Outcome>> =
            self.images.iter().map(|image| image.outcomes(areas, iou_threshold)).collect();

        let (mut hits, mut misses) = (0.0, 0.0);
        let mut hits_within = [0.0; MAX_DETECTIONS.len()];
        let mut recalls = Vec::with_capacity(self.ranking.len());
        let mut precisions = Vec::with_capacity(self.ranking.len());
        for &(image, detection) in &self.ranking {
            match outcomes[image][detection] {
                Outcome::Ignored => continue,
                Outcome::Miss => misses += 1.0,
                Outcome::Hit => {
                    hits += 1.0;
                    for (count, max) in hits_within.iter_mut().zip(MAX_DETECTIONS) {
                        *count += if detection < max { 1.0 } else { 0.0 };
                    }
                }
            }
            recalls.push(hits / objects);
            // COCOeval adds 2e-16 to the denominator against 0/0, which cannot happen here. Without it, a
            // perfect AP is 1.
            precisions.push(hits / (hits + misses));
        }
        // From here on a precision is the best one at that recall or beyond.
        for i in (1..precisions.len()).rev() {
            precisions[i - 1] = f64::max(precisions[i - 1], precisions[i]);
        }
        let precision = std::array::from_fn(|i| {
            let first = recalls.partition_point(|&recall| recall < recall_level(i));
            precisions.get(first).copied().unwrap_or(0.0)
        });
        Some(Curve { precision, recall: hits_within.map(|hits| hits / objects) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_numpys_to_the_last_bit() {
        // numpy.linspace(.5, .95, 10); the last but one is not the double nearest to 0.9.
        let expected = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.8999999999999999, 0.95];
        assert_eq!(std::array::from_fn(iou_threshold), expected);
        assert_eq!(recall_level(35), 0.35000000000000003);
        assert_eq!(recall_level(100), 1.0);
    }
}
