//! MLflow's server, by its REST API: runs for [training](crate::train) and versions for the
//! [registry](crate::registry).
//!
//! Source: <https://mlflow.org/docs/latest/rest-api.html>, and for files the server's artifact proxy,
//! `/api/2.0/mlflow-artifacts/artifacts`.

mod client;
mod run;

pub use client::Client;
pub use run::{MlflowRun, now};
