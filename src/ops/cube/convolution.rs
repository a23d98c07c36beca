//! Convolutions as implicit matrix products (cubek): the columns of a patch matrix are read from the image
//! when they are needed, so no such matrix is stored.
//!
//! burn's own way would be to try a dozen kernels for each shape and to keep the fastest. On CUDA that takes
//! minutes at every start, because each kernel is compiled first, and the choice, and with it the last digits
//! of every result, differ from run to run. So the kernel is chosen here, by what the device has:
//!
//! - tensor cores, in f16 and bf16, and in f32 as TF32 (10 bits of mantissa, sums in f32), as PyTorch does by
//!   default, unless [`set_allow_tf32`] forbids it;
//! - else registers, exact f32.
//!
//! | pass | matrix product, rows x sum x columns |
//! |---|---|
//! | forward | pixels of the output x (kernel x channels in) x channels out |
//! | gradient of the input | pixels of the input x (kernel x channels out) x channels in |
//! | gradient of the weight | channels out x pixels of the output x (kernel x channels in) |

use std::sync::atomic::{AtomicBool, Ordering};

use burn::backend::TensorMetadata;
use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use burn::tensor::{DType, Shape, Slice};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::conv::{ConvTranspose2dStrategy, conv_transpose2d};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::ops::{permute_nchw_to_nhwc, permute_nchw_to_nhwc_shape, permute_nhwc_to_nchw};
use burn_cubecl::tensor::CubeTensor;
use cubek::convolution::components::ConvSetupError;
use cubek::convolution::{
    AcceleratedTileKind, ConvAlgorithm, ConvolutionArgs, ConvolutionInputs, Strategy, UnitStrategy,
    launch_ref,
};
use cubek::matmul::definition::{MatmulElems, MatmulGlobalElems};
use cubek::matmul::multi_level::routines::TileSizeSelection;
use cubek::std::InputBinding;

/// The gradient of a weight for images of so many channels goes by patches.
const FEW_CHANNELS: usize = 4;
/// Parts of an image, of whole rows, whose patches are multiplied by themselves.
const MOST_BANDS: usize = 32;

static ALLOW_TF32: AtomicBool = AtomicBool::new(true);

/// Whether convolutions of f32 may use TF32 tensor cores; true by default, as
/// `torch.backends.cudnn.allow_tf32`.
pub fn set_allow_tf32(allow: bool) {
    ALLOW_TF32.store(allow, Ordering::Relaxed);
}

/// Whether tensor cores multiply tensors like this one.
fn takes_tensor_cores(like: &CubeTensor) -> bool {
    has_tensor_cores(like) && (like.dtype != DType::F32 || ALLOW_TF32.load(Ordering::Relaxed))
}

/// Whether burn's matrix product may be used, which uses tensor cores wherever they are.
fn takes_matrix_product(like: &CubeTensor) -> bool {
    takes_tensor_cores(like) || !has_tensor_cores(like)
}

fn has_tensor_cores(like: &CubeTensor) -> bool {
    !like.client.properties().features.matmul.cmma.is_empty()
}

/// Kernels for tensors of this type on this device, the preferred one first.
fn strategies(like: &CubeTensor) -> Vec<Strategy> {
    let is_f32 = like.dtype == DType::F32;
    let mut strategies = Vec::new();
    if takes_tensor_cores(like) {
        strategies.push(Strategy::Inferred {
            algorithm: ConvAlgorithm::SimpleSyncCyclic,
            tile_kind: AcceleratedTileKind::Cmma,
        });
    }
    if is_f32 {
        strategies.push(Strategy::Unit(UnitStrategy::Inferred(TileSizeSelection::MaxTileSize)));
        strategies.push(Strategy::Unit(UnitStrategy::Inferred(TileSizeSelection::MinTileSize)));
    }
    strategies
}

/// `[N, H out, W out, C out]` seen as `[N, C out, H out, W out]`, of `x` and `weight`; none where no kernel
/// takes them.
pub(super) fn forward(
    x: &CubeTensor,
    weight: &CubeTensor,
    bias: &CubeTensor,
    options: &ConvOptions<2>,
) -> Option<CubeTensor> {
    let ([batch, _, height, width], [outputs, _, kernel_y, kernel_x]) =
        (x.shape().dims::<4>(), weight.shape().dims::<4>());
    let side = |axis: usize, side: usize, kernel: usize| {
        let (before, after) = options.padding[axis];
        let reach = options.dilation[axis] * (kernel - 1) + 1;
        (side + before + after - reach) / options.stride[axis] + 1
    };
    let shape = [batch, side(0, height, kernel_y), side(1, width, kernel_x), outputs];
    let (x, weight) = (permute_nchw_to_nhwc(x.clone()), permute_nchw_to_nhwc(weight.clone()));
    let (input, weight, bias) = (binding(&x), binding(&weight), binding(bias));
    run(&x, shape.into(), options, |out| ConvolutionInputs::Forward {
        input: input.clone(),
        weight: weight.clone(),
        bias: Some(bias.clone()),
        out: out.binding(),
    })
}

