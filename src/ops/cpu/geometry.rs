//! Shapes and steps of one convolution.

/// Shapes and steps of one convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    /// `[N, C in, H, W]`
    pub x: [usize; 4],
    /// `[C out, C in, kernel height, kernel width]`
    pub weight: [usize; 4],
    /// `[N, C out, H out, W out]`
    pub output: [usize; 4],
    /// Vertical, horizontal.
    pub stride: [usize; 2],
    /// Above and below, left and right.
    pub padding: [usize; 2],
    /// Vertical, horizontal.
    pub dilation: [usize; 2],
}

impl Geometry {
    pub fn output_pixels(&self) -> usize {
        self.output[2] * self.output[3]
    }

    pub fn input_pixels(&self) -> usize {
        self.x[2] * self.x[3]
    }

    /// Inputs of one output: `C in * kernel height * kernel width`.
    pub fn rows(&self) -> usize {
        self.weight[1..].iter().product()
    }

    /// Kernel 1x1 of stride 1: the map is its own columns.
    pub fn pointwise(&self) -> bool {
        self.weight[2..] == [1, 1] && self.stride == [1, 1] && self.padding == [0, 0]
    }

    /// Kernel 3x3 of stride 1, padded by 1: what [`super::winograd`] computes.
    pub fn suits_winograd(&self) -> bool {
        self.weight[2..] == [3, 3] && [self.stride, self.padding, self.dilation] == [[1, 1]; 3]
    }
}
