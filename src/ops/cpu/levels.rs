//! The boxes of each map of a pyramid, for a kernel that works on one map.

use crate::ops::options::RoiAlignOptions;

/// The boxes that are pooled from one map.
pub(super) struct LevelBoxes {
    /// Which of all boxes they are.
    pub boxes: Vec<usize>,
    /// Image index and box.
    pub rois: Vec<[f32; 5]>,
    /// With the scale of this map.
    pub options: RoiAlignOptions,
}

/// All boxes, by map.
pub(super) struct Levels {
    pub levels: Vec<LevelBoxes>,
    count: usize,
}

impl Levels {
    /// One entry for each map, also for a map without boxes.
    pub fn new(rois: &[f32], min_areas: &[f32], options: RoiAlignOptions) -> Self {
        let boxes_of = |level: usize| LevelBoxes {
            boxes: Vec::new(),
            rois: Vec::new(),
            options: RoiAlignOptions {
                spatial_scale: options.spatial_scale / (1 << level) as f32,
                ..options
            },
        };
        let mut levels: Vec<LevelBoxes> = (0..=min_areas.len()).map(boxes_of).collect();
        let (rois, _) = rois.as_chunks::<5>();
        for (index, roi) in rois.iter().enumerate() {
            let [_, x1, y1, x2, y2] = roi;
            let area = (x2 - x1) * (y2 - y1);
            let level = &mut levels[min_areas.iter().filter(|&&least| area >= least).count()];
            level.boxes.push(index);
            level.rois.push(*roi);
        }
        Self { levels, count: rois.len() }
    }

    /// Puts the rows of each map's boxes, `length` elements each, into the order of all boxes.
    pub fn join(&self, mut rows: Vec<Vec<f32>>, length: usize) -> Vec<f32> {
        if let Some(level) = self.level_of_all() {
            return rows.swap_remove(level);
        }
        let mut output = vec![0.0; self.count * length];
        for (level, rows) in self.levels.iter().zip(rows) {
            for (&index, row) in level.boxes.iter().zip(rows.chunks_exact(length)) {
                output[index * length..][..length].copy_from_slice(row);
            }
        }
        output
    }

    /// The reverse of [`join`](Self::join): the rows of each map's boxes.
    pub fn split(&self, rows: &[f32], length: usize) -> Vec<Vec<f32>> {
        let rows_of = |level: &LevelBoxes| {
            let mut output = Vec::with_capacity(level.boxes.len() * length);
            for &index in &level.boxes {
                output.extend_from_slice(&rows[index * length..][..length]);
            }
            output
        };
        self.levels.iter().map(rows_of).collect()
    }

    /// The map that all boxes are pooled from, if there is only one.
    fn level_of_all(&self) -> Option<usize> {
        self.levels.iter().position(|level| level.boxes.len() == self.count)
    }
}
