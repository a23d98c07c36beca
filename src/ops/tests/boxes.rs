//! RoIAlign, top-k and non-maximum suppression.

use burn::tensor::{DType, Device, FloatDType, Int, Tensor, TensorData};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::reference::{self, Array};
use super::{
    Places, Source, assert_close, assert_differences, assert_repeatable, floats, gpu, gradient, integers,
    non_contiguous, on,
};
use crate::ops::functional::round_down;
use crate::ops::{ABSENT, RoiAlignOptions, batched_nms, pyramid_roi_align, roi_align, top_k};

#[test]
fn roi_align_equals_its_reference() {
    const NAN: f32 = f32::NAN;
    const INF: f32 = f32::INFINITY;
    let options = |output_size, spatial_scale, sampling_ratio, aligned| RoiAlignOptions {
        output_size,
        spatial_scale,
        sampling_ratio,
        aligned,
    };
    Places::new().for_each(|device| {
        let mut source = Source::new(device);
        let shape = [2, 5, 7, 11];
        let features = source.random(shape);
        for options in [
            options((3, 2), 1.0, 2, false),
            options((1, 4), 1.0, 0, true),
            options((2, 3), 0.25, 0, false),
            options((2, 2), 0.5, 3, true),
        ] {
            let awkward = [
                [3.0, 3.0, 3.0, 3.0],         // a point
                [2.0, 1.0, 2.0, 6.0],         // a line
                [8.0, 6.0, 2.0, 1.0],         // inverted
                [-1.0, -1.0, 0.0, 0.0],       // the last samples that count
                [10.0, 6.0, 11.0, 7.0],       // the last pixel
                [-20.0, -20.0, -10.0, -10.0], // outside
                [90.0, 90.0, 120.0, 95.0],
                [-300.0, -200.0, 400.0, 300.0], // around everything
                [-2e4, -1e4, 2e4, 3e4],
                [-1e30, -1e30, 1e30, 1e30],
                [-INF, -INF, INF, INF],
                [1.0, 1.0, INF, 5.0],
                [1.0, -INF, 5.0, 5.0],
                [NAN, 1.0, 5.0, 5.0],
                [1.0, NAN, 5.0, 5.0],
                [1.0, 1.0, NAN, 5.0],
                [1.0, 1.0, 5.0, NAN],
            ];
            let scaled = awkward.map(|box_| box_.map(|side| side / options.spatial_scale));
            let boxes = [scaled.as_slice(), &source.boxes(9, 11.0 / options.spatial_scale)].concat();
            for count in [0, 1, boxes.len()] {
                let what = format!("{count} boxes, {options:?}");
                let image = |index: usize| (index % 3 % 2) as f32;
                let rois = boxes[..count].iter().enumerate();
                let rois = rois.flat_map(|(index, [x1, y1, x2, y2])| [image(index), *x1, *y1, *x2, *y2]);
                let rois = source.tensor(rois.collect(), [count, 5]);

                let expected = reference::roi_align(&Array::from(&features), &rois, options);
                let actual = roi_align(features.clone(), rois.clone(), options);
                assert_close(&floats(&actual), &expected.values, &what);
                let strided = roi_align(non_contiguous(&features), non_contiguous(&rois), options);
                assert_close(&floats(&strided), &expected.values, &format!("{what}, not contiguous"));
                assert_repeatable(|| roi_align(features.clone(), rois.clone(), options), &what);

                let grad = source.random(actual.dims());
                let expected = reference::roi_align_backward(&Array::from(&grad), &rois, shape, options);
                let pool = |features: Tensor<4>| {
                    let rois = on(&features.device(), &rois);
                    roi_align(features, rois, options)
                };
                let actual = gradient(pool, &features, &grad);
                assert_close(&floats(&actual), &expected.values, &format!("{what}, backward"));
                assert_repeatable(|| gradient(pool, &features, &grad), &format!("{what}, backward"));
                let (grads, on_host) = (floats(&grad), on(&Device::flex(), &rois));
                let weighted =
                    |features: &Array<4>| reference::roi_align(features, &on_host, options).dot(&grads);
                assert_differences(&actual, &Array::from(&features), weighted, &what);
            }
        }
    });
}

