//! `faster-rcnn stats`

use std::path::PathBuf;

use anyhow::{Result, bail};
use faster_rcnn::data::{Dataset, DatasetStats, ResizedBox};
use faster_rcnn::train::RunConfig;
use faster_rcnn::{AnchorConfig, FasterRcnnConfig, draw};

use crate::data::DataArguments;
use crate::detector::ImageSize;
use crate::output;
use crate::sides::SideArguments;

const EXAMPLES: &str = "\
Boxes are compared with the anchors of a detector, at the size that it gives to the images. A box that no
anchor has an IoU of 0.5 with is hard to learn: other anchors or a larger image help. The anchors and the size
are those of --config, or else torchvision's; --anchors, --aspect-ratios and --image-size change them.

Examples:

  faster-rcnn stats --data PCBData
  faster-rcnn stats --data PCBData --config configs/deep_pcb.toml --plots charts
  faster-rcnn stats --data boards --anchors 16,32,64,128,256 --image-size 640 --json > stats.json";

/// Tell what is in a data set: classes, sizes and shapes of the boxes, and how well anchors fit them.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    data: DataArguments,
    #[command(flatten)]
    sides: SideArguments,
    /// Settings of a run, TOML, whose anchors and image size are taken.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The side of a square anchor on each of the five levels, in pixels of the resized image.
    #[arg(long, value_name = "SIZES", value_delimiter = ',', num_args = 1)]
    anchors: Option<Vec<f32>>,
    /// Height over width of the anchors.
    #[arg(long, value_name = "RATIOS", value_delimiter = ',', num_args = 1)]
    aspect_ratios: Option<Vec<f32>>,
    /// Resize the short side of an image to MIN pixels, but the long side to MAX at most.
    #[arg(long, value_name = "MIN[,MAX]")]
    image_size: Option<ImageSize>,
    /// Print all numbers as JSON.
    #[arg(long)]
    json: bool,
    /// Write classes.png, box_sizes.png, aspect_ratios.png, anchor_iou.png and box_shapes.png into a folder.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
}

pub fn run(arguments: Arguments) -> Result<()> {
    let detector = detector(&arguments)?;
    arguments.plots.as_deref().map_or(Ok(()), output::create_folder)?;
    let data = arguments.sides.apply(arguments.data.open()?)?;
    let stats = stats(&data, &detector);
    if let Some(folder) = &arguments.plots {
        draw::plot_stats(folder, &stats)?;
    }
    if arguments.json {
        return output::print(output::to_json(&stats));
    }
    let (anchors, transform) = (&detector.anchors, &detector.transform);
    output::print(format!(
        "{stats}\nAnchors of {:?} pixels with the aspect ratios {:?}, images resized to {} (at most {}).\n",
        anchors.sizes, anchors.aspect_ratios, transform.min_size, transform.max_size
    ))
}

fn stats(data: &Dataset, detector: &FasterRcnnConfig) -> DatasetStats {
    DatasetStats::new(data).with_anchors(data, detector.anchor_shapes(), |xyxy, size| ResizedBox {
        shape: detector.resized_shape(xyxy, size),
        best_iou: detector.best_anchor_iou(xyxy, size),
    })
}

/// A detector with the anchors and the image size that are asked for.
fn detector(arguments: &Arguments) -> Result<FasterRcnnConfig> {
    // The number of classes changes nothing here.
    let mut detector = match &arguments.config {
        Some(path) => RunConfig::load(path, &[])?.model,
        None => FasterRcnnConfig::resnet50_fpn(2),
    };
    detector.num_classes = detector.num_classes.max(2);
    let AnchorConfig { sizes, aspect_ratios } = &mut detector.anchors;
    if let Some(given) = &arguments.anchors {
        let Ok(given) = given.as_slice().try_into() else {
            bail!("--anchors takes {} sizes, one a level, not {}", sizes.len(), given.len());
        };
        *sizes = given;
    }
    if let Some(given) = &arguments.aspect_ratios {
        aspect_ratios.clone_from(given);
    }
    if let Some(size) = arguments.image_size {
        let (min, max) = size.within(detector.transform.max_size);
        detector = detector.with_image_size(min, max);
    }
    detector.validate()?;
    Ok(detector)
}
