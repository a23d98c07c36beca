//! What the detector found: on the device, and read from it.
//!
//! Shape letters: N images, D slots for detections in each.

use burn::tensor::{Int, Tensor};

use super::exclusion::Exclusion;
use super::scored_boxes::ScoredBoxes;
use super::transform::{ImageList, resize_box};
use crate::structures::Detection;

/// The detections of a batch on the device that computed them.
#[derive(Debug, Clone)]
pub struct DeviceDetections {
    /// By falling score, in pixels of the resized images, `[N, D, 4]` and `[N, D]`.
    best: ScoredBoxes,
    /// Class of each, `[N, D]`.
    labels: Tensor<2, Int>,
    /// How classes exclude each other, once all is read.
    exclusion: Exclusion,
    /// `[F]`, 1 or 0 each; see [`with_flags`](Self::with_flags).
    flags: Option<Tensor<1>>,
}

/// The detections of a batch, read from the device.
#[derive(Debug, Clone, PartialEq)]
pub struct HostDetections {
    /// Those of each image by falling score, in pixels of the original images.
    pub detections: Vec<Vec<Detection>>,
    /// The flags of [`DeviceDetections::with_flags`]; empty where there were none.
    pub flags: Vec<bool>,
}

impl DeviceDetections {
    /// `labels` are the classes of `best`, `[N, D]`.
    pub fn new(best: ScoredBoxes, labels: Tensor<2, Int>, exclusion: Exclusion) -> Self {
        Self { best, labels, exclusion, flags: None }
    }

    /// Makes [`download`](Self::download) read other values in the same transfer: `[F]`, 1 or 0 each.
    #[must_use]
    pub fn with_flags(self, flags: Tensor<1>) -> Self {
        Self { flags: Some(flags), ..self }
    }

    /// Reads everything from the device at once. `images` are those that the detections were found in.
    pub fn download(self, images: &ImageList) -> HostDetections {
        let [batch, slots] = self.best.scores.dims();
        let columns =
            vec![self.best.boxes, self.labels.float().unsqueeze_dim(2), self.best.scores.unsqueeze_dim(2)];
        let found = Tensor::cat(columns, 2).flatten::<1>(0, 2); // [N * D * 6]
        let data = match self.flags {
            Some(flags) => Tensor::cat(vec![found, flags], 0).into_data(),
            None => found.into_data(),
        };
        let mut values: Vec<f32> = data.try_into_vec().expect("boxes and scores are f32");
        let flags = values.split_off(batch * slots * 6).into_iter().map(|flag| flag == 1.0).collect();
        let (rows, _) = values.as_chunks::<6>();
        let sizes = images.resized_sizes.iter().zip(&images.original_sizes);
        let detections = rows.chunks_exact(slots).zip(sizes).map(|(rows, (&resized, &original))| {
            let detection = |row: &[f32; 6]| {
                let [x1, y1, x2, y2, label, score] = *row;
                let xyxy = resize_box(&[x1, y1, x2, y2], resized, original);
                (score >= 0.0).then_some(Detection { xyxy, label: label as usize, score })
            };
            let mut found = rows.iter().filter_map(detection).collect();
            self.exclusion.apply(&mut found);
            found
        });
        HostDetections { detections: detections.collect(), flags }
    }
}
