//! The boxes of each map of a pyramid, for a kernel that knows one map.

use crate::ops::options::RoiAlignOptions;

/// The boxes that are pooled from one map.
pub(super) struct Part {
    /// Which of all boxes they are.
    pub boxes: Vec<usize>,
    /// Image index and box.
    pub rois: Vec<[f32; 5]>,
    /// With the scale of this map.
    pub options: RoiAlignOptions,
}

/// All boxes, by map.
pub(super) struct Levels {
    pub parts: Vec<Part>,
    count: usize,
}

impl Levels {
    /// A part for each map, also for those without boxes.
    pub fn new(rois: &[f32], min_areas: &[f32], options: RoiAlignOptions) -> Self {
        let part = |level: usize| Part {
            boxes: Vec::new(),
            rois: Vec::new(),
            options: RoiAlignOptions {
                spatial_scale: options.spatial_scale / (1 << level) as f32,
                ..options
            },
        };
        let mut parts: Vec<Part> = (0..=min_areas.len()).map(part).collect();
        let (rois, _) = rois.as_chunks::<5>();
        for (index, roi) in rois.iter().enumerate() {
            let [_, x1, y1, x2, y2] = roi;
            let area = (x2 - x1) * (y2 - y1);
            let part = &mut parts[min_areas.iter().filter(|&&least| area >= least).count()];
            part.boxes.push(index);
            part.rois.push(*roi);
        }
        Self { parts, count: rois.len() }
    }

    /// Rows of each part, of `length` elements, in the order of all boxes.
    pub fn join(&self, mut rows: Vec<Vec<f32>>, length: usize) -> Vec<f32> {
        if let Some(level) = self.level_of_all() {
            return rows.swap_remove(level);
        }
        let mut output = vec![0.0; self.count * length];
        for (part, rows) in self.parts.iter().zip(rows) {
            for (&index, row) in part.boxes.iter().zip(rows.chunks_exact(length)) {
                output[index * length..][..length].copy_from_slice(row);
            }
        }
        output
    }

    /// The reverse of [`join`](Self::join).
    pub fn split(&self, rows: &[f32], length: usize) -> Vec<Vec<f32>> {
        let rows_of = |part: &Part| {
            let mut output = Vec::with_capacity(part.boxes.len() * length);
            for &index in &part.boxes {
                output.extend_from_slice(&rows[index * length..][..length]);
            }
            output
        };
        self.parts.iter().map(rows_of).collect()
    }

    /// The one map that all boxes are pooled from, if it is one.
    fn level_of_all(&self) -> Option<usize> {
        self.parts.iter().position(|part| part.boxes.len() == self.count)
    }
}
