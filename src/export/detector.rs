//! The stages of the detector in a row, as one graph.

use serde_json::json;

use super::backbone::pyramid;
use super::file::{OnnxModel, entry};
use super::graph::Graph;
use super::input::images;
use super::layers::Weights;
use super::options::{OnnxOptions, Pixels, SIZE_DIVISIBLE};
use super::proto::{ModelProto, OperatorSetIdProto, StringStringEntryProto};
use super::roi_heads::detections;
use super::rpn::proposals;
use crate::error::Result;
use crate::model::{FasterRcnn, FasterRcnnConfig};
use crate::structures::ReferenceInput;

/// The version of ONNX's operators. `RoiAlign` as torchvision computes it takes 16, and a range of `Shape`
/// takes 15. All runtimes have known 17 for years.
const OPSET: i64 = 17;
/// The version of the file format that came with it.
const IR_VERSION: i64 = 8;

/// A detector as an ONNX graph: from pixels to detections.
///
/// The [module](super) says what goes in and what comes out. Thresholds and numbers of proposals and
/// detections are those of the detector's settings.
///
/// # Errors
///
/// [`Error::Config`](crate::Error::Config) for options that cannot work,
/// [`Error::NonFinite`](crate::Error::NonFinite) for weights that the file cannot hold.
pub fn onnx(model: &FasterRcnn, options: &OnnxOptions) -> Result<OnnxModel> {
    options.validate()?;
    let config = model.config();
    let mut weights = Weights::new(model, options.half)?;
    let mut graph = Graph::default();
    let images = images(&mut graph, &config.transform, options);
    let pyramid = pyramid(&mut graph, &mut weights, config, &images.tensor)?;
    let proposals = proposals(&mut graph, &mut weights, config, &pyramid, &images)?;
    detections(&mut graph, &mut weights, config, &pyramid, &proposals, &images)?;
    assert!(weights.left().is_empty(), "weights without a place in the graph: {:?}", weights.left());

    let proto = ModelProto {
        ir_version: IR_VERSION,
        producer_name: env!("CARGO_PKG_NAME").to_string(),
        producer_version: env!("CARGO_PKG_VERSION").to_string(),
        doc_string: how_to_use(config, options),
        graph: Some(graph.finish("faster_rcnn")),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        metadata_props: metadata(config),
    };
    Ok(OnnxModel::new(proto, options.external_data))
}

/// What a program needs that uses the file.
fn metadata(config: &FasterRcnnConfig) -> Vec<StringStringEntryProto> {
    let (transform, roi_heads) = (&config.transform, &config.roi_heads);
    vec![
        entry("faster_rcnn_version", env!("CARGO_PKG_VERSION")),
        entry("class_names", json!(config.class_names)),
        entry("num_classes", config.num_classes),
        entry("min_size", transform.min_size),
        entry("max_size", transform.max_size),
        entry("size_divisible", SIZE_DIVISIBLE),
        entry("reference", json!(config.reference).as_str().unwrap_or_default()),
        entry("score_thresh", roi_heads.score_thresh),
        entry("nms_thresh", roi_heads.nms_thresh),
        entry("exclusive_iou", roi_heads.exclusive_iou),
        entry("detections_per_img", roi_heads.detections_per_img),
        entry("faster_rcnn_config", json!(config)),
    ]
}

fn how_to_use(config: &FasterRcnnConfig, options: &OnnxOptions) -> String {
    let (min, max) = (config.transform.min_size, config.transform.max_size);
    let values = match options.pixels {
        Pixels::F32 => "f32 in 0..=1",
        Pixels::U8 => "bytes",
    };
    let input = match options.full_images {
        true => "They fill `images`.",
        false => {
            "Put each at the top left of `images` and fill the rest with zeros; `sizes` has its height and \
             width."
        }
    };
    let image = match config.reference {
        ReferenceInput::None => "RGB image,",
        ReferenceInput::Difference => {
            "image beside its reference, as three channels (the grey image, the grey reference, their absolute \
             difference),"
        }
    };
    format!(
        "Faster R-CNN. Resize each {image} bilinear, half-pixel centres, no antialiasing, so that its \
         short side has {min} pixels, but its long side {max} at most. {input} `images` is [N, 3, H, W], \
         {values}; H and W are multiples of {SIZE_DIVISIBLE}. Of image i, the first num_detections[i] rows \
         of boxes, scores and labels are its detections; boxes are in pixels of `images`: divide them by \
         what the image was scaled by. Label 1 is the first of class_names."
    )
}
