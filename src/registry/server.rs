//! A registry on MLflow's server.
//!
//! Each version is registered from a run of its own in the experiment `faster-rcnn`. The files of the version
//! are in the run's folder `model`, with an `MLmodel` beside them, which MLflow's page and clients read.
//! Versions that other programs registered are left alone and not shown.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use etcetera::BaseStrategy;
use serde_json::{Value, json};

use super::card::{ModelCard, ModelVersion};
use super::interface::Registry;
use super::names::{check_alias, check_model_name};
use super::new_version::{CARD, FILES, NewVersion, WEIGHTS};
use crate::error::{Error, Result};
use crate::files::write_atomically;
use crate::mlflow::{Client, MlflowRun, now};
use crate::sha256::{sha256_of, sha256_of_bytes};
use crate::structures::ReferenceInput;

/// The longest wait for the server. It takes a while until a large file is stored.
const PATIENCE: Duration = Duration::from_secs(120);
const EXPERIMENT: &str = "faster-rcnn";
/// The folder of a run that holds the version.
const FOLDER: &str = "model";
/// The tag of versions that are ours.
const SHA256: &str = "faster_rcnn.sha256";

/// A registry on MLflow's server.
#[derive(Debug, Clone)]
pub struct MlflowRegistry {
    client: Client,
}

impl MlflowRegistry {
    /// The registry of the server at `url`. `MLFLOW_TRACKING_TOKEN`, or `MLFLOW_TRACKING_USERNAME` and
    /// `MLFLOW_TRACKING_PASSWORD` say who asks.
    pub fn new(url: &str) -> Self {
        Self { client: Client::new(url, PATIENCE) }
    }

    fn missing(&self, model: &str, number: u32) -> Error {
        Error::file(self.client.url(), format!("there is no version {number} of a model {model}"))
    }

    /// What the server says of a version of ours.
    fn entry(&self, model: &str, number: u32) -> Result<Value> {
        check_model_name(model)?;
        let query = [("name", model), ("version", &number.to_string())];
        let mut found = self.client.find("model-versions/get", &query)?.unwrap_or_default();
        let entry = found["model_version"].take();
        tag(&entry).is_some().then_some(entry).ok_or_else(|| self.missing(model, number))
    }

    fn card(&self, model: &str, number: u32, source: &str) -> Result<ModelCard> {
        let json = self.client.read(source, CARD)?.ok_or_else(|| self.missing(model, number))?;
        serde_json::from_slice(&json).map_err(|error| {
            Error::file_because(format!("{source}/{CARD}"), "does not describe a version", error)
        })
    }

    /// Uploads the files of a version, and gives the run's folder that holds them.
    fn upload(&self, run: &MlflowRun, new: &NewVersion) -> Result<(ModelCard, String)> {
        let files = tempfile::tempdir().map_err(Error::io(std::env::temp_dir()))?;
        new.examine()?.write(files.path())?;
        let path = files.path().join(CARD);
        let json = fs::read(&path).map_err(Error::io(&path))?;
        let card: ModelCard = serde_json::from_slice(&json).expect("it was written here");
        let path = files.path().join("MLmodel");
        fs::write(&path, ml_model(&card, run.id()).to_string()).map_err(Error::io(&path))?;

        run.settings(&card.settings)?;
        let metrics = card.metrics();
        run.metrics(metrics.iter().map(|(name, value)| (name.as_str(), *value)), 0, now())?;
        for name in FILES.into_iter().chain(["MLmodel"]) {
            let path = files.path().join(name);
            if path.exists() {
                run.upload(&path, &format!("{FOLDER}/{name}"))?;
            }
        }
        Ok((card, format!("{}/{FOLDER}", run.uri())))
    }

    fn create(&self, model: &str, card: &ModelCard, source: &str, run: &MlflowRun) -> Result<u32> {
        self.client.make("registered-models/create", &json!({ "name": model }))?;
        let metrics = card.metrics();
        let mut tags = vec![
            json!({ "key": SHA256, "value": card.sha256 }),
            json!({ "key": "classes", "value": card.signature.classes.join(", ") }),
        ];
        tags.extend(metrics.iter().map(|(name, value)| json!({ "key": name, "value": value.to_string() })));
        let made = self.client.post(
            "model-versions/create",
            &json!({
                "name": model, "source": source, "run_id": run.id(), "tags": tags,
                "description": card.comment.clone().unwrap_or_default(),
            }),
        )?;
        let number = made["model_version"]["version"].as_str().and_then(|number| number.parse().ok());
        number.ok_or_else(|| Error::file(self.client.url(), "gives a version without a number"))
    }

    /// Where files of the server are kept on this machine, by the sum of the weights.
    fn cache(sha256: &str) -> Result<PathBuf> {
        let strategy = etcetera::choose_base_strategy().map_err(|error| Error::Config(error.to_string()))?;
        // The text is the server's.
        let name = sha256_of_bytes(sha256.as_bytes());
        Ok(strategy.cache_dir().join("faster-rcnn/models").join(name))
    }
}

/// The sum that marks a version as ours.
fn tag(entry: &Value) -> Option<&str> {
    let tags = entry["tags"].as_array()?;
    tags.iter().find(|tag| tag["key"] == SHA256)?["value"].as_str()
}

impl Registry for MlflowRegistry {
    fn place(&self) -> String {
        self.client.url().to_string()
    }

    fn models(&self) -> Result<Vec<String>> {
        let found =
            self.client.all("registered-models/search", "registered_models", &[("max_results", "100")])?;
        let mut models = Vec::new();
        for name in found.iter().filter_map(|model| model["name"].as_str()) {
            if check_model_name(name).is_ok() && !self.numbers(name)?.is_empty() {
                models.push(name.to_string());
            }
        }
        models.sort_unstable();
        Ok(models)
    }

