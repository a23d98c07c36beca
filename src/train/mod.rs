//! Training on burn-train: a [`Run`] trains a detector in a folder that afterwards holds
//!
//! - `config.toml`, the complete settings;
//! - `metrics.jsonl`, with a line for each step and each end of an epoch, and `curves.png`, drawn from it;
//! - `checkpoints/best.safetensors` and `last.safetensors`, and the optimiser's state beside them;
//! - `evaluation.json`, `precision_recall.png`, `confusion_matrix.png` and `samples/`: what the best weights
//!   do on the validation images.
//!
//! A [`Logger`] tells it elsewhere, too: TensorBoard, MLflow.
//!
//! Every random choice comes from the seed, the epoch and the image, none from what happened before. So a run
//! that was killed and resumed gives the same losses, bit for bit, as one that was not. This crate's own CPU
//! kernels give the same bits for any number of threads, and the number of loader threads changes nothing.
//! burn's own operations may depend on the number of compute threads, so keep that the same when a run is
//! resumed.
//!
//! ```text
//! Run ─ prepare (settings, data, weights) ─ launch ─ epochs ─ step (losses, gradients) ─ checkpoint, report
//!                                                      └ single: one device; parallel: a team's members
//! ```

mod all_reduce;
mod average;
mod best;
mod checkpoint;
mod checkpoint_handle;
mod compute;
mod config;
mod cuts;
mod each;
mod epochs;
mod evaluation_metrics;
mod exchange;
mod folder;
mod gradients;
mod history;
mod launch;
mod learners;
mod learning_rates;
mod logger;
mod metrics;
#[cfg(feature = "mlflow")]
mod mlflow_log;
mod observer;
mod optimizer;
mod parallel;
mod position;
mod progress;
mod replica;
mod report;
mod rows;
mod run;
mod run_info;
mod schedule;
#[cfg(test)]
mod settings_tests;
mod single;
mod start;
mod step;
mod team;
#[cfg(feature = "tensorboard")]
mod tensorboard;

pub use all_reduce::all_reduce;
pub use best::BestEpoch;
pub use compute::Compute;
pub use config::{GradientType, Optimizer, RunConfig, TrainConfig};
#[cfg(feature = "workers")]
pub(crate) use exchange::{Exchange, Sum};
pub use logger::Logger;
pub use run::{Outcome, PreparedRun, Run};
pub use run_info::RunInfo;
pub use schedule::Schedule;
pub use start::Start;
#[cfg(feature = "workers")]
pub(crate) use team::Watch;
pub use team::{Member, Team};
