//! RoIAlign, the transform, losses and what is kept.

use crate::*;

pub fn roi_align(case: &Case) {
    let device = Device::flex().autodiff();
    let features = case.inputs.tensor::<4>("input", &device).require_grad();
    let options = RoiAlignOptions {
        output_size: case.size("output_size"),
        spatial_scale: case.number("spatial_scale") as f32,
        // To torchvision every ratio below 1 means: as many samples as the bin has pixels.
        sampling_ratio: case.number("sampling_ratio").max(0.0) as usize,
        aligned: case.flag("aligned"),
    };
    let output = ops::roi_align(features.clone(), case.inputs.tensor("rois", &device), options);
    case.outputs.assert_close("output", &values(output.clone()));
    let gradients = (output * case.inputs.tensor("grad_output", &device)).sum().backward();
    case.outputs.assert_gradient("grad_input", &features, &gradients);
}

pub fn multi_scale_roi_align(case: &Case) {
    let device = Device::flex().autodiff();
    let maps: Vec<Tensor<4>> = case
        .inputs
        .numbered("map")
        .iter()
        .map(|name| case.inputs.tensor(name, &device).require_grad())
        .collect();
    let boxes = case.inputs.boxes_of_images("boxes");
    let (size, sampling_ratio) = (case.size("output_size").0, case.number("sampling_ratio") as usize);
    let rois = rois_of(&boxes, &device);
    let output = pool_levels(&maps, rois, size, sampling_ratio);
    case.outputs.assert_close("output", &values(output.clone()));
    if case.outputs.has("levels") {
        let levels: Vec<i64> = boxes.concat().iter().map(|box_| i64::from(level_of(box_)) - 2).collect();
        assert_eq!(levels, case.outputs.integers("levels"));
        let gradients = (output * case.inputs.tensor("grad_output", &device)).sum().backward();
        for (map, name) in maps.iter().zip(case.outputs.numbered("grad_map")) {
            case.outputs.assert_gradient(&name, map, &gradients);
        }
    }
}

pub fn transform(case: &Case) {
    if case.outputs.has("table") {
        return resized_sizes(&case.outputs.integers("table"));
    }
    let config = TransformConfig {
        min_size: case.number("min_size") as usize,
        max_size: case.number("max_size") as usize,
        ..TransformConfig::default()
    };
    if let Some(batches) = case.params["batches"].as_array() {
        return batches.iter().for_each(|recorded| padded_batch(&config, recorded));
    }

    let (device, padded) = (Device::flex(), case.size("padded_size"));
    let (shape, _) = case.inputs.fixture.tensor(case.inputs.key("image").as_str().unwrap());
    let original = (shape[1], shape[2]);
    let batch = config.batch(&[Image::new(case.inputs.floats("image"), original)], &device);
    let resized = case.size("image_size");
    assert_eq!((batch.padded_size(), batch.resized_sizes[0]), (padded, resized));
    let image = batch.tensor.clone().slice([0..1, 0..3, 0..resized.0, 0..resized.1]);
    case.outputs.assert_close("resized", &values(image.clone()));
    // All around it is zero.
    let energy = |tensor: Tensor<4>| tensor.powi_scalar(2).sum().into_scalar::<f64>();
    let (whole, image) = (energy(batch.tensor), energy(image));
    assert!((whole - image).abs() <= f64::from(TOLERANCE) * image);

    let move_all = |boxes: Vec<Xyxy>, from, to| -> Vec<f32> {
        boxes.iter().flat_map(|box_| resize_box(box_, from, to)).collect()
    };
    case.outputs.assert_close("boxes", &move_all(case.inputs.boxes("boxes"), original, resized));
    let back = move_all(case.inputs.boxes("detected_boxes"), resized, original);
    case.outputs.assert_close("detected_boxes_in_original", &back);
}

pub fn resized_sizes(table: &[i64]) {
    for row in table.as_chunks::<6>().0 {
        let [height, width, min_size, max_size, resized @ ..] = row.map(|side| side as usize);
        let config = TransformConfig { min_size, max_size, ..TransformConfig::default() };
        let actual: [usize; 2] = config.resized_size((height, width)).into();
        assert_eq!(actual, resized, "{height}x{width} to {min_size}, {max_size}");
    }
}

pub fn padded_batch(config: &TransformConfig, recorded: &Value) {
    let sizes = |name: &str| -> Vec<_> { recorded[name].as_array().unwrap().iter().map(size).collect() };
    let blank = |size: (usize, usize)| Image::new(vec![0.0; 3 * size.0 * size.1], size);
    let images: Vec<Image> = sizes("sizes").into_iter().map(blank).collect();
    let batch = config.batch(&images, &Device::flex());
    assert_eq!(batch.resized_sizes, sizes("resized"));
    let padded = recorded["padded"].as_array().unwrap().iter().map(|side| side.as_u64().unwrap() as usize);
    assert_eq!(batch.tensor.dims().to_vec(), padded.collect::<Vec<_>>());
}

