//! `faster-rcnn models`

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Subcommand;
use faster_rcnn::registry::{ModelVersion, NewVersion, SampleImages, VersionName, Which};
use faster_rcnn::{DeviceName, Predictor};

use crate::registry::RegistryArguments;
use crate::{model_text, output};

const EXAMPLES: &str = "\
A version is called NAME/N or NAME@ALIAS here, and models:/NAME/N or models:/NAME@ALIAS wherever a command
takes weights. Numbers count from 1, and that of a deleted version is never used again. An alias, such as
`champion`, points at one version at a time.

A version holds the weights and their SHA-256, what goes in and comes out, all settings, the metrics with the
thresholds that the evaluation chose, a fingerprint of the training data, and a sample image with the
detections that it must give. Whoever takes the weights checks the SHA-256 first.

The registry is a folder, or an MLflow server. FASTER_RCNN_REGISTRY names it for all commands.

Examples:

  faster-rcnn models register runs/first --name pcb --alias champion --comment \"the first one\"
  faster-rcnn models list
  faster-rcnn predict --weights models:/pcb@champion board.jpg
  faster-rcnn models compare pcb/1 pcb@champion
  faster-rcnn models register runs/first --name pcb --registry http://mlflow:5000";

const REGISTER_EXAMPLES: &str = "\
Of a run's folder, checkpoints/best.safetensors and evaluation.json are taken. A PyTorch file is converted
first, with `faster-rcnn weights convert`.

Examples:

  faster-rcnn models register runs/first --name pcb --alias champion
  faster-rcnn models register best.safetensors --name pcb --evaluation evaluation.json --sample board.jpg
  faster-rcnn models register runs/pairs --name pairs --sample board.jpg --sample-reference good.jpg";

const LIST_EXAMPLES: &str = "\
Examples:

  faster-rcnn models list
  faster-rcnn models list pcb
  faster-rcnn models list --json --registry /srv/models";

const SHOW_EXAMPLES: &str = "\
Examples:

  faster-rcnn models show pcb/3
  faster-rcnn models show pcb@champion --json";

const COMPARE_EXAMPLES: &str = "\
Examples:

  faster-rcnn models compare pcb/2 pcb/3
  faster-rcnn models compare pcb@champion pcb/4 --json";

const ALIAS_EXAMPLES: &str = "\
Examples:

  faster-rcnn models alias pcb/3 champion
  faster-rcnn models alias pcb@shadow champion
  faster-rcnn models alias pcb@shadow --remove";

const DELETE_EXAMPLES: &str = "\
A version that an alias points at is not deleted: let the alias point at another one first, or remove it.

Example:

  faster-rcnn models delete pcb/2";

const DOWNLOAD_EXAMPLES: &str = "\
The folder holds model.safetensors, version.json and the sample afterwards. Its path may be given wherever a
command takes weights.

Example:

  faster-rcnn models download pcb@champion --output champion";

const VERIFY_EXAMPLES: &str = "\
Each detection on record needs one of the same class, whose box differs by 0.1 pixels at most and whose score
by 0.001, and the other way round. Detections close to the score threshold may be on one side only. Other
processors and GPUs stay well within that. Where a version found nothing in the sample when it was registered,
less likely detections were put on record.

Examples:

  faster-rcnn models verify pcb@champion
  faster-rcnn models verify pcb/3 --device cuda";

