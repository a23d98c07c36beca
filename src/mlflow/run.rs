//! A run on the server: settings, numbers, files.

use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::client::Client;
use crate::error::{Error, Result};
use crate::settings;

/// The most entries that the server takes in one call.
const BATCH: usize = 100;
/// The most characters of a setting's value.
const LONGEST_VALUE: usize = 6000;

/// A run on the server.
#[derive(Debug, Clone)]
pub struct MlflowRun {
    client: Client,
    id: String,
    /// Where its files are.
    uri: String,
}

impl MlflowRun {
    /// Begins a run in an experiment, which is made where it is missing.
    pub fn begin(client: Client, experiment: &str, name: &str) -> Result<Self> {
        let named = [("experiment_name", experiment)];
        client.make("experiments/create", &json!({ "name": experiment }))?;
        let found = client.get("experiments/get-by-name", &named)?;
        let experiment = text(&client, &found["experiment"]["experiment_id"])?;
        let tags = json!([{ "key": "mlflow.source.name", "value": "faster-rcnn" }]);
        let body = json!({
            "experiment_id": experiment, "run_name": name, "start_time": now(), "tags": tags,
        });
        let made = client.post("runs/create", &body)?;
        Self::of(client, &made)
    }

    /// Goes on with a run.
    pub fn resume(client: Client, id: &str) -> Result<Self> {
        client.post("runs/update", &json!({ "run_id": id, "status": "RUNNING" }))?;
        let found = client.get("runs/get", &[("run_id", id)])?;
        Self::of(client, &found)
    }

    fn of(client: Client, answer: &Value) -> Result<Self> {
        let info = &answer["run"]["info"];
        let (id, uri) = (text(&client, &info["run_id"])?, text(&client, &info["artifact_uri"])?);
        Ok(Self { client, id, uri })
    }

    /// How the server calls it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where its files are.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Writes settings down.
    pub fn settings(&self, all: &Value) -> Result<()> {
        let param = |(key, value): (String, Value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_string);
            json!({ "key": key, "value": text.chars().take(LONGEST_VALUE).collect::<String>() })
        };
        let params: Vec<Value> = settings::by_name(all).into_iter().map(param).collect();
        params.chunks(BATCH).try_for_each(|params| self.log(&json!({ "params": params })))
    }

    /// Writes numbers down, at a step.
    pub fn metrics<'a>(
        &self,
        metrics: impl IntoIterator<Item = (&'a str, f64)>,
        step: usize,
        time: i64,
    ) -> Result<()> {
        let metric = |(key, value)| json!({ "key": key, "value": value, "timestamp": time, "step": step });
        let metrics: Vec<Value> = metrics.into_iter().map(metric).collect();
        metrics.chunks(BATCH).try_for_each(|metrics| self.log(&json!({ "metrics": metrics })))
    }

    fn log(&self, entries: &Value) -> Result<()> {
        let mut body = entries.clone();
        body["run_id"] = self.id.clone().into();
        self.client.post("runs/log-batch", &body).map(|_| ())
    }

    /// Copies a file to the server, under a name in the run's folder.
    pub fn upload(&self, from: &Path, name: &str) -> Result<()> {
        self.client.upload(from, &self.uri, name)
    }

    /// Ends the run.
    pub fn end(&self, succeeded: bool) -> Result<()> {
        let status = if succeeded { "FINISHED" } else { "FAILED" };
        let body = json!({ "run_id": self.id, "status": status, "end_time": now() });
        self.client.post("runs/update", &body).map(|_| ())
    }
}

fn text(client: &Client, value: &Value) -> Result<String> {
    value.as_str().map(str::to_string).ok_or_else(|| Error::Server {
        url: client.url().to_string(),
        message: "does not answer as MLflow does".to_string(),
        source: None,
    })
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    Timestamp::now().as_millisecond()
}
