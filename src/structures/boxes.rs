//! Axis-aligned boxes, `[x1, y1, x2, y2]` in pixels with `0 <= x1 < x2 <= W`, as torchvision has them.

/// One box: left, top, right, bottom, in pixels.
pub type Xyxy = [f32; 4];

/// Area in square pixels; zero for a degenerate box.
pub fn area([x1, y1, x2, y2]: &Xyxy) -> f32 {
    (x2 - x1).max(0.0) * (y2 - y1).max(0.0)
}

/// Area that two boxes share, in square pixels.
pub fn intersection(a: &Xyxy, b: &Xyxy) -> f32 {
    let width = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let height = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    width * height
}

/// Intersection over union, in `0..=1`; zero where both boxes are empty (torchvision gives NaN there).
pub fn iou(a: &Xyxy, b: &Xyxy) -> f32 {
    let intersection = intersection(a, b);
    let union = area(a) + area(b) - intersection;
    if union > 0.0 { intersection / union } else { 0.0 }
}

/// Moves the corners that lie outside an image of `(height, width)` onto its border.
pub fn clip([x1, y1, x2, y2]: &Xyxy, (height, width): (usize, usize)) -> Xyxy {
    let (height, width) = (height as f32, width as f32);
    [x1.clamp(0.0, width), y1.clamp(0.0, height), x2.clamp(0.0, width), y2.clamp(0.0, height)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iou_of_half_overlap_touching_and_empty_boxes() {
        let a = [0.0, 0.0, 10.0, 10.0];
        assert_eq!(iou(&a, &[0.0, 0.0, 10.0, 5.0]), 0.5);
        assert_eq!(iou(&a, &[10.0, 0.0, 20.0, 10.0]), 0.0);
        assert_eq!(iou(&[5.0; 4], &[5.0; 4]), 0.0);
    }

    #[test]
    fn clip_keeps_the_border_inside() {
        let clipped = clip(&[-3.0, 2.0, 50.0, 21.0], (20, 40));
        assert_eq!(clipped, [0.0, 2.0, 40.0, 20.0]);
    }
}
