//! `faster-rcnn export`

use std::path::PathBuf;

use anyhow::Result;
use faster_rcnn::burn::tensor::Device;
use faster_rcnn::export::{OnnxOptions, Pixels, onnx};
use faster_rcnn::weights::WeightFile;

use crate::output;
use crate::registry::RegistryArguments;
use crate::settings::WeightArguments;

const EXAMPLES: &str = "\
Everything is in the file, from pixels to detections; the program that uses it resizes and pads. Inputs are
`images` [N, 3, H, W] and `sizes` [N, 2], height and width of each image without its padding. Outputs are
`num_detections` [N], `boxes` [N, D, 4] in pixels of `images`, `scores` [N, D] and `labels` [N, D]; D is
model.roi_heads.detections_per_img. docs/onnx.md has complete programs.

Examples:

  faster-rcnn export --weights best.safetensors --output model.onnx
  faster-rcnn export --weights best.safetensors --output model.onnx --size 640x640 --batch 1 --input u8
  faster-rcnn export --weights best.safetensors --output model.onnx --half \\
      --set model.roi_heads.score_thresh=0.5 --set model.roi_heads.detections_per_img=50";

/// Write a detector as an ONNX file, for ONNX Runtime, OpenVINO, TensorRT and others.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// A detector's weights: this program's, torchvision's of a detector, or a registered version,
    /// models:/NAME/N or models:/NAME@ALIAS.
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    #[command(flatten)]
    registry: RegistryArguments,
    /// The file to write; an existing one is replaced.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Height and width of the input in pixels, multiples of 32; `dynamic` takes any.
    #[arg(long, value_name = "HEIGHTxWIDTH", default_value = "dynamic", value_parser = size)]
    size: Fixed<(usize, usize)>,
    /// Images in a call; `dynamic` takes any number.
    #[arg(long, value_name = "N", default_value = "dynamic", value_parser = batch)]
    batch: Fixed<usize>,
    /// What the values of the input are: f32 in 0..=1, or u8.
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = pixels)]
    input: Pixels,
    /// Every image fills the whole input: there is no padding, and no input `sizes`.
    #[arg(long)]
    full_images: bool,
    /// Store the weights as f16, in half the space.
    #[arg(long)]
    half: bool,
    /// Store the weights in a file of their own beside the output. Above 2 GB this is always done.
    #[arg(long)]
    external_data: bool,
    #[command(flatten)]
    settings: WeightArguments,
}

/// A value, or none for `dynamic`.
#[derive(Clone, Copy)]
struct Fixed<T>(Option<T>);

fn size(text: &str) -> Result<Fixed<(usize, usize)>, &'static str> {
    let side = |text: &str| text.parse().ok();
    match text.split_once('x').and_then(|(height, width)| Some((side(height)?, side(width)?))) {
        Some(size) => Ok(Fixed(Some(size))),
        None if text == "dynamic" => Ok(Fixed(None)),
        None => Err("expected HEIGHTxWIDTH in pixels, such as 640x640, or `dynamic`"),
    }
}

fn batch(text: &str) -> Result<Fixed<usize>, &'static str> {
    match text.parse() {
        Ok(images) => Ok(Fixed(Some(images))),
        Err(_) if text == "dynamic" => Ok(Fixed(None)),
        Err(_) => Err("expected a number of images or `dynamic`"),
    }
}

fn pixels(text: &str) -> Result<Pixels, &'static str> {
    match text {
        "f32" => Ok(Pixels::F32),
        "u8" => Ok(Pixels::U8),
        _ => Err("expected f32 or u8"),
    }
}

pub fn run(arguments: Arguments) -> Result<()> {
    let Arguments { size, batch, input, full_images, half, external_data, settings, .. } = arguments;
    let (weights, output) = (arguments.registry.file(arguments.weights)?, arguments.output);
    output::prepare(&output, [weights.as_path()])?;
    let model = WeightFile::open(&weights)?.load(&settings.options(), &Device::flex())?;
    let options = OnnxOptions::default()
        .with_pixels(input)
        .with_full_images(full_images)
        .with_half(half)
        .with_external_data(external_data);
    let options = batch.0.into_iter().fold(options, OnnxOptions::with_batch);
    let options = size.0.into_iter().fold(options, OnnxOptions::with_size);
    let file = onnx(&model, &options)?;
    let nodes = file.node_count();
    file.save(&output)?;
    output::print(format!("{}: {nodes} nodes\n", output.display()))
}
