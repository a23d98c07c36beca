//! Options of the operations, and the shapes of outputs that follow from them.

use burn::tensor::Tensor;
use burn::tensor::ops::ConvOptions;

/// Most samples of a bin along one axis. With a `sampling_ratio` of 0, a bin of more pixels, as of an
/// infinite box, takes no sample and is 0; torchvision's number of samples overflows there.
pub(super) const MOST_SAMPLES: usize = 65_535;

/// How RoIAlign samples a box; the meaning of each field is that of `torchvision.ops.roi_align`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoiAlignOptions {
    /// Bins of the output, `(height, width)`.
    pub output_size: (usize, usize),
    /// Pixels of the (first) feature map per pixel of the image the boxes are given in.
    pub spatial_scale: f32,
    /// Samples per bin and axis; 0 takes as many as the bin has pixels.
    pub sampling_ratio: usize,
    /// Shift boxes by half a pixel. Faster R-CNN's models use `false`.
    pub aligned: bool,
}

/// Which elements are normalised together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormOptions {
    /// Group norm with this many groups of channels, each image by itself; `None` for batch norm: a channel
    /// in all images.
    pub groups: Option<usize>,
    /// Added to the variance.
    pub epsilon: f64,
}

/// Windows of max pooling; each value is for the vertical, then the horizontal axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PoolOptions {
    /// Pixels of a window.
    pub kernel: [usize; 2],
    /// Pixels from one window to the next.
    pub stride: [usize; 2],
    /// Pixels by which the first and the last window may reach out of the map, at most half of a window.
    pub padding: [usize; 2],
}

/// Steps after a convolution or a norm, in the same pass over the map: `relu(y + residual)`, each step only
/// if requested.
///
/// ```
/// # use faster_rcnn::burn::tensor::Tensor;
/// # use faster_rcnn::ops::Fused;
/// # let shortcut = Tensor::<4>::zeros([1, 1, 2, 2], &Default::default());
/// let end_of_a_block = Fused::default().plus(shortcut).relu();
/// # assert!(end_of_a_block.relu && end_of_a_block.residual.is_some());
/// ```
#[derive(Debug, Clone, Default)]
pub struct Fused {
    /// Added to the output, `[N, C out, H out, W out]` like it.
    pub residual: Option<Tensor<4>>,
    /// Whether negative values become 0 in the end.
    pub relu: bool,
}

impl Fused {
    /// Adds `residual`, a tensor of the output's shape.
    #[must_use]
    pub fn plus(self, residual: Tensor<4>) -> Self {
        Self { residual: Some(residual), ..self }
    }

    /// Ends with a ReLU.
    #[must_use]
    pub fn relu(self) -> Self {
        Self { relu: true, ..self }
    }
}

/// The group of an entry that is no box: [`batched_nms`](super::batched_nms) neither keeps it nor lets it
/// suppress others.
pub const ABSENT: i32 = i32::MIN;

/// The shape of [`conv2d`](super::conv2d)'s output.
pub(super) fn conv2d_shape(x: [usize; 4], weight: [usize; 4], options: &ConvOptions<2>) -> [usize; 4] {
    let side = |axis: usize| {
        let reach = options.dilation[axis] * (weight[2 + axis] - 1) + 1;
        let (before, after) = options.padding[axis];
        let room = (x[2 + axis] + before + after).checked_sub(reach);
        room.map_or(0, |room| room / options.stride[axis] + 1)
    };
    [x[0], weight[0], side(0), side(1)]
}

/// The shape of [`max_pool2d`](super::max_pool2d)'s output.
pub(super) fn pool_shape([batch, channels, height, width]: [usize; 4], options: PoolOptions) -> [usize; 4] {
    let side = |axis: usize, side: usize| {
        (side + 2 * options.padding[axis] - options.kernel[axis]) / options.stride[axis] + 1
    };
    [batch, channels, side(0, height), side(1, width)]
}