/// Keep versions of models in a registry: register, list, compare, verify.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Add a version of a model, from a run or a weight file.
    #[command(after_long_help = REGISTER_EXAMPLES)]
    Register(Register),
    /// List the models, or the versions of one.
    #[command(after_long_help = LIST_EXAMPLES)]
    List {
        /// List the versions of this model.
        #[arg(value_name = "NAME")]
        model: Option<String>,
        /// Print all that is known of all versions, as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        registry: RegistryArguments,
    },
    /// Say all that is known of a version.
    #[command(after_long_help = SHOW_EXAMPLES)]
    Show {
        /// NAME/N or NAME@ALIAS.
        #[arg(value_name = "VERSION")]
        version: VersionName,
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        registry: RegistryArguments,
    },
    /// Say how two versions differ: data, settings, metrics.
    #[command(after_long_help = COMPARE_EXAMPLES)]
    Compare {
        /// NAME/N or NAME@ALIAS.
        #[arg(value_name = "A")]
        one: VersionName,
        /// NAME/N or NAME@ALIAS.
        #[arg(value_name = "B")]
        other: VersionName,
        /// Print the differences as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        registry: RegistryArguments,
    },
    /// Let an alias point at a version, or remove it.
    #[command(after_long_help = ALIAS_EXAMPLES)]
    Alias {
        /// NAME/N or NAME@ALIAS.
        #[arg(value_name = "VERSION")]
        version: VersionName,
        /// The alias; it may point at another version so far.
        #[arg(value_name = "ALIAS", required_unless_present = "remove")]
        alias: Option<String>,
        /// Remove the alias of NAME@ALIAS.
        #[arg(long, conflicts_with = "alias")]
        remove: bool,
        #[command(flatten)]
        registry: RegistryArguments,
    },
    /// Delete a version.
    #[command(after_long_help = DELETE_EXAMPLES)]
    Delete {
        /// NAME/N or NAME@ALIAS.
        #[arg(value_name = "VERSION")]
        version: VersionName,
        #[command(flatten)]
        registry: RegistryArguments,
    },
    /// Copy the files of a version into a folder.
    #[command(after_long_help = DOWNLOAD_EXAMPLES)]
    Download {
        /// NAME/N or NAME@ALIAS.
        #[arg(value_name = "VERSION")]
        version: VersionName,
        /// Folder for the files: a new one, or an empty one, which is replaced.
        #[arg(long, value_name = "DIR")]
        output: PathBuf,
        #[command(flatten)]
        registry: RegistryArguments,
    },
    /// Check that the weights of a version are those registered, and that they still find what they found in
    /// the sample.
    #[command(after_long_help = VERIFY_EXAMPLES)]
    Verify {
        /// NAME/N or NAME@ALIAS.
        #[arg(value_name = "VERSION")]
        version: VersionName,
        /// Where to compute: cpu, cuda, cuda:N or wgpu.
        #[arg(long, default_value = "cpu")]
        device: DeviceName,
        #[command(flatten)]
        registry: RegistryArguments,
    },
}

#[derive(clap::Args)]
struct Register {
    /// Folder of a run, or a weight file (safetensors).
    #[arg(value_name = "RUN_OR_FILE")]
    from: PathBuf,
    /// Name of the model: letters, digits, `.`, `_` and `-`.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Let this alias point at the new version.
    #[arg(long, value_name = "ALIAS")]
    alias: Option<String>,
    /// What to say of the version.
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// Metrics and thresholds: a file that `evaluate --json` wrote [default: evaluation.json of the run].
    #[arg(long, value_name = "FILE")]
    evaluation: Option<PathBuf>,
    /// An image to verify the version with [default: a made-up board].
    #[arg(long, value_name = "IMAGE")]
    sample: Option<PathBuf>,
    /// The reference of the sample, for a detector that takes one.
    #[arg(long, value_name = "IMAGE", requires = "sample")]
    sample_reference: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArguments,
}

pub fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        Command::Register(arguments) => register(arguments),
        Command::List { model, json, registry } => list(model.as_deref(), json, &registry),
        Command::Show { version, json, registry } => {
            let version = registry.open()?.version(&version)?;
            output::print(if json { output::to_json(&version) } else { model_text::describe(&version) })
        }
        Command::Compare { one, other, json, registry } => {
            let registry = registry.open()?;
            let differences = model_text::Comparison::new(registry.version(&one)?, registry.version(&other)?);
            output::print(if json { output::to_json(&differences) } else { differences.to_string() })
        }
        Command::Alias { version, alias, registry, .. } => set_alias(&version, alias, &registry),
        Command::Delete { version, registry } => {
            let registry = registry.open()?;
            let number = registry.number(&version)?;
            registry.delete(&version.model, number)?;
            output::print(format!("{}: deleted\n", VersionName::number(&version.model, number)))
        }
        Command::Download { version, output, registry } => {
            let weights = registry.open()?.download(&version, &output)?;
            output::print(format!("{}\n", weights.display()))
        }
        Command::Verify { version, device, registry } => verify(&version, &device, &registry),
    }
}

