//! The whole detector, ResNet-50-FPN at 640 x 640: an image to detections, and a step of training on two.

mod work;

use std::hint::black_box;

use burn::tensor::Device;
use criterion::{Criterion, criterion_group, criterion_main};
use faster_rcnn::NormKind;
use work::{Inference, Size, Training};

const SIZE: Size = (640, 640);

/// What torchvision 0.29.2 gives for the same work, as `compare_torchvision.py` prints it: the number of
/// detections and the sum of their scores, and the four losses.
const DETECTIONS: [f64; 2] = [100.0, 48.36839];
const LOSSES: [f64; 4] = [0.7908992, 0.3707285, 0.3508739, 0.0735606];

/// Relative, of outcomes summed over the whole model in f32; `compare_torchvision.py` asks for as much.
const AGREEMENT: f64 = 1e-3;

fn check(outcome: &[f64], expected: &[f64]) {
    let agrees = |(a, b): (&f64, &f64)| (a - b).abs() <= AGREEMENT * b.abs();
    assert!(
        outcome.len() == expected.len() && outcome.iter().zip(expected).all(agrees),
        "{outcome:?} is not torchvision's {expected:?}"
    );
}

fn model(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("resnet50_fpn_640");
    group.sample_size(10);
    let inference = Inference::new(1, SIZE, &Device::flex());
    check(&inference.round(), &DETECTIONS);
    group.bench_function("inference", |bencher| bencher.iter(|| black_box(inference.round())));

    let mut training = Training::new(2, SIZE, NormKind::FrozenBatch, 5, &Device::flex());
    check(&training.round(), &LOSSES);
    group.bench_function("training_step_batch_2", |bencher| bencher.iter(|| black_box(training.round())));
    group.finish();
}

criterion_group!(benches, model);
criterion_main!(benches);
