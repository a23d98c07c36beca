//! Faster R-CNN with a ResNet-FPN backbone, native in Rust on [burn]; equal to torchvision's
//! `fasterrcnn_resnet50_fpn`: same weights in, same numbers out.
//!
//! ```text
//! images ─ transform ─ ImageList ─ resnet ─ C2..C5 ─ fpn ─ P2..P6 ─ rpn ─ proposals ─ roi_heads ─ detections
//!                                                              └ losses (training) ┘        └ losses (training)
//! ```
//!
//! # Find objects
//!
//! A weight file holds all that is needed: weights, settings and the names of the classes.
//!
//! ```
//! # use faster_rcnn::{FasterRcnnConfig, image::RgbImage, weights};
//! use faster_rcnn::Predictor;
//! use faster_rcnn::burn::tensor::Device;
//! use faster_rcnn::data::load_image;
//!
//! # fn main() -> faster_rcnn::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # std::env::set_current_dir(&folder).unwrap();
//! # let model = FasterRcnnConfig::tiny(3).with_class_names(&["open", "short"]).init(&Device::flex());
//! # weights::save(&model, "best.safetensors")?;
//! # RgbImage::new(64, 48).save("board.jpg").unwrap();
//! let predictor = Predictor::load("best.safetensors", &Device::flex())?;
//! for found in predictor.detect(&load_image("board.jpg")?)? {
//!     let name = predictor.class_name(found.label).unwrap_or("?");
//!     println!("{name} {:.2} {:?}", found.score, found.xyxy); // pixels of the image
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Train on your own images
//!
//! A [`Dataset`](data::Dataset) is a list of images with their boxes, and the names of the classes. The
//! [formats](data::formats) read one from disk; here it is made by hand.
//!
//! ```
//! # #[cfg(feature = "train")]
//! # fn main() -> faster_rcnn::Result<()> {
//! # use faster_rcnn::image::RgbImage;
//! use faster_rcnn::data::{Dataset, Record};
//! use faster_rcnn::train::{Run, RunConfig};
//! use faster_rcnn::{Annotation, FasterRcnnConfig, NormKind, ResNetDepth};
//!
//! # let folder = tempfile::tempdir().unwrap();
//! # std::env::set_current_dir(&folder).unwrap();
//! # for name in ["1.png", "2.png"] {
//! #     RgbImage::new(64, 64).save(name).unwrap();
//! # }
//! let records = vec![
//!     Record::from_image("1.png", vec![Annotation::new([10.0, 20.0, 42.0, 55.0], 1)])?,
//!     Record::from_image("2.png", vec![])?, // nothing to find here
//! ];
//! let data = Dataset::new(records, ["scratch", "dent"]);
//!
//! // Number and names of the classes come from the data set.
//! let model = FasterRcnnConfig::new(ResNetDepth::ResNet18, 0)
//!     .with_norm(NormKind::Group) // random weights need a norm that learns,
//!     .with_trainable_layers(5); // and all of its layers trained
//! # let mut model = model.with_image_size(64, 64);
//! # model.fpn_channels = 32;
//! # model.roi_heads.representation_size = 8;
//! let mut config = RunConfig::new(model);
//! config.train.epochs = 12;
//! # config.train.epochs = 1;
//! let outcome = Run::new(config, data.split(0.5, 0)).fit("runs/scratches")?;
//! println!("{}", outcome.evaluation);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "train"))]
//! # fn main() {}
//! ```
//!
//! # Change the architecture
//!
//! ```
//! use faster_rcnn::burn::tensor::Device;
//! use faster_rcnn::{AnchorConfig, FasterRcnnConfig, NormKind, ResNetDepth};
//!
//! # fn main() -> faster_rcnn::Result<()> {
//! let anchors = AnchorConfig { sizes: [16.0, 32.0, 64.0, 128.0, 256.0], ..AnchorConfig::default() };
//! let config = FasterRcnnConfig::new(ResNetDepth::ResNet18, 0)
//!     .with_class_names(&["scratch", "dent"])
//!     .with_norm(NormKind::Group)
//!     .with_anchors(anchors);
//! config.validate()?;
//! let model = config.init(&Device::flex()); // with random weights
//! assert_eq!(model.config().num_classes, 3); // the background is a class, too
//! # Ok(())
//! # }
//! ```
//!
//! # Start from torchvision's weights, and give weights back
//!
//! ```
//! # #[cfg(feature = "train")]
//! # fn main() -> faster_rcnn::Result<()> {
//! # use faster_rcnn::burn::tensor::Device;
//! use faster_rcnn::train::{Run, RunConfig, Start};
//! use faster_rcnn::{FasterRcnnConfig, weights};
//!
//! # use faster_rcnn::data::{SyntheticConfig, write_synthetic};
//! # let folder = tempfile::tempdir().unwrap();
//! # std::env::set_current_dir(&folder).unwrap();
//! # write_synthetic("PCBData", 2, &SyntheticConfig { size: 128, seed: 0 })?;
//! # weights::save(&FasterRcnnConfig::tiny(91).init(&Device::flex()), "coco.pth")?;
//! let config = FasterRcnnConfig::resnet50_fpn(0);
//! # let config = FasterRcnnConfig { num_classes: 0, ..FasterRcnnConfig::tiny(2) };
//! # let config = config.with_image_size(64, 64);
//! let config = RunConfig::new(config);
//! # let train = faster_rcnn::train::TrainConfig { epochs: 1, ..config.train };
//! # let config = RunConfig { train, ..config };
//! let data = faster_rcnn::data::open("PCBData")?.sides(config.train.seed);
//! let outcome = Run::new(config, data).start(Start::weights("coco.pth")).fit("runs/pcb")?;
//!
//! // In Python: model.load_state_dict(safetensors.torch.load_file("pcb.safetensors"))
//! weights::save(&outcome.model, "pcb.safetensors")?;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "train"))]
//! # fn main() {}
//! ```
//!
//! # Cargo features
//!
//! | feature | adds |
//! |---|---|
//! | none | a [`Predictor`] for the CPU, data sets and metrics |
//! | `train` | [training](train), with its charts |
//! | `draw` | [boxes on images, and charts](draw) |
//! | `data` | data sets in VOC's and YOLO's layouts, groups by names, pictures that are almost the same |
//! | `download` | torchvision's weights from the network |
//! | `align` | references that are brought onto their images |
//! | `registry` | [numbered versions of models](registry) in a folder |
//! | `tensorboard` | event files of a run |
//! | `export` | [ONNX files](export) for other runtimes |
//! | `cli` (on by default) | the program `faster-rcnn`, and all of the above |
//! | `tables` | [Parquet tables](data::formats::tables), also in the program |
//! | `mlflow` | registries on MLflow's server, and runs that it follows |
//! | `records` | [what was found in which image](records), in SQLite or PostgreSQL, also in the program |
//! | `workers` | training on several processes and machines |
//! | `serve` | the server and its page |
//! | `cuda`, `wgpu` | GPUs |
//!
//! # Conventions
//!
//! - Names, meanings and defaults are torchvision's; `ARCHITECTURE.md` lists every deviation.
//! - Boxes are `[x1, y1, x2, y2]` in pixels, sizes `(height, width)`; class 0 is the background.
//! - Wrong shapes panic and print the shapes. Files, weights and settings give an [`Error`] that names the
//!   place.
//! - Every random choice takes a seed.