    fn numbers(&self, model: &str) -> Result<Vec<u32>> {
        check_model_name(model)?;
        let filter = format!("name='{model}'");
        let query = [("filter", filter.as_str()), ("max_results", "1000")];
        let found = self.client.all("model-versions/search", "model_versions", &query)?;
        let ours = found.iter().filter(|entry| tag(entry).is_some());
        let mut numbers: Vec<u32> =
            ours.filter_map(|entry| entry["version"].as_str()?.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn aliases(&self, model: &str) -> Result<BTreeMap<String, u32>> {
        check_model_name(model)?;
        let found = self.client.find("registered-models/get", &[("name", model)])?.unwrap_or_default();
        let aliases = found["registered_model"]["aliases"].as_array().into_iter().flatten();
        let pair = |entry: &Value| {
            Some((entry["alias"].as_str()?.to_string(), entry["version"].as_str()?.parse().ok()?))
        };
        Ok(aliases.filter_map(pair).collect())
    }

    fn show(&self, model: &str, number: u32) -> Result<ModelVersion> {
        let entry = self.entry(model, number)?;
        let card = self.card(model, number, entry["source"].as_str().unwrap_or_default())?;
        let pointing = entry["aliases"].as_array().into_iter().flatten();
        let mut aliases: Vec<String> =
            pointing.filter_map(|alias| Some(alias.as_str()?.to_string())).collect();
        aliases.sort_unstable();
        Ok(ModelVersion { model: model.to_string(), version: number, aliases, card })
    }

    fn register(&self, model: &str, new: &NewVersion) -> Result<u32> {
        check_model_name(model)?;
        let run = MlflowRun::begin(self.client.clone(), EXPERIMENT, &format!("register {model}"))?;
        let made = self.upload(&run, new).and_then(|(card, source)| self.create(model, &card, &source, &run));
        // The version is registered or not by now, so this fault is only a warning.
        if let Err(error) = run.end(made.is_ok()) {
            tracing::warn!("{error:#}");
        }
        made
    }

    fn set_alias(&self, model: &str, alias: &str, number: u32) -> Result<()> {
        check_alias(alias)?;
        self.entry(model, number)?;
        let body = json!({ "name": model, "alias": alias, "version": number.to_string() });
        self.client.post("registered-models/alias", &body).map(|_| ())
    }

    fn remove_alias(&self, model: &str, alias: &str) -> Result<()> {
        check_alias(alias)?;
        if !self.aliases(model)?.contains_key(alias) {
            let message = format!("there is no alias {alias} of a model {model}");
            return Err(Error::file(self.client.url(), message));
        }
        self.client.delete("registered-models/alias", &json!({ "name": model, "alias": alias }))
    }

    fn delete(&self, model: &str, number: u32) -> Result<()> {
        self.entry(model, number)?;
        if let Some((alias, _)) = self.aliases(model)?.iter().find(|(_, version)| **version == number) {
            let message = format!("the alias {alias} points at this version: let it point at another first");
            return Err(Error::file(format!("{}: {model}/{number}", self.client.url()), message));
        }
        let body = json!({ "name": model, "version": number.to_string() });
        self.client.delete("model-versions/delete", &body)
    }

    /// Downloads the files, unless they are on this machine already. Other processes may read or download the
    /// same version meanwhile, so files are replaced one by one, each as a whole.
    fn files(&self, model: &str, number: u32) -> Result<PathBuf> {
        let entry = self.entry(model, number)?;
        let source = entry["source"].as_str().unwrap_or_default();
        let card = self.card(model, number, source)?;
        let folder = Self::cache(&format!("{} {source} {}", self.client.url(), card.sha256))?;
        let weights = folder.join(WEIGHTS);
        if weights.exists() && sha256_of(&weights)? == card.sha256 {
            return Ok(folder);
        }
        fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        // The weights come last: where they are whole, everything is there.
        for name in FILES.into_iter().rev() {
            let Some(mut from) = self.client.open(source, name)? else { continue };
            let path = folder.join(name);
            write_atomically(&path, |temporary| {
                let mut file = File::create(temporary).map_err(Error::io(&path))?;
                io::copy(&mut from, &mut file).map(|_| ()).map_err(Error::io(&path))
            })?;
        }
        Ok(folder)
    }
}

/// What MLflow's page and clients read of a model. JSON is YAML, too.
fn ml_model(card: &ModelCard, run: &str) -> Value {
    let tensor = |name: &str, dtype: &str, shape: Value| {
        let spec = json!({ "dtype": dtype, "shape": shape });
        json!({ "name": name, "type": "tensor", "tensor-spec": spec })
    };
    let image = |name: &str| tensor(name, "uint8", json!([-1, -1, 3]));
    let mut inputs = vec![image("image")];
    if card.signature.input.reference != ReferenceInput::None {
        inputs.push(image("reference"));
    }
    let outputs = [
        tensor("boxes", "float32", json!([-1, 4])),
        tensor("labels", "int64", json!([-1])),
        tensor("scores", "float32", json!([-1])),
    ];
    json!({
        "artifact_path": FOLDER,
        "run_id": run,
        "utc_time_created": card.created.replace('T', " ").replace('Z', ".000000"),
        "model_size_bytes": card.bytes,
        "flavors": {
            "faster_rcnn": { "data": WEIGHTS, "version": card.program, "sha256": card.sha256 },
        },
        "signature": {
            "inputs": json!(inputs).to_string(),
            "outputs": json!(outputs).to_string(),
            "params": null,
        },
        "metadata": { "classes": card.signature.classes },
    })
}