pub fn smooth_l1(case: &Case) {
    let device = Device::flex().autodiff();
    let input = case.inputs.tensor::<1>("input", &device).require_grad();
    let target: Tensor<1> = case.inputs.tensor("target", &device);
    let loss = smooth_l1_sum(input.clone().unsqueeze(), target.unsqueeze(), case.number("beta") as f32);
    case.outputs.assert_close("loss", &values(loss.clone()));
    case.outputs.assert_gradient("grad_input", &input, &loss.backward());
}

pub fn fastrcnn_loss(case: &Case) {
    let device = Device::flex().autodiff();
    let class_logits = case.inputs.tensor::<2>("class_logits", &device).require_grad();
    let box_deltas = case.inputs.tensor::<2>("box_regression", &device).require_grad();
    let labels = case.inputs.numbered("labels").into_iter().flat_map(|name| case.inputs.integers(&name));
    let targets = RoiTargets {
        proposals: Vec::new(),
        labels: labels.map(|label| label as usize).collect(),
        regression: case.inputs.boxes_of_images("regression_targets").concat(),
    };
    let output = RoiOutput { class_logits: class_logits.clone(), box_deltas: box_deltas.clone() };
    let losses = output.losses(&targets);
    case.outputs.assert_close("loss_classifier", &values(losses.loss_classifier.clone()));
    case.outputs.assert_close("loss_box_reg", &values(losses.loss_box_reg.clone()));
    let gradients = (losses.loss_classifier + losses.loss_box_reg * 2.0).backward();
    case.outputs.assert_gradient("grad_class_logits", &class_logits, &gradients);
    case.outputs.assert_gradient("grad_box_regression", &box_deltas, &gradients);
}

pub fn rpn_loss(case: &Case) {
    let batch_size = case.number("batch_size_per_image") as usize;
    let sampler = BalancedSampler::new(batch_size, case.number("positive_fraction"));
    let regression = case.inputs.boxes_of_images("regression_targets");
    let mut targets = RpnTargets { anchors: Vec::new(), regression: Vec::new() };
    for (image, regression) in regression.iter().enumerate() {
        let label = |label: i64| match label {
            1 => Match::Object(0),
            0 => Match::Background,
            _ => Match::Between,
        };
        let labels = case.inputs.integers(&format!("labels{image}"));
        let matches: Vec<Match> = labels.into_iter().map(label).collect();
        let sample = sampler.sample(&matches, 0, &mut Sampling::First);
        for (name, chosen) in [("pos", &sample.positive), ("neg", &sample.negative)] {
            let chosen: Vec<i64> = chosen.iter().map(|&index| index as i64).collect();
            assert_eq!(chosen, case.outputs.integers(&format!("sampled_{name}{image}")));
        }
        for index in sample.all() {
            targets.anchors.push(image * regression.len() + index);
            targets.regression.push((matches[index] == Match::Object(0)).then_some(regression[index]));
        }
    }

    let device = Device::flex().autodiff();
    let objectness = case.inputs.tensor::<2>("objectness", &device).require_grad(); // [N*T, 1]
    let deltas = case.inputs.tensor::<2>("deltas", &device).require_grad(); // [N*T, 4]
    let (images, anchors) = (regression.len(), regression[0].len());
    let output = RpnOutput {
        objectness: objectness.clone().reshape([images, anchors]),
        deltas: deltas.clone().reshape([images, anchors, 4]),
    };
    let losses = output.losses(&targets);
    case.outputs.assert_close("loss_objectness", &values(losses.loss_objectness.clone()));
    case.outputs.assert_close("loss_rpn_box_reg", &values(losses.loss_rpn_box_reg.clone()));
    let gradients = (losses.loss_objectness + losses.loss_rpn_box_reg * 2.0).backward();
    case.outputs.assert_gradient("grad_objectness", &objectness, &gradients);
    case.outputs.assert_gradient("grad_deltas", &deltas, &gradients);
}

