//! The own operations on shapes of a 640 x 640 image: RoIAlign of 512 boxes on P2..P5, and NMS.

mod work;

use std::hint::black_box;

use burn::tensor::Device;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use faster_rcnn::structures::iou;
use work::boxes::{IOU_THRESHOLD, Nms, RoiAlign};

fn roi_align(criterion: &mut Criterion) {
    let work = RoiAlign::new(&Device::flex());
    // The operation is linear in the pyramid, so both of these are the gradient's product with its outcome.
    let forward = (work.forward() * work.grad.clone()).sum().into_scalar::<f64>();
    let products =
        work.backward().into_iter().zip(&work.pyramid).map(|(grad, map)| (grad * map.clone()).sum());
    let backward = products.map(|product| product.into_scalar::<f64>()).sum::<f64>();
    // Against the size of the sum's terms, of either sign.
    let scale = (work.grad.shape().num_elements() as f64).sqrt();
    assert!(
        (backward - forward).abs() < 1e-3 * scale,
        "backward is not forward's adjoint: {backward}, {forward}"
    );

    let mut group = criterion.benchmark_group("roi_align_512_boxes");
    group.bench_function("forward", |bencher| bencher.iter(|| black_box(work.forward())));
    group.bench_function("backward", |bencher| bencher.iter(|| black_box(work.backward())));
    group.finish();
}

fn nms(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("nms");
    for count in [1000, 4000, 12000] {
        let work = Nms::new(count, &Device::flex());
        check_nms(&work);
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| black_box(work.round()));
        });
    }
    group.finish();
}

/// A box stays exactly where no box of a higher score that stays overlaps it.
fn check_nms(work: &Nms) {
    let keep: Vec<i64> = work.round().into_data().iter::<i64>().collect();
    let Nms { boxes, scores, .. } = work;
    for (index, box_) in boxes.iter().enumerate() {
        let suppresses = |&other: &usize| {
            keep[other] == 1
                && (scores[other], index) > (scores[index], other) // of two equal ones the first
                && f64::from(iou(&boxes[other], box_)) > IOU_THRESHOLD
        };
        let suppressed = (0..boxes.len()).any(|other| suppresses(&other));
        assert_eq!(keep[index], i64::from(!suppressed), "box {index} of {}", boxes.len());
    }
}

criterion_group!(benches, roi_align, nms);
criterion_main!(benches);