#[cfg(test)]
mod any_number;
mod bounds;
pub mod data;
mod device;
#[cfg(feature = "draw")]
pub mod draw;
mod error;
pub mod eval;
#[cfg(feature = "export")]
pub mod export;
mod files;
mod heap;
#[cfg(feature = "mlflow")]
mod mlflow;
mod model;
pub mod ops;
#[cfg(any(feature = "mlflow", feature = "records"))]
mod percent;
mod predict;
#[cfg(feature = "records")]
pub mod records;
#[cfg(feature = "registry")]
pub mod registry;
#[cfg(feature = "serve")]
pub mod serve;
mod settings;
#[cfg(any(feature = "download", feature = "records", feature = "registry"))]
mod sha256;
#[cfg(feature = "records")]
mod signals;
pub mod structures;
mod text;
#[cfg(feature = "train")]
pub mod train;
pub mod weights;
#[cfg(feature = "workers")]
pub mod workers;

pub use burn;
pub use image;

pub use device::DeviceName;
pub use error::{Cause, Error, Result};
pub use heap::keep_heap;
pub use model::{
    AnchorConfig, BoxHeadKind, FasterRcnn, FasterRcnnConfig, Losses, NormKind, PreparedFasterRcnn,
    ResNetDepth, RoiHeadsConfig, RpnConfig, Sampling, Tiles, TransformConfig,
};
pub use predict::Predictor;
pub use structures::{Annotation, Corners, Detection, Image, ReferenceAlign, ReferenceInput, Xyxy};

/// For this crate's own program, tests and benches: no part of the library's interface.
#[doc(hidden)]
pub mod internals {
    pub use crate::data::formats::image_files;
    #[cfg(feature = "data")]
    pub use crate::data::formats::{voc_document, yolo_line};
    pub use crate::files::{write_atomically, write_bytes};
    pub use crate::ops::backend::DetectionOps;
    pub use crate::ops::cpu::conv2d_uses_winograd;
    pub use crate::ops::primitives::MapShapes;
    pub use crate::predict::{StoredThreshold, THRESHOLDS_KEY, stored_thresholds};
    #[cfg(any(feature = "records", feature = "registry"))]
    pub use crate::sha256::sha256_of_bytes;
    #[cfg(feature = "records")]
    pub use crate::signals::told_to_end;
    pub use crate::text::read_text;

    /// The parts of the detector.
    pub mod model {
        pub use crate::model::*;
    }
}

/// Its example is compiled and run.
#[cfg(all(doctest, feature = "train"))]
#[doc = include_str!("../README.md")]
struct Readme;