/// A box whose image index is outside the batch must neither read foreign memory nor stop the program.
#[test]
fn a_box_of_no_image_pools_zeros() {
    let options =
        RoiAlignOptions { output_size: (2, 3), spatial_scale: 1.0, sampling_ratio: 2, aligned: false };
    let shape = [2, 5, 7, 11];
    Places::new().for_each(|device| {
        let mut source = Source::new(device);
        let features = source.random(shape);
        let images = [-1.0, 1.0, 2.0, 1e20, f32::INFINITY, f32::NEG_INFINITY];
        let rois: Vec<f32> = images.iter().flat_map(|image| [*image, 1.0, 2.0, 9.0, 6.0]).collect();
        let rois = source.tensor(rois, [images.len(), 5]);
        let grad = source.random([images.len(), 5, 2, 3]);
        let pool = |features: Tensor<4>| {
            let rois = on(&features.device(), &rois);
            roi_align(features, rois, options)
        };
        let pooled = floats(&pool(features.clone()));
        let row = 5 * 2 * 3;
        let is_zero = |row: &[f64]| row.iter().all(|value| *value == 0.0);
        let zeros: Vec<bool> = pooled.chunks(row).map(is_zero).collect();
        assert_eq!(zeros, [true, false, true, true, true, true]);
        let expected = reference::roi_align(&Array::from(&features), &rois, options);
        assert_close(&pooled, &expected.values, "forward");
        let expected = reference::roi_align_backward(&Array::from(&grad), &rois, shape, options);
        assert_close(&floats(&gradient(pool, &features, &grad)), &expected.values, "backward");
    });
}

#[test]
fn pyramid_roi_align_pools_each_box_from_its_map() {
    const NAN: f32 = f32::NAN;
    let options =
        RoiAlignOptions { output_size: (2, 3), spatial_scale: 0.5, sampling_ratio: 2, aligned: false };
    let min_areas = [100.0, 400.0, 1600.0];
    let shapes = [[2, 37, 20, 17], [2, 37, 10, 9], [2, 37, 5, 5], [2, 37, 3, 2]];
    Places::new().for_each(|device| {
        let mut source = Source::new(device);
        let maps = shapes.map(|shape| source.random(shape));
        let sides = [[10.0, 9.999], [10.0, 10.0], [20.0, 20.0], [39.0, 41.0], [40.0, 40.0], [0.0, 3.0]];
        let edges = sides.map(|[width, height]| [1.0, 2.0, 1.0 + width, 2.0 + height]);
        let awkward = [[0.0, 0.0, NAN, 50.0], [30.0, 30.0, 10.0, 10.0], [-9.0, -9.0, 90.0, 90.0]];
        let boxes = [edges.as_slice(), &awkward, &source.boxes(40, 40.0)].concat();
        for count in [0, 6, boxes.len()] {
            let rois = boxes[..count].iter().enumerate();
            let rois = rois.flat_map(|(index, [x1, y1, x2, y2])| [(index % 2) as f32, *x1, *y1, *x2, *y2]);
            let rois: Vec<f32> = rois.collect();
            let area = |roi: &[f32; 5]| (roi[3] - roi[1]) * (roi[4] - roi[2]);
            let level = |roi: &[f32; 5]| min_areas.iter().filter(|least| area(roi) >= **least).count();
            let grad: Tensor<4> = source.random([count, 37, 2, 3]);

            // Level by level with the other boxes' rows left out.
            let (grads, row) = (floats(&grad), 37 * 2 * 3);
            let mut expected = vec![0.0; count * row];
            let mut expected_grads = Vec::new();
            for (index, map) in maps.iter().enumerate() {
                let members: Vec<usize> =
                    (0..count).filter(|&roi| level(&rois.as_chunks::<5>().0[roi]) == index).collect();
                let of_level: Vec<f32> =
                    members.iter().flat_map(|&roi| &rois[roi * 5..][..5]).copied().collect();
                let of_level = source.tensor(of_level, [members.len(), 5]);
                let scale = options.spatial_scale / (1 << index) as f32;
                let options = RoiAlignOptions { spatial_scale: scale, ..options };
                let pooled = reference::roi_align(&Array::from(map), &of_level, options);
                let mut grad = Array::zeros([members.len(), 37, 2, 3]);
                for (position, &roi) in members.iter().enumerate() {
                    expected[roi * row..][..row].copy_from_slice(&pooled.values[position * row..][..row]);
                    grad.values[position * row..][..row].copy_from_slice(&grads[roi * row..][..row]);
                }
                expected_grads.push(reference::roi_align_backward(&grad, &of_level, shapes[index], options));
            }

            let rois = source.tensor(rois, [count, 5]);
            let pool = |maps: [Tensor<4>; 4]| {
                let rois = on(&maps[0].device(), &rois);
                pyramid_roi_align(maps, rois, min_areas, options)
            };
            let what = format!("{count} boxes");
            assert_close(&floats(&pool(maps.clone())), &expected, &what);
            assert_repeatable(|| pool(maps.clone()), &what);
            for (index, map) in maps.iter().enumerate() {
                let of_map = |map: Tensor<4>| {
                    let device = map.device();
                    let mut all = maps.each_ref().map(|map| on(&device, map));
                    all[index] = map;
                    pool(all)
                };
                let what = format!("{count} boxes, gradient of map {index}");
                let actual = gradient(of_map, map, &grad);
                assert_close(&floats(&actual), &expected_grads[index].values, &what);
                assert_repeatable(|| gradient(of_map, map, &grad), &what);
            }
        }
    });
}