fn register(arguments: Register) -> Result<()> {
    let Register { from, name, alias, comment, evaluation, sample, sample_reference, registry } = arguments;
    // Before the long work.
    faster_rcnn::registry::check_model_name(&name)?;
    alias.as_deref().map_or(Ok(()), faster_rcnn::registry::check_alias)?;
    let registry = registry.open()?;
    let mut new = NewVersion::of(&from)?;
    if let Some(comment) = comment {
        new = new.with_comment(comment);
    }
    if let Some(path) = evaluation {
        new = new.with_evaluation(path)?;
    }
    if let Some(image) = sample {
        new = new.with_sample(SampleImages::load(&image, sample_reference.as_deref())?);
    }
    let number = registry.register(&name, &new)?;
    if let Some(alias) = alias {
        registry.set_alias(&name, &alias, number)?;
    }
    let version = VersionName::number(&name, number);
    if registry.show(&name, number).is_ok_and(|shown| shown.card.sample.detections.is_empty()) {
        eprintln!("warning: {version} finds nothing in the sample, so verify says little; see --sample");
    }
    output::print(format!("{version}\n"))
}

fn list(model: Option<&str>, json: bool, registry: &RegistryArguments) -> Result<()> {
    let registry = registry.open()?;
    let versions = |model: &str| -> Result<Vec<ModelVersion>> {
        let numbers = registry.numbers(model)?;
        numbers.into_iter().map(|number| Ok(registry.show(model, number)?)).collect()
    };
    let text = match model {
        Some(model) => {
            let versions = versions(model)?;
            if versions.is_empty() {
                bail!("{}: there is no model {model}", registry.place());
            }
            if json { output::to_json(&versions) } else { model_text::versions(&versions) }
        }
        None if json => {
            let models = registry.models()?;
            let all: Vec<ModelVersion> =
                models.iter().map(|model| versions(model)).collect::<Result<Vec<_>>>()?.concat();
            output::to_json(&all)
        }
        None => {
            let mut rows = Vec::new();
            for model in registry.models()? {
                rows.push((registry.numbers(&model)?, registry.aliases(&model)?, model));
            }
            model_text::models(&rows)
        }
    };
    output::print(text)
}

fn set_alias(version: &VersionName, alias: Option<String>, registry: &RegistryArguments) -> Result<()> {
    let registry = registry.open()?;
    match (alias, &version.which) {
        (Some(alias), _) => {
            let number = registry.number(version)?;
            registry.set_alias(&version.model, &alias, number)?;
            let version = VersionName::number(&version.model, number);
            output::print(format!("{alias}: points at {version}\n"))
        }
        (None, Which::Alias(alias)) => {
            registry.remove_alias(&version.model, alias)?;
            output::print(format!("{alias}: removed\n"))
        }
        (None, Which::Number(_)) => bail!("--remove takes an alias away: name it as NAME@ALIAS"),
    }
}

fn verify(version: &VersionName, device: &DeviceName, registry: &RegistryArguments) -> Result<()> {
    let registry = registry.open()?;
    let ModelVersion { model, version: number, card, .. } = registry.version(version)?;
    let version = VersionName::number(&model, number);
    // Checks the SHA-256.
    let weights = registry.weights(&version)?.path;
    let predictor = Predictor::load(&weights, &device.open()?)?;
    let images = SampleImages::read(&registry.files(&model, number)?)?;
    let differences = card.sample.verify(&images, &predictor)?;
    if let Some(first) = differences.first() {
        bail!("{version}: {} differences in the sample, the first one: {first}", differences.len());
    }
    let what = match card.sample.detections.len() {
        0 => "find nothing in the sample, as expected: only the SHA-256 says that they are the same"
            .to_string(),
        count => format!("find the {count} expected"),
    };
    output::print(format!("{version}: the weights are those registered, and {what}\n"))
}