/// The gradient of `x`, of that `shape`, `[N, C in, H, W]`; none where no kernel takes it.
pub(super) fn input_backward(
    weight: &CubeTensor,
    grad: &CubeTensor,
    shape: [usize; 4],
    options: &ConvOptions<2>,
) -> Option<CubeTensor> {
    if options.stride != [1, 1] {
        return strided_input_backward(weight, grad, shape, options);
    }
    let nhwc = permute_nchw_to_nhwc_shape(shape.into());
    let (grad, weight) = (permute_nchw_to_nhwc(grad.clone()), permute_nchw_to_nhwc(weight.clone()));
    let (out_grad, weights) = (binding(&grad), binding(&weight));
    run(&grad, nhwc, options, |out| ConvolutionInputs::BackwardData {
        out_grad: out_grad.clone(),
        weights: weights.clone(),
        in_grad: out.binding(),
    })
}

/// The kernels take steps of 1 only.
///
/// - On tensor cores as a transposed convolution: burn's matrix product, which computes in TF32, too, and
///   whose columns are then added where they belong.
/// - Else with zeros between the gradients, as if the steps were 1: four times the products for steps of 2.
fn strided_input_backward(
    weight: &CubeTensor,
    grad: &CubeTensor,
    shape: [usize; 4],
    options: &ConvOptions<2>,
) -> Option<CubeTensor> {
    if options.is_asymmetric() {
        return None;
    }
    let [_, _, height, width] = shape;
    let padding = options.padding_begin();
    let ([_, _, kernel_y, kernel_x], [batch, outputs, rows, columns]) =
        (weight.shape().dims(), grad.shape().dims());
    // Windows along an axis if the steps were 1.
    let dense = |axis: usize, side: usize, kernel: usize| {
        side + 2 * padding[axis] - options.dilation[axis] * (kernel - 1)
    };
    let (dense_rows, dense_columns) = (dense(0, height, kernel_y), dense(1, width, kernel_x));
    let reached = |count: usize, step: usize| (count - 1) * step + 1;
    let (reached_rows, reached_columns) =
        (reached(rows, options.stride[0]), reached(columns, options.stride[1]));
    if takes_tensor_cores(grad) {
        // What the last window does not reach.
        let padding_out = [dense_rows - reached_rows, dense_columns - reached_columns];
        let options =
            ConvTransposeOptions::new(options.stride, padding, padding_out, options.dilation, options.groups);
        let strategy = ConvTranspose2dStrategy::Gemm;
        return conv_transpose2d(grad.clone(), weight.clone(), None, options, strategy).ok();
    }
    let dense_shape = Shape::from([batch, outputs, dense_rows, dense_columns]);
    let zeros = CubeBackend::float_zeros(dense_shape, &grad.device, grad.dtype.into());
    let places = [
        Slice::from(0..batch),
        Slice::from(0..outputs),
        Slice::new(0, Some(reached_rows as isize), options.stride[0] as isize),
        Slice::new(0, Some(reached_columns as isize), options.stride[1] as isize),
    ];
    let grad = CubeBackend::float_slice_assign(zeros, &places, grad.clone());
    let options = ConvOptions { stride: [1, 1], ..options.clone() };
    input_backward(weight, &grad, shape, &options)
}

/// The gradient of the weight, of that `shape`, `[C out, C in, kernel height, kernel width]`; none where no
/// kernel takes it.
pub(super) fn weight_backward(
    x: &CubeTensor,
    grad: &CubeTensor,
    shape: [usize; 4],
    options: &ConvOptions<2>,
) -> Option<CubeTensor> {
    let by_patches = shape[1] <= FEW_CHANNELS && grad.shape().num_elements() > 0;
    if by_patches && !options.is_asymmetric() && options.groups == 1 && takes_matrix_product(grad) {
        return Some(weight_backward_by_patches(x, grad, shape, options));
    }
    let nhwc = permute_nchw_to_nhwc_shape(shape.into());
    let (x, grad) = (permute_nchw_to_nhwc(x.clone()), permute_nchw_to_nhwc(grad.clone()));
    let (input, out_grad) = (binding(&x), binding(&grad));
    run(&x, nhwc, options, |out| ConvolutionInputs::BackwardWeight {
        input: input.clone(),
        out_grad: out_grad.clone(),
        weight_grad: out.binding(),
    })
}