#[test]
fn maps_of_half_precision_are_summed_in_single_precision() {
    let Some(device) = gpu() else { return };
    let options =
        RoiAlignOptions { output_size: (3, 2), spatial_scale: 1.0, sampling_ratio: 0, aligned: false };
    // bf16 is CUDA's only: WGSL has no such type.
    let bf16 = cfg!(feature = "cuda").then_some(FloatDType::BF16);
    for dtype in [FloatDType::F16].into_iter().chain(bf16) {
        if !device.supports_dtype(dtype) {
            println!("skipped: this device has no {dtype:?}");
            continue;
        }
        let mut source = Source::new(&device);
        // Numbers that both types hold, so that only sums are rounded: once, at the end, to 8 bits at least.
        let sixteenths = |tensor: Tensor<4>| (tensor * 16.0).round() / 16.0;
        let features = sixteenths(source.random([1, 3, 40, 40]));
        let boxes = source.boxes(20, 40.0);
        let rois = boxes.iter().flat_map(|[x1, y1, x2, y2]| [0.0, *x1, *y1, *x2, *y2]).collect();
        let rois = source.tensor(rois, [20, 5]);
        let expected = reference::roi_align(&Array::from(&features), &rois, options);
        let pooled = roi_align(features.cast(dtype), rois.clone(), options);
        assert_eq!(pooled.dtype(), dtype.into());
        for (actual, expected) in floats(&pooled).iter().zip(expected.values) {
            let close = (actual - expected).abs() <= expected.abs() / 256.0 + 1e-5;
            assert!(close, "{dtype:?}: {actual}, expected {expected}");
        }

        let grad = sixteenths(source.random([20, 3, 3, 2]));
        let expected = reference::roi_align_backward(&Array::from(&grad), &rois, [1, 3, 40, 40], options);
        let at = Tensor::<4>::zeros([1, 3, 40, 40], (&device.clone().autodiff(), DType::from(dtype)))
            .require_grad();
        let rois = on(&at.device(), &rois);
        let grad = on(&at.device(), &grad).cast(dtype);
        let gradients = (roi_align(at.clone(), rois, options) * grad).sum().backward();
        let actual = at.grad(&gradients).expect("the operation is differentiable here");
        for (actual, expected) in floats(&actual).iter().zip(expected.values) {
            let close = (actual - expected).abs() <= expected.abs() / 256.0 + 1e-5;
            assert!(close, "{dtype:?}, backward: {actual}, expected {expected}");
        }
    }
}

#[test]
fn top_k_equals_its_reference() {
    Places::new().for_each(|device| {
        let mut source = Source::new(device);
        for (rows, columns, count) in [(3, 0, 0), (1, 1, 1), (2, 7, 7), (3, 300, 20), (2, 3000, 2999)] {
            let awkward = [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, -1.5, 1e-40];
            // Few distinct values, so that many are equal.
            let value = |rng: &mut ChaCha8Rng| match rng.random_range(0..40) {
                index @ 0..8 => awkward[index],
                step => (step as f32 - 20.0) / 8.0,
            };
            let values: Vec<f32> = (0..rows * columns).map(|_| value(&mut source.rng)).collect();
            let mut expected = Vec::new();
            for row in 0..rows {
                let row = &values[row * columns..][..columns];
                let key = |index: &usize| if row[*index].is_nan() { f32::NEG_INFINITY } else { row[*index] };
                let mut order: Vec<usize> = (0..columns).collect();
                order.sort_by(|a, b| key(b).partial_cmp(&key(a)).unwrap()); // stable
                expected.extend(order[..count].iter().map(|&index| index as i64));
            }
            let values: Tensor<2> = source.tensor(values, [rows, columns]);
            assert_eq!(integers(&top_k(values.clone(), count)), expected, "{count} of {rows} x {columns}");
            if columns > 1 {
                assert_eq!(integers(&top_k(non_contiguous(&values), count)), expected, "not contiguous");
            }
        }
    });
}

