//! Calls of the server, and files in and out of it.

use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE};
use ureq::http::{Method, Request, Response};
use ureq::{AsSendBody, Body};

use crate::error::{Error, Result};
use crate::percent::encoded_path;

/// The longest answer that is read, in bytes; files have no limit.
const LONGEST_ANSWER: u64 = 64 << 20;

/// What the URI of files on the server begins with.
const ARTIFACTS: &str = "mlflow-artifacts:/";

/// MLflow's codes.
const MISSING: &str = "RESOURCE_DOES_NOT_EXIST";
const THERE_ALREADY: &str = "RESOURCE_ALREADY_EXISTS";

/// A server of MLflow's.
#[derive(Debug, Clone)]
pub struct Client {
    url: String,
    agent: Agent,
    authorization: Option<String>,
}

impl Client {
    /// The server at `url`. `patience` is the longest wait for a connection, an answer, and the next bytes.
    ///
    /// MLflow's own variables say who asks: `MLFLOW_TRACKING_TOKEN`, or `MLFLOW_TRACKING_USERNAME` and
    /// `MLFLOW_TRACKING_PASSWORD`.
    pub fn new(url: &str, patience: Duration) -> Self {
        let agent = Agent::config_builder()
            .timeout_connect(Some(patience))
            .timeout_recv_response(Some(patience))
            .timeout_per_read(Some(patience))
            .timeout_per_write(Some(patience))
            .http_status_as_error(false)
            .build();
        Self {
            url: url.trim_end_matches('/').to_string(),
            agent: agent.into(),
            authorization: authorization(),
        }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks for something that may be missing.
    pub fn find(&self, call: &str, query: &[(&str, &str)]) -> Result<Option<Value>> {
        let url = self.call_url(call);
        let mut request = self.agent.get(&url);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let query = query.iter().copied();
        self.answer(&url, request.query_pairs(query).call(), MISSING)
    }

    /// Asks for something that is there.
    pub fn get(&self, call: &str, query: &[(&str, &str)]) -> Result<Value> {
        self.find(call, query)?.ok_or_else(|| self.fail(&self.call_url(call), "is missing", None))
    }

    /// All entries of a list that comes in pages, under `key`.
    pub fn all(&self, call: &str, key: &str, query: &[(&str, &str)]) -> Result<Vec<Value>> {
        let (mut entries, mut token) = (Vec::new(), String::new());
        loop {
            let mut query = query.to_vec();
            if !token.is_empty() {
                query.push(("page_token", &token));
            }
            let mut page = self.get(call, &query)?;
            if let Value::Array(found) = page[key].take() {
                entries.extend(found);
            }
            token = page["next_page_token"].as_str().unwrap_or_default().to_string();
            if token.is_empty() {
                return Ok(entries);
            }
        }
    }

    /// Changes something.
    pub fn post(&self, call: &str, body: &Value) -> Result<Value> {
        self.send(Method::POST, call, body, "")?
            .ok_or_else(|| self.fail(&self.call_url(call), "gives nothing", None))
    }

    /// Makes something that may be there already.
    pub fn make(&self, call: &str, body: &Value) -> Result<()> {
        self.send(Method::POST, call, body, THERE_ALREADY).map(|_| ())
    }

    /// Deletes something.
    pub fn delete(&self, call: &str, body: &Value) -> Result<()> {
        self.send(Method::DELETE, call, body, "").map(|_| ())
    }

    /// Copies a file to the server, to `to` below the folder `uri`.
    pub fn upload(&self, from: &Path, uri: &str, to: &str) -> Result<()> {
        let url = self.artifact_url(uri, to)?;
        let file = File::open(from).map_err(Error::io(from))?;
        let response = self.run(self.request(Method::PUT, &url, "application/octet-stream"), &url, &file);
        self.answer(&url, response, "").map(|_| ())
    }

    /// The bytes of a file below the folder `uri`; `None` where it is missing.
    pub fn open(&self, uri: &str, name: &str) -> Result<Option<impl Read + use<>>> {
        let url = self.artifact_url(uri, name)?;
        let response = self.run(self.request(Method::GET, &url, "application/octet-stream"), &url, ());
        let mut response = response.map_err(|error| self.unreachable(&url, error))?;
        match response.status().as_u16() {
            200 => Ok(Some(response.into_body().into_reader())),
            404 => Ok(None),
            _ => self.refused(&url, &mut response, "").map(|_| None),
        }
    }

    /// The bytes of a small file below the folder `uri`.
    pub fn read(&self, uri: &str, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(reader) = self.open(uri, name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = reader.take(LONGEST_ANSWER).read_to_end(&mut bytes);
        read.map_err(|error| self.fail(&format!("{uri}/{name}"), "broke off", Some(error)))?;
        Ok(Some(bytes))
    }

    fn send(&self, method: Method, call: &str, body: &Value, accepted: &str) -> Result<Option<Value>> {
        let url = self.call_url(call);
        let body = body.to_string();
        let response = self.run(self.request(method, &url, "application/json"), &url, body.as_str());
        self.answer(&url, response, accepted)
    }

    fn request(&self, method: Method, url: &str, content: &str) -> ureq::http::request::Builder {
        let request = Request::builder().method(method).uri(url).header(CONTENT_TYPE, content);
        match &self.authorization {
            Some(authorization) => request.header(AUTHORIZATION, authorization),
            None => request,
        }
    }

    fn run(
        &self,
        request: ureq::http::request::Builder,
        url: &str,
        body: impl AsSendBody,
    ) -> std::result::Result<Response<Body>, ureq::Error> {
        let request = request.body(body).map_err(|_| ureq::Error::BadUri(url.to_string()))?;
        // MLflow deletes with a body.
        let request = self.agent.configure_request(request).allow_non_standard_methods(true).build();
        self.agent.run(request)
    }

    /// The JSON of an answer; `None` where the server says the code `accepted`.
    fn answer(
        &self,
        url: &str,
        response: std::result::Result<Response<Body>, ureq::Error>,
        accepted: &str,
    ) -> Result<Option<Value>> {
        let mut response = response.map_err(|error| self.unreachable(url, error))?;
        if !response.status().is_success() {
            return self.refused(url, &mut response, accepted);
        }
        let text = response.body_mut().with_config().limit(LONGEST_ANSWER).read_to_string();
        let text = text.map_err(|error| self.unreachable(url, error))?;
        if text.trim().is_empty() {
            return Ok(Some(json!({})));
        }
        let parsed = serde_json::from_str(&text);
        parsed.map(Some).map_err(|error| self.fail(url, "does not answer as MLflow does", Some(error.into())))
    }

    fn refused(&self, url: &str, response: &mut Response<Body>, accepted: &str) -> Result<Option<Value>> {
        let status = response.status().as_u16();
        let text = response.body_mut().with_config().limit(1 << 16).read_to_string().unwrap_or_default();
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        let code = answer["error_code"].as_str().unwrap_or_default();
        if !accepted.is_empty() && code == accepted {
            return Ok(None);
        }
        let reason = answer["message"].as_str().map(|message| format!(": {message}")).unwrap_or_default();
        // Too many requests, or a fault of the server's: both may pass.
        if status == 429 || status >= 500 {
            let source = Some(ureq::Error::StatusCode(status).into());
            let message = format!("the server does not work now{reason}");
            return Err(Error::Server { url: url.to_string(), message, source });
        }
        Err(self.fail(url, &format!("the server refuses ({status}){reason}"), None))
    }

    fn unreachable(&self, url: &str, error: ureq::Error) -> Error {
        Error::Server { url: url.to_string(), message: "no answer".to_string(), source: Some(error.into()) }
    }

    fn fail(&self, url: &str, message: &str, source: Option<io::Error>) -> Error {
        let source = source.map(|error| Box::new(error) as _);
        Error::Server { url: url.to_string(), message: message.to_string(), source }
    }

    fn call_url(&self, call: &str) -> String {
        format!("{}/api/2.0/mlflow/{call}", self.url)
    }

    /// The URL of a file below the folder `uri`, such as `mlflow-artifacts:/1/f00/artifacts`.
    fn artifact_url(&self, uri: &str, name: &str) -> Result<String> {
        let Some(path) = uri.strip_prefix(ARTIFACTS) else {
            let message = format!("keeps files at {uri}: start the server with --artifacts-destination");
            return Err(self.fail(&self.url, &message, None));
        };
        // `mlflow-artifacts://HOST/PATH` names the server once more.
        let path = match path.strip_prefix('/') {
            Some(rest) => rest.split_once('/').map_or("", |(_, path)| path),
            None => path,
        };
        let path = encoded_path(format!("{path}/{name}").trim_start_matches('/'));
        Ok(format!("{}/api/2.0/mlflow-artifacts/artifacts/{path}", self.url))
    }
}

fn authorization() -> Option<String> {
    let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(token) = variable("MLFLOW_TRACKING_TOKEN") {
        return Some(format!("Bearer {token}"));
    }
    let (name, password) = (variable("MLFLOW_TRACKING_USERNAME")?, variable("MLFLOW_TRACKING_PASSWORD")?);
    Some(format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_a_url_below_the_proxy() {
        let client = Client::new("http://mlflow:5000/", Duration::from_secs(1));
        let root = "http://mlflow:5000/api/2.0/mlflow-artifacts/artifacts/";
        for (uri, name, path) in [
            ("mlflow-artifacts:/1/f00/artifacts", "model/MLmodel", "1/f00/artifacts/model/MLmodel"),
            ("mlflow-artifacts://mlflow:5000/1/f00", "a b#ä.png", "1/f00/a%20b%23%C3%A4.png"),
        ] {
            assert_eq!(client.artifact_url(uri, name).unwrap(), format!("{root}{path}"));
        }
        let error = client.artifact_url("s3://bucket/1", "a").unwrap_err().to_string();
        assert!(error.contains("keeps files at s3://bucket/1"), "{error}");
    }
}
