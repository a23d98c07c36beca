//! The own operations on shapes of a 640 x 640 image: RoIAlign of 512 boxes on P2..P5, and NMS.

use std::hint::black_box;

use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use faster_rcnn::model::roi_pool::{multi_scale_roi_align, rois_of};
use faster_rcnn::ops::batched_nms;
use faster_rcnn::structures::{Xyxy, iou};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SIZE: f32 = 640.0;
const CHANNELS: usize = 256;
/// Sides of P2..P5.
const SIDES: [usize; 4] = [160, 80, 40, 20];
const IOU_THRESHOLD: f64 = 0.7;

/// Boxes inside the image with sides of 8 to 600 pixels, small ones more often, so that every level of the
/// pyramid gets some.
fn boxes(count: usize, seed: u64) -> Vec<Xyxy> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut side = || 8.0 * 75_f32.powf(random.random());
    let sides: Vec<_> = (0..count).map(|_| [side(), side()]).collect();
    let place = |[width, height]: [f32; 2]| {
        let x = random.random_range(0.0..SIZE - width);
        let y = random.random_range(0.0..SIZE - height);
        [x, y, x + width, y + height]
    };
    sides.into_iter().map(place).collect()
}

fn roi_align(criterion: &mut Criterion) {
    let device = Device::flex().autodiff();
    device.seed(0);
    let random = |shape: [usize; 4]| Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &device);
    let pyramid = SIDES.map(|side| random([1, CHANNELS, side, side]));
    let rois = rois_of(&[boxes(512, 0)], &device).inner();
    let pool = |pyramid: &[Tensor<4>]| multi_scale_roi_align(pyramid, rois.clone(), 7, 2);
    let weights = random([512, CHANNELS, 7, 7]);
    let tracked = || pyramid.clone().map(Tensor::require_grad);
    let loss = |pyramid: &[Tensor<4>]| (pool(pyramid) * weights.clone()).sum();

    // The operation is linear in the pyramid, so the pyramid times the gradient is the loss.
    let leaves = tracked();
    let expected = loss(&leaves);
    let gradients = expected.backward();
    let product = |level: &Tensor<4>| {
        let gradient = level.grad(&gradients).expect("every level has boxes");
        (gradient * level.clone().inner()).sum().into_scalar::<f64>()
    };
    let (actual, expected) = (leaves.iter().map(product).sum::<f64>(), expected.into_scalar::<f64>());
    // Against the size of the sum's terms: there are 6.4 million, of either sign.
    let scale = (512.0 * CHANNELS as f64 * 49.0).sqrt();
    assert!(
        (actual - expected).abs() < 1e-3 * scale,
        "backward is not forward's adjoint: {actual}, {expected}"
    );

    let mut group = criterion.benchmark_group("roi_align_512_boxes");
    let plain = pyramid.clone().map(Tensor::inner);
    group.bench_function("forward", |bencher| bencher.iter(|| black_box(pool(&plain))));
    group.bench_function("backward", |bencher| {
        let forward = || loss(&tracked());
        bencher.iter_batched(forward, |loss| black_box(loss.backward()), BatchSize::PerIteration);
    });
    group.finish();
}

fn nms(criterion: &mut Criterion) {
    let device = Device::flex();
    let mut group = criterion.benchmark_group("nms");
    for count in [1000, 4000, 12000] {
        let boxes = boxes(count, 1);
        let mut random = ChaCha8Rng::seed_from_u64(2);
        let scores: Vec<f32> = (0..count).map(|_| random.random()).collect();
        let flat = TensorData::new(boxes.concat(), [1, count, 4]);
        let (box_tensor, score_tensor) = (
            Tensor::<3>::from_data(flat, &device),
            Tensor::<1>::from_floats(scores.as_slice(), &device).unsqueeze(),
        );
        let groups = Tensor::<2, Int>::zeros([1, count], &device);
        let run = || batched_nms(box_tensor.clone(), score_tensor.clone(), groups.clone(), IOU_THRESHOLD);
        check_nms(&boxes, &scores, &run().into_data().iter::<i64>().collect::<Vec<_>>());
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| black_box(run()));
        });
    }
    group.finish();
}

/// A box stays exactly where no box of a higher score that stays overlaps it.
fn check_nms(boxes: &[Xyxy], scores: &[f32], keep: &[i64]) {
    for (index, box_) in boxes.iter().enumerate() {
        let suppresses = |&other: &usize| {
            keep[other] == 1
                && scores[other] > scores[index]
                && f64::from(iou(&boxes[other], box_)) > IOU_THRESHOLD
        };
        let suppressed = (0..boxes.len()).any(|other| suppresses(&other));
        assert_eq!(keep[index], i64::from(!suppressed), "box {index} of {}", boxes.len());
    }
}

criterion_group!(benches, roi_align, nms);
criterion_main!(benches);
