//! Another backbone, norm, anchors and classes:
//!
//! ```text
//! cargo run --release --example architecture
//! ```

use faster_rcnn::burn::module::Module;
use faster_rcnn::burn::tensor::Device;
use faster_rcnn::image::RgbImage;
use faster_rcnn::{AnchorConfig, FasterRcnnConfig, NormKind, Predictor, ResNetDepth};

fn main() -> anyhow::Result<()> {
    faster_rcnn::keep_heap();
    let anchors = AnchorConfig { sizes: [16.0, 32.0, 64.0, 128.0, 256.0], ..AnchorConfig::default() };
    let config = FasterRcnnConfig::new(ResNetDepth::ResNet18, 0)
        .with_class_names(&["scratch", "dent"]) // class 0, the background, has no name
        .with_norm(NormKind::Group)
        .with_trainable_layers(5)
        .with_anchors(anchors)
        .with_image_size(320, 320);
    config.validate()?;
    let model = config.init(&Device::flex());
    println!("{} classes, {} parameters", model.config().num_classes, model.num_params());

    // The weights are random: whatever it finds means nothing yet. `train_your_data` shows how to train it.
    let found = Predictor::new(model).with_score_thresh(0.5)?.detect(&RgbImage::new(320, 240))?;
    println!("{} detections above 0.5", found.len());
    Ok(())
}
