//! `faster-rcnn weights`

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use faster_rcnn::weights::{
    EpsilonSource, LoadOptions, Precision, Published, WeightFile, cache_folder, fetch, published,
};
use faster_rcnn::{BoxHeadKind, FasterRcnnConfig, NormKind, ResNetDepth, Tiles};

use crate::registry::RegistryArguments;
use crate::settings::WeightArguments;
use crate::{output, progress};

const MIB: f64 = (1 << 20) as f64;

const EXAMPLES: &str = "\
Files that can be read, here and wherever else a command takes weights: torchvision's
fasterrcnn_resnet50_fpn and fasterrcnn_resnet50_fpn_v2, its ResNet-18/34/50/101 classifiers (for `train`, as
a backbone), and this program's own; as .pth of any PyTorch since 0.1.10 or as .safetensors; a state dict,
or a training checkpoint with one in any of its dictionaries and behind any prefix, such as `module.` or
`_orig_mod.`; in f32, f64, f16 or bf16. A .pth is a pickle: none of it is ever run.

A .pth has tensors only. Anchors, image size, thresholds and class names are taken for torchvision's
defaults. Say what is different with --set, here and in `predict` and `evaluate`, or once and for all with
`convert`.

Examples:

  faster-rcnn weights list
  faster-rcnn train --config configs/deep_pcb.toml --data PCBData --output runs/coco \\
      --weights \"$(faster-rcnn weights fetch fasterrcnn_resnet50_fpn)\"
  faster-rcnn weights inspect runs/coco/checkpoints/best.safetensors --tensors
  faster-rcnn weights convert model.pth model.safetensors";

const LIST_EXAMPLES: &str = "\
Example:

  faster-rcnn weights list";

const FETCH_EXAMPLES: &str = "\
The path of the file is printed, for use in other commands. An interrupted download goes on where it
stopped. Without a connection, download the URL elsewhere and put the file where the message says.

Examples:

  faster-rcnn weights fetch resnet50
  faster-rcnn weights fetch fasterrcnn_resnet50_fpn_v2 --folder weights";

const INSPECT_EXAMPLES: &str = "\
All of the model is read, and checked against its checksums where the file has some: damage is an error that
names the tensor, and the exit status is 1.

No state dict says what its frozen batch norms add to the variance (epsilon): torchvision's COCO v1 weights,
and what was trained from them, need 0, all others 1e-5. `epsilon` says which is taken and why; --set
model.frozen_epsilon=0 takes the other one.

Examples:

  faster-rcnn weights inspect fasterrcnn_resnet50_fpn_coco-258fb6c6.pth
  faster-rcnn weights inspect runs/coco/checkpoints/best.safetensors --tensors";

const CONVERT_EXAMPLES: &str = "\
The new file has torchvision's names of today and f32 elements, unless --dtype says f16, so that Python reads
it with

  model.load_state_dict(safetensors.torch.load_file(\"model.safetensors\"))

A detector's has its settings as metadata, too, with those of --set. An optimizer's state and the like are
left out.

Examples:

  faster-rcnn weights convert checkpoint.pth model.safetensors
  faster-rcnn weights convert best.safetensors small.safetensors --dtype f16
  faster-rcnn weights convert checkpoint.pth model.safetensors --set model.frozen_epsilon=0 \\
      --set model.anchors.sizes=[8,16,32,64,128] --set 'model.class_names=[\"open\", \"short\"]'";

/// List and fetch published weights; look into weight files and convert them.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the weight files that torchvision publishes, and which of them are in the cache.
    #[command(after_long_help = LIST_EXAMPLES)]
    List,
    /// Download a published file into the cache, unless it is there, and verify it.
    #[command(after_long_help = FETCH_EXAMPLES)]
    Fetch {
        /// As `faster-rcnn weights list` has it.
        #[arg(value_name = "NAME", value_parser = published_file)]
        file: Published,
        /// Where to keep it [default: `faster-rcnn` in the user's cache folder].
        #[arg(long, value_name = "DIR")]
        folder: Option<PathBuf>,
    },
    /// Say what a weight file holds.
    #[command(after_long_help = INSPECT_EXAMPLES)]
    Inspect {
        /// A weight file of any layout, or a registered version, models:/NAME/N or models:/NAME@ALIAS.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        registry: RegistryArguments,
        /// List all tensors, too.
        #[arg(long)]
        tensors: bool,
        #[command(flatten)]
        weights: WeightArguments,
    },
    /// Write the model of a weight file as safetensors.
    #[command(after_long_help = CONVERT_EXAMPLES)]
    Convert {
        /// A weight file of any layout, or a registered version, models:/NAME/N or models:/NAME@ALIAS.
        #[arg(value_name = "IN")]
        from: PathBuf,
        #[command(flatten)]
        registry: RegistryArguments,
        /// The safetensors file to write; an existing one is replaced.
        #[arg(value_name = "OUT")]
        to: PathBuf,
        /// How elements are stored: f16 takes half the space, and rounds to 11 significant bits.
        #[arg(long, value_name = "DTYPE", default_value = "f32")]
        dtype: Dtype,
        #[command(flatten)]
        weights: WeightArguments,
    },
}

/// The types that elements can be stored in.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Dtype {
    F32,
    F16,
}