#[test]
fn batched_nms_equals_its_reference() {
    const NAN: f32 = f32::NAN;
    Places::new().for_each(|device| {
        let mut source = Source::new(device);
        let awkward = [
            [5.0, 5.0, 5.0, 5.0], // points and lines, twice
            [5.0, 5.0, 5.0, 5.0],
            [2.0, 2.0, 2.0, 9.0],
            [2.0, 2.0, 2.0, 9.0],
            [9.0, 9.0, 1.0, 1.0], // inverted
            [1.0, 9.0, 9.0, 1.0],
            [NAN, 0.0, 10.0, 10.0],
            [0.0, 0.0, 10.0, NAN],
            [NAN; 4],
            [0.0, 0.0, f32::INFINITY, f32::INFINITY],
            [-50.0, -50.0, -40.0, -40.0],
        ];
        // With the first of these boxes, the n-th has an IoU of n tenths.
        let tenths: Vec<[f32; 4]> = (1..=10).rev().map(|n| [0.0, 0.0, n as f32, 1.0]).collect();
        let awkward = [awkward.as_slice(), &tenths].concat();
        let random = source.boxes(300, 100.0);
        let mixed = [awkward.as_slice(), &source.boxes(50, 20.0), &awkward].concat();
        for (boxes, groups) in
            [(&random[..0], 3), (&random[..1], 3), (&tenths[..], 1), (&mixed[..], 2), (&random[..], 4)]
        {
            let count = boxes.len();
            // A few distinct scores, so that many are equal; some are NaN.
            let score = |rng: &mut ChaCha8Rng| match rng.random_range(0..9) {
                8 => NAN,
                step => step as f32 / 8.0,
            };
            let scores = (0..count).map(|_| score(&mut source.rng)).collect();
            let scores: Tensor<1> = source.tensor(scores, [count]);
            let groups: Vec<i64> = (0..count).map(|_| source.rng.random_range(0..groups) - 2).collect();
            let groups = Tensor::<1, Int>::from_data(TensorData::new(groups, [count]), device);
            let boxes: Tensor<2> = source.tensor(boxes.concat(), [count, 4]);
            for tenth in 0..=10 {
                let threshold = f64::from(tenth) / 10.0;
                let suppress = |boxes: Tensor<2>| {
                    let (scores, groups) = (scores.clone().unsqueeze(), groups.clone().unsqueeze());
                    integers(&batched_nms(boxes.unsqueeze(), scores, groups, threshold))
                };
                let expected = reference::batched_nms(&boxes, &scores, &groups, threshold);
                assert_eq!(suppress(boxes.clone()), expected, "{count} boxes above {threshold}");
                assert_eq!(suppress(non_contiguous(&boxes)), expected, "not contiguous");

                // Three rows: these boxes, none, and these with places among them that hold none.
                let absent = Tensor::<1, Int>::full([count], ABSENT, device);
                let stacked = |row: &Tensor<1>| -> Tensor<2> { Tensor::stack(vec![row.clone(); 3], 0) };
                let thinned = groups.clone().mask_where(scores.clone().equal_elem(0.5), absent.clone());
                let rows = (
                    Tensor::stack::<3>(vec![boxes.clone(); 3], 0),
                    stacked(&scores),
                    Tensor::stack::<2>(vec![groups.clone(), absent, thinned], 0),
                );
                let keep = integers(&batched_nms(rows.0.clone(), rows.1.clone(), rows.2.clone(), threshold));
                assert_eq!(keep[..count], expected);
                assert_eq!(keep[count..2 * count], vec![0; count]);
                let there: Vec<bool> = floats(&scores).iter().map(|score| *score != 0.5).collect();
                let present: Vec<i64> = (0..count as i64).filter(|&index| there[index as usize]).collect();
                let present =
                    Tensor::<1, Int>::from_data(TensorData::new(present.clone(), [present.len()]), device);
                let mut of_present = reference::batched_nms(
                    &boxes.clone().select(0, present.clone()),
                    &scores.clone().select(0, present.clone()),
                    &groups.clone().select(0, present),
                    threshold,
                )
                .into_iter();
                let expected_thinned: Vec<i64> =
                    there.iter().map(|there| if *there { of_present.next().unwrap() } else { 0 }).collect();
                assert_eq!(keep[2 * count..], expected_thinned, "with places that hold no box");
            }
            assert_repeatable(
                || {
                    let (scores, groups) = (scores.clone().unsqueeze(), groups.clone().unsqueeze());
                    batched_nms(boxes.clone().unsqueeze(), scores, groups, 0.5).float()
                },
                "batched_nms",
            );
        }
    });
}

#[test]
fn a_threshold_rounds_to_the_next_f32_below() {
    for tenth in 0..=10 {
        let threshold = f64::from(tenth) / 10.0;
        let rounded = round_down(threshold);
        assert!(f64::from(rounded) <= threshold && f64::from(rounded.next_up()) > threshold);
    }
}