/// As [`weight_backward`] of an image's few channels. Their gradient is one tile of the kernel's, which adds
/// all pixels by itself: 32 ms of a training step on an H100. So the patches are stored, and a matrix product
/// for every few rows of every image gives parts that are added up.
fn weight_backward_by_patches(
    x: &CubeTensor,
    grad: &CubeTensor,
    [outputs, channels, kernel_y, kernel_x]: [usize; 4],
    options: &ConvOptions<2>,
) -> CubeTensor {
    type B = CubeBackend;
    let [batch, _, height, width] = x.shape().dims();
    let [_, _, rows, columns] = grad.shape().dims();
    let [pad_y, pad_x] = options.padding_begin();
    let shape = Shape::from([batch, height + 2 * pad_y, width + 2 * pad_x, channels]);
    let inside: [Slice; 4] = [
        (0..batch).into(),
        (pad_y..pad_y + height).into(),
        (pad_x..pad_x + width).into(),
        (0..channels).into(),
    ];
    let padded = B::float_zeros(shape, &x.device, x.dtype.into());
    let padded = B::float_slice_assign(padded, &inside, permute_nchw_to_nhwc(x.clone()));
    let along = |first: usize, axis: usize, count: usize| {
        let (first, step) = (first * options.dilation[axis], options.stride[axis]);
        Slice::new(first as isize, Some((first + (count - 1) * step + 1) as isize), step as isize)
    };
    let places = (0..kernel_y).flat_map(|y| (0..kernel_x).map(move |x| (y, x)));
    let patches = places.map(|(y, x)| {
        let slices = [inside[0], along(y, 0, rows), along(x, 1, columns), inside[3]];
        B::float_slice(padded.clone(), &slices)
    });
    let patches = B::float_cat(patches.collect(), 3);

    let bands = (1..=MOST_BANDS).rev().find(|bands| rows.is_multiple_of(*bands)).expect("1 divides all");
    let pixels = rows / bands * columns;
    let patch = kernel_y * kernel_x * channels;
    let patches = B::float_reshape(patches, [batch * bands, pixels, patch].into());
    let grad = permute_nchw_to_nhwc(grad.clone());
    let grad = B::float_reshape(grad, [batch * bands, pixels, outputs].into());
    let parts = B::float_matmul(B::float_swap_dims(grad, 1, 2), patches);
    let sums = B::float_sum_dim(parts, 0);
    permute_nhwc_to_nchw(B::float_reshape(sums, [outputs, kernel_y, kernel_x, channels].into()))
}

fn binding(tensor: &CubeTensor) -> InputBinding {
    InputBinding::new(tensor.clone().binding(), dtype_to_storage_type(tensor.dtype))
}

/// Launches the first kernel that takes these inputs. `shape` is that of the output, channels last; it comes
/// back seen with channels second.
fn run(
    like: &CubeTensor,
    shape: Shape,
    options: &ConvOptions<2>,
    inputs: impl Fn(CubeTensor) -> ConvolutionInputs,
) -> Option<CubeTensor> {
    if options.is_asymmetric() || options.groups != 1 || shape.num_elements() == 0 {
        return None;
    }
    let elem = dtype_to_storage_type(like.dtype);
    let launch = |strategy: &Strategy| -> Result<CubeTensor, ConvSetupError> {
        let out = empty_device_contiguous_dtype(
            like.client.clone(),
            like.device.clone(),
            shape.clone(),
            like.dtype,
        );
        let args = ConvolutionArgs {
            stride: options.stride,
            padding: options.padding_begin(),
            dilation: options.dilation,
        };
        let elems = MatmulElems::from_globals(&MatmulGlobalElems { lhs: elem, rhs: elem, out: elem });
        launch_ref::<2>(strategy, &like.client, inputs(out.clone()), args, elems)?;
        Ok(permute_nhwc_to_nchw(out))
    };
    strategies(like).iter().find_map(|strategy| launch(strategy).ok())
}