impl From<Dtype> for Precision {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
        }
    }
}

fn published_file(name: &str) -> Result<Published, String> {
    let names: Vec<String> = published().into_iter().map(|file| file.name).collect();
    let unknown = || format!("none of {}", names.join(", "));
    published().into_iter().find(|file| file.name == name).ok_or_else(unknown)
}

pub fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        Command::List => list(),
        Command::Fetch { file, folder } => {
            let folder = folder.map_or_else(cache_folder, Ok)?;
            let path = fetch(&file, &folder, progress::download())?;
            output::print(format!("{}\n", path.display()))
        }
        Command::Inspect { file, registry, tensors, weights } => {
            describe(&WeightFile::open(registry.file(file)?)?, tensors, &weights.options())
        }
        Command::Convert { from, registry, to, dtype, weights } => {
            let from = registry.file(from)?;
            output::prepare(&to, [from.as_path()])?;
            let file = WeightFile::open(&from)?;
            let kind = file.convert(&to, &weights.options(), dtype.into())?;
            output::print(format!("{}: a {kind}\n", to.display()))
        }
    }
}

fn list() -> Result<()> {
    let cache = cache_folder()?;
    let mut text = String::new();
    for file in published() {
        let Published { name, kind, size_mib, figures, license, .. } = &file;
        let cached = if cache.join(file.file_name()).exists() { "  in the cache" } else { "" };
        writeln!(text, "{name:<27} {kind:<11} {size_mib:6.1} MiB  {figures:<38}  {license}{cached}")?;
    }
    output::print(format!("{text}cache: {}\n", cache.display()))
}

fn describe(file: &WeightFile, tensors: bool, options: &LoadOptions) -> Result<()> {
    let mut text = String::new();
    let mut types: BTreeMap<&str, usize> = BTreeMap::new();
    for tensor in file.tensors().values() {
        *types.entry(tensor.dtype.name()).or_default() += 1;
    }
    let types: Vec<String> = types.iter().map(|(name, count)| format!("{count} {name}")).collect();
    writeln!(
        text,
        "file:     {} ({}, {:.1} MiB)",
        file.path().display(),
        file.layout(),
        file.length() as f64 / MIB
    )?;
    writeln!(text, "tensors:  {} ({})", file.tensors().len(), types.join(", "))?;
    for name in file.metadata().keys() {
        writeln!(text, "metadata: {name}")?;
    }
    if tensors {
        for (name, tensor) in file.tensors() {
            writeln!(text, "  {name}: {} {:?}", tensor.dtype.name(), tensor.shape)?;
        }
    }
    // Printed even if the file holds no model, or a damaged one.
    output::print(&text)?;
    let found = file.inspect(options)?;
    let mut text = String::new();
    if !found.prefix.is_empty() {
        writeln!(text, "names:    begin with {}", found.prefix)?;
    }
    match &found.config {
        Some(config) => text += &detector(config, found.epsilon_source),
        None => writeln!(text, "model:    {}, {}", found.kind, depth_name(found.backbone))?,
    }
    output::print(text)
}

fn detector(config: &FasterRcnnConfig, source: EpsilonSource) -> String {
    let norm = match config.norm {
        NormKind::FrozenBatch => format!("frozen batch norm, epsilon {:e}", config.frozen_epsilon),
        NormKind::Batch => "batch norm".to_string(),
        NormKind::Group => "group norm".to_string(),
    };
    let names = match config.class_names.as_slice() {
        [] => "without names".to_string(),
        names => names.join(", "),
    };
    let box_head = match config.roi_heads.box_head {
        BoxHeadKind::TwoMlp => "two linear layers",
        BoxHeadKind::FourConv => "four convolutions and a linear layer",
    };
    let frozen = config.norm == NormKind::FrozenBatch || config.fpn_norm == Some(NormKind::FrozenBatch);
    let epsilon = match frozen {
        true => format!("epsilon:  {:e}: {source}\n", config.frozen_epsilon),
        false => String::new(),
    };
    let windows = config.tiles.map_or(String::new(), |Tiles { size, overlap }| {
        format!("windows:  {size} pixels, of larger images, with an overlap of {overlap}\n")
    });
    let (transform, anchors) = (&config.transform, &config.anchors);
    format!(
        "model:    detector, {}, {norm}; pyramid of {} channels; RPN of depth {}; box head of {box_head}\n\
         classes:  {} and the background: {names}\n\
         images:   resized to {} pixels, the long side to {} at most\n\
         {windows}\
         anchors:  sizes {:?}, ratios {:?}\n\
         {epsilon}",
        depth_name(config.backbone),
        config.fpn_channels,
        config.rpn.conv_depth,
        config.num_classes - 1,
        transform.min_size,
        transform.max_size,
        anchors.sizes,
        anchors.aspect_ratios,
    )
}

fn depth_name(depth: ResNetDepth) -> &'static str {
    match depth {
        ResNetDepth::ResNet18 => "ResNet-18",
        ResNetDepth::ResNet34 => "ResNet-34",
        ResNetDepth::ResNet50 => "ResNet-50",
        ResNetDepth::ResNet101 => "ResNet-101",
    }
}