pub fn filter_proposals(case: &Case) {
    let device = Device::flex();
    let objectness = case.inputs.tensor::<2>("objectness", &device); // [N, T]
    let [images, total] = objectness.dims();
    // The recorded boxes are decoded ones: those of the first image serve as anchors, from which the
    // deltas lead to each image's.
    let boxes = case.inputs.boxes("proposals");
    let anchors = &boxes[..total];
    let coder = BoxCoder { weights: [1.0; 4] };
    let deltas: Vec<f32> = boxes
        .iter()
        .enumerate()
        .flat_map(|(index, box_)| coder.encode(box_, &anchors[index % total]))
        .collect();
    let deltas = Tensor::from_data(TensorData::new(deltas, [images, total, 4]), &device);

    let mut rest = anchors;
    let levels = case.params["num_anchors_per_level"].as_array().unwrap().iter().map(|count| {
        let (level, after) = rest.split_at(count.as_u64().unwrap() as usize);
        rest = after;
        level.to_vec()
    });
    let config = RpnConfig {
        pre_nms_top_n_test: case.number("pre_nms_top_n") as usize,
        post_nms_top_n_test: case.number("post_nms_top_n") as usize,
        nms_thresh: case.number("nms_thresh"),
        score_thresh: case.number("score_thresh") as f32,
        ..RpnConfig::default()
    };
    let levels: Vec<Vec<Xyxy>> = levels.collect();
    let sizes = case.sizes("image_shapes");
    let proposals = RpnOutput { objectness, deltas }.proposals(&levels, &sizes, &config, false);
    for (image, proposals) in proposals.to_vec().iter().enumerate() {
        let (boxes, scores): (Vec<Xyxy>, Vec<f32>) =
            proposals.iter().map(|ScoredBox { xyxy, score }| (*xyxy, *score)).unzip();
        case.outputs.assert_close(&format!("boxes{image}"), &boxes.concat());
        case.outputs.assert_close(&format!("scores{image}"), &scores);
    }
}

/// Each image's values with `filler` behind, all `length` long: `[images, length]`.
pub fn padded(images: &[Vec<f32>], length: usize, filler: f32) -> Tensor<2> {
    let pad = |values: &Vec<f32>| {
        let mut values = values.clone();
        values.resize(length, filler);
        values
    };
    let values: Vec<f32> = images.iter().flat_map(pad).collect();
    Tensor::from_data(TensorData::new(values, [images.len(), length]), &Device::flex())
}

pub fn postprocess_detections(case: &Case) {
    let config = RoiHeadsConfig {
        bbox_reg_weights: case.floats("bbox_reg_weights"),
        score_thresh: case.number("score_thresh") as f32,
        nms_thresh: case.number("nms_thresh"),
        detections_per_img: case.number("detections_per_img") as usize,
        ..RoiHeadsConfig::default()
    };
    // As many slots in each image: one with fewer proposals has empty ones.
    let proposals = case.inputs.boxes_of_images("proposals");
    let (images, counts) = (proposals.len(), proposals.iter().map(Vec::len));
    let (all, slots) = (counts.clone().sum::<usize>(), counts.clone().max().unwrap());
    let rows = |name: &str| {
        let mut rest = case.inputs.floats(name);
        let columns = rest.len() / all;
        let split = |count| {
            let after = rest.split_off(count * columns);
            std::mem::replace(&mut rest, after)
        };
        let split: Vec<Vec<f32>> = counts.clone().map(split).collect();
        padded(&split, slots * columns, 0.0).reshape([images * slots, columns])
    };
    let output = RoiOutput { class_logits: rows("class_logits"), box_deltas: rows("box_regression") };
    let boxes: Vec<Vec<f32>> = proposals.iter().map(|boxes| boxes.concat()).collect();
    let scores: Vec<Vec<f32>> = counts.clone().map(|count| vec![1.0; count]).collect();
    let proposals = ScoredBoxes {
        boxes: padded(&boxes, slots * 4, 0.0).reshape([images, slots, 4]),
        scores: padded(&scores, slots, NO_BOX),
    };
    let sizes = case.sizes("image_shapes");
    let found = output.detections(&proposals, &sizes, &config);
    // The recorded ones are in pixels of the resized image, so here that is the original, too.
    let tensor = Tensor::zeros([images, 3, 1, 1], &Device::flex());
    let batch = ImageList { tensor, resized_sizes: sizes.clone(), original_sizes: sizes };
    for (image, detections) in found.download(&batch).detections.iter().enumerate() {
        let of = |value: fn(&Detection) -> f32| detections.iter().map(value).collect::<Vec<_>>();
        let boxes: Vec<f32> = detections.iter().flat_map(|detection| detection.xyxy).collect();
        case.outputs.assert_close(&format!("boxes{image}"), &boxes);
        case.outputs.assert_close(&format!("scores{image}"), &of(|detection| detection.score));
        case.outputs.assert_close(&format!("labels{image}"), &of(|detection| detection.label as f32));
    }
}
